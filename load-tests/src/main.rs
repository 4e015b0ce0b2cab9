//! The measuring harness: figures beside their baselines in the same run, and the kill -9 auditor.
//!
//! Every subcommand starts the node as a process of its own, so that it can be killed and its CPU time be told from ours.

mod all;
mod audit;
mod baselines;
mod bench;
mod cli;
mod document;
mod fleet;
mod hand_session;
mod http;
mod idle;
mod machine;
mod measure;
mod ndjson;
mod node;
mod node_process;
mod output;
mod peers;
mod plan;
mod reads;
mod rest;
mod scenarios;
mod scratch;
mod seeded;
mod soak;
mod stage;
mod thin;
mod thin_devices;
mod write_load;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};

/// As the node's binary has it: with the system's allocator the same work took well over half as much CPU time again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Audit(args) => audit::run(&args),
        Command::All(args) => all::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::List => {
            all::list();
            Ok(true)
        }
        Command::Idle(args) => idle::run(&args),
        Command::Node(args) => node::run(args).map(|()| true),
        Command::GatewayWorker(args) => audit::worker::run(&args).map(|()| true),
        Command::ActixBaseline { body } => baselines::serve_actix(&body).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("twin-load-tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}
