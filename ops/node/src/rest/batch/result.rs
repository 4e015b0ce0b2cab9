//! Result lines, as far as batches share them.

use serde::Serialize;
use twin_core::command::Answer;
use twin_core::ids::TwinId;
use twin_core::once::OnceOutcome;
use utoipa::ToSchema;

use super::super::problem::{ItemProblem, Problem};
use super::job::Job;
use super::window::{Finished, Named};

/// One line of the answer, for an item that was not carried out; nothing of it was.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchRefused<'a> {
    /// The item's id, if it can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    /// Which line of the request, from 1.
    line: u64,
    #[serde(flatten)]
    problem: ItemProblem<'a>,
}

/// One line of the answer, for an item that changed a twin.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchDone<'a> {
    /// The twin's id.
    id: &'a str,
    /// Committed: 200, or 201 where an import made the twin.
    status: u16,
    /// The twin's version, as its document shows it.
    version: u64,
    /// The version of desired: what the event `applied` names once the device has followed.
    desired_version: u64,
    /// The twin's etag, as its document shows it.
    etag: &'a str,
    /// True where the item's key was known: it was carried out before, with these versions, and not again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    replayed: bool,
}

/// What became of a twin that was changed.
#[derive(Debug)]
pub(super) struct Steered {
    created: bool,
    version: u64,
    desired_version: u64,
    etag: String,
    replayed: bool,
}

impl Steered {
    pub(super) fn of(answer: Answer) -> Result<Self, Problem> {
        match answer {
            Answer::Steered { created, version, desired_version, steering_etag } => Ok(Self {
                created,
                version,
                desired_version: desired_version.get(),
                etag: steering_etag,
                replayed: false,
            }),
            Answer::Once(once) => {
                let OnceOutcome { created, version, desired_version, steering_etag } = once.outcome;
                let (desired_version, replayed) = (desired_version.get(), once.replayed);
                Ok(Self { created, version, desired_version, etag: steering_etag, replayed })
            }
            other => Err(Problem::internal(format!("the twin answered {other:?} to a change"))),
        }
    }

    pub(super) fn write(&self, twin: &TwinId, out: &mut Vec<u8>) -> Result<(), Problem> {
        let Self { created, version, desired_version, ref etag, replayed } = *self;
        let status = if created { 201 } else { 200 };
        let done = BatchDone { id: twin.as_str(), status, version, desired_version, etag, replayed };
        serde_json::to_writer(out, &done).map_err(|error| Problem::internal(error.to_string()))
    }
}

/// Appends a result's line.
pub(super) fn write<J: Job>(job: &J, finished: &Finished<J::Outcome>, out: &mut Vec<u8>) {
    let from = out.len();
    let shown = match (&finished.named, &finished.outcome) {
        (Named::Twin(twin), Ok(outcome)) => job.write(twin, outcome, out),
        (_, Ok(_)) => Err(Problem::internal("something was done for an item that names no twin")),
        (_, Err(problem)) => {
            write_refused(finished.line, &finished.named, problem, out);
            Ok(())
        }
    };
    if let Err(problem) = &shown {
        // A fault of ours. The item was carried out; that it cannot be shown is what is told.
        tracing::error!(%problem, line = finished.line, "a result cannot be shown");
        out.truncate(from);
        write_refused(finished.line, &finished.named, problem, out);
    }
    // The line stands whatever is in it, as lines are counted.
    out.push(b'\n');
}

fn write_refused(line: u64, named: &Named, problem: &Problem, out: &mut Vec<u8>) {
    let refused = BatchRefused { id: named.as_str(), line, problem: problem.of_item() };
    if let Err(error) = serde_json::to_writer(out, &refused) {
        // Strings and numbers into memory: nothing is left to go wrong.
        tracing::error!(%error, line, "a result cannot be written as JSON");
    }
}
