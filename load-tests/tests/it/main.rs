//! The auditor, run as a process, against processes that it kills.

mod all;
mod audit;
mod figures;
mod soak;
