//! A line for each thing that was looked at.

use serde_json::json;

use crate::failure::Failure;
use crate::output::{self, Output};
use crate::table::printable;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Fine,
    Warning,
    Wrong,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Warning => "warn",
            Self::Wrong => "WRONG",
        }
    }
}

/// What was found so far; each is shown at once.
pub(super) struct Findings {
    output: Output,
    wrong: usize,
    warnings: usize,
}

impl Findings {
    pub(super) fn new(output: Output) -> Self {
        Self { output, wrong: 0, warnings: 0 }
    }

    pub(super) fn fine(&mut self, check: &str, found: &str) -> Result<(), Failure> {
        self.add(Level::Fine, check, found, "")
    }

    /// `remedy` is what to do.
    pub(super) fn add(&mut self, level: Level, check: &str, found: &str, remedy: &str) -> Result<(), Failure> {
        match level {
            Level::Fine => {}
            Level::Warning => self.warnings += 1,
            Level::Wrong => self.wrong += 1,
        }
        if self.output.json {
            let line =
                json!({ "level": level.word().to_ascii_lowercase(), "check": check, "found": found, "remedy": remedy });
            return output::line(&line.to_string());
        }
        let remedy = if remedy.is_empty() { String::new() } else { format!(" -> {remedy}") };
        // Names and messages come from the node and its gateways.
        output::line(&printable(&format!("{:<5}  {check:<11}  {found}{remedy}", level.word())))
    }

    /// The exit code: warnings alone are no failure.
    pub(super) fn end(self, unreachable: bool) -> Result<(), Failure> {
        if self.wrong == 0 {
            return Ok(());
        }
        Err(Failure::Unwell { wrong: self.wrong, warnings: self.warnings, unreachable })
    }
}
