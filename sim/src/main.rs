//! The simulator's command line.

mod cli;
mod interrupt;
mod terminal;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use twin_sim::replay::{Replay, ReplayError};
use twin_sim::traces::{Traces, trace_batch};

use crate::cli::{Cli, Command, DeadLettersCommand, ReplayArgs};
use crate::interrupt::Interrupt;
use crate::terminal::Bar;

/// Exit code for what cannot work as it was asked: clap's own for wrong options.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Replay(args) => replay(args),
        Command::DeadLetters(command) => dead_letters(command),
    }
}

fn dead_letters(command: DeadLettersCommand) -> ExitCode {
    let (state_dir, task) = command.task();
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(twin_sim::dead_letters::run(state_dir, task, &mut std::io::stdout())));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("twin-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn replay(args: ReplayArgs) -> ExitCode {
    let bar = Bar::new();
    let (result, interrupt) = match run(args, &bar) {
        Ok(ran) => ran,
        Err(error) => {
            eprintln!("twin-sim: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let (rows, code) = match result {
        Ok(summary) => {
            if summary.reported_now == 0 {
                eprintln!("twin-sim: nothing was left to report: an earlier run reported all {} rows", summary.rows);
            }
            (Some((summary.rows, summary.rows)), ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("twin-sim: {error}");
            match error {
                ReplayError::RowsRefused(refused) => (Some((refused.rows, refused.acked())), ExitCode::FAILURE),
                ReplayError::Stopped { .. } => (None, ExitCode::from(interrupt.exit_code())),
                _ => (None, ExitCode::FAILURE),
            }
        }
    };
    if let Some((rows, acked)) = rows
        && writeln!(std::io::stdout(), "rows={rows} acked={acked}").is_err()
    {
        // Nobody reads the line; the exit code says the rest.
        return ExitCode::FAILURE;
    }
    code
}

type Ran = (Result<twin_sim::replay::Summary, ReplayError>, Interrupt);

fn run(args: ReplayArgs, bar: &Bar) -> anyhow::Result<Ran> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let traces = {
        let _on_it = runtime.enter();
        Traces::from_environment(args.trace_ratio)?
    };
    bar.log(traces.as_ref());
    let mut options = args.options()?;
    options.trace_batch = traces.is_some().then(trace_batch);
    let replay = Replay::prepare(options)?;
    bar.start(replay.rows());
    let ran = runtime.block_on(async {
        let interrupt = Interrupt::listen()?;
        let result = replay.run(interrupt.stop(), bar).await;
        if let Some(traces) = traces {
            traces.shutdown().await;
        }
        anyhow::Ok((result, interrupt))
    });
    bar.finish();
    ran
}
