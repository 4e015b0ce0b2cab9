//! The auditor, run as a process, against processes that it kills.

mod audit;
mod figures;
