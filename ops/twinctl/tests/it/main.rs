//! `twinctl` as an operator runs it, against a server that records what it is asked.
#![allow(clippy::disallowed_methods, reason = "tests may use the clock")]

mod backup;
mod bulk;
mod credentials;
mod doctor;
mod object_store;
mod pipes;
mod requests;
mod server;
mod stream;
mod tls;
mod tokens;
mod twinctl;
