//! Standard output: raw JSON for scripts, readable text for people.

use std::io::{self, Write};

use crate::failure::Failure;
use crate::pretty;

/// Where results go. Messages to the operator go to standard error instead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// `--json`: one document or item a line, as the server sent it.
    pub(crate) json: bool,
}

impl Output {
    /// Writes one JSON document: as it came for scripts, indented for people.
    pub(crate) fn document(self, json: &str) -> Result<(), Failure> {
        if self.json { line(json.trim_end()) } else { line(&pretty::indent(json)) }
    }
}

/// Writes text with its line end.
pub(crate) fn line(line: &str) -> Result<(), Failure> {
    text(&format!("{line}\n"))
}

/// Writes text as it is, at once: a reader of `watch` wants each line when it happens.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}
