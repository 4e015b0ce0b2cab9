//! The Twinmesh node.

mod cli;
mod demo;
mod dev;
mod health;
mod open_files;
mod restore;
mod state_key;
mod supervisor;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};

/// Messages are allocated on one thread and freed on another all the time, which the system's allocator pays dearly for: see
/// load-tests/REPORT.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Health(args) = &cli.command {
        return health::run(args).map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS);
    }
    if let Command::Restore(args) = &cli.command {
        return restore::run(args).map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS);
    }
    open_files::raise_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("twinmesh").build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::from(error).context("cannot start the runtime")),
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Dev(args) => dev::run(args).await,
            Command::Demo(args) => demo::run(args).await,
            // Need no runtime, and were carried out above.
            Command::Health(_) | Command::Restore(_) => Ok(()),
        }
    });
    // Nothing that a blocking thread still does may hold up the exit; what must be finished was waited for.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    // One line, whatever the causes say, and each of them once: many a message has its cause in it already.
    let mut line = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    eprintln!("twind: {}", line.replace('\n', " "));
    ExitCode::FAILURE
}
