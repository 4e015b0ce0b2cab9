//! `twind demo`: a node with a simulated store on it, and what happens there, to be watched.
//!
//! Nothing is staged: the store's gateways come over QUIC with credentials that the REST made, prices are set over the REST, and
//! what became of them is read from its event stream. [`setup`] prepares the site, [`prices`] steers, [`convergence`] listens,
//! [`intro`] and [`picture`] are what is shown, [`screen`] shows it.

mod args;
mod convergence;
mod intro;
mod picture;
mod prices;
mod rest;
mod screen;
mod setup;
mod show;
mod sparkline;
mod workplace;

pub(crate) use args::DemoArgs;
pub(crate) use show::run;
