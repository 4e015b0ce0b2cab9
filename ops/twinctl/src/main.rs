//! The command line of a Twinmesh operator, over the admin REST.
//!
//! Exit codes: 0 done, 1 refused by the server, 2 the command itself is wrong, 3 the node can't be reached.

mod agent;
mod api_path;
mod cli;
mod client;
mod commands;
mod failure;
mod given;
mod limits;
mod output;
mod pretty;
mod problem;
mod sse;
mod store;
mod table;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough, as `twinctl twin ls | head` does.
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("twinctl: {failure}");
            if let Some(hint) = failure.hint() {
                eprintln!("twinctl: {hint}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}
