//! Result lines.

use serde::Serialize;

use super::super::problem::ItemProblem;
use super::window::{Finished, Steered};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    status: u16,
    version: u64,
    desired_version: u64,
    etag: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replayed: bool,
}

#[derive(Serialize)]
struct Refused<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    line: u64,
    #[serde(flatten)]
    problem: ItemProblem<'a>,
}

/// Appends a result's line.
pub(super) fn write(finished: &Finished, out: &mut Vec<u8>) {
    let id = finished.named.as_str();
    let written = match &finished.outcome {
        Ok(Steered { version, desired_version, etag, replayed }) => {
            let (version, desired_version, replayed) = (*version, *desired_version, *replayed);
            let done = Done { id, status: 200, version, desired_version, etag, replayed };
            serde_json::to_writer(&mut *out, &done)
        }
        Err(problem) => {
            let refused = Refused { id, line: finished.line, problem: problem.of_item() };
            serde_json::to_writer(&mut *out, &refused)
        }
    };
    if let Err(error) = written {
        // Strings and numbers into memory: nothing is left to go wrong. The line stands all the same, as they are counted.
        tracing::error!(%error, line = finished.line, "a result cannot be written as JSON");
    }
    out.push(b'\n');
}
