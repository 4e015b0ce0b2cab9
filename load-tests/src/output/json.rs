//! The figures as JSON, for tools and for the next run to compare with.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use crate::machine::Machine;
use crate::output::Figure;

#[derive(Serialize)]
struct Report<'a> {
    machine: &'a Machine,
    command: String,
    /// Why the figures should not be trusted; empty: they may be.
    noise: &'a [String],
    notes: &'a [String],
    figures: &'a [Figure],
}

/// Writes everything that was measured.
pub(crate) fn write_json(
    file: &Path,
    machine: &Machine,
    noise: &[String],
    notes: &[String],
    figures: &[Figure],
) -> anyhow::Result<()> {
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let report = Report { machine, command, noise, notes, figures };
    std::fs::write(file, serde_json::to_string_pretty(&report)? + "\n")
        .with_context(|| format!("cannot write {}", file.display()))
}
