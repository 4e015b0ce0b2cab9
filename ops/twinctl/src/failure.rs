//! Why a command failed, and its exit code.

use std::io;

use crate::commands::doctor::meaning_of_tls;
use crate::problem::Problem;

/// Why a command failed. The messages say what to do where there is something to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The server said no. Mend the request, or wait where the problem says so.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The server said yes in a form that this version doesn't know. Use a `twinctl` of the node's version.
    #[error("the answer of {url} is not understood: {reason}")]
    Answer {
        /// What was asked.
        url: String,
        /// What is odd about the answer.
        reason: String,
    },
    /// The command can't be carried out as given; nothing was asked of the server unless the message says so.
    #[error("{0}")]
    Usage(String),
    /// No answer.
    #[error("can't reach {url}: {reason}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why there was no answer.
        reason: String,
    },
    /// An object store could not be read or written.
    #[error("{url}: {reason}")]
    Store {
        /// What was asked.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The server refused some items of a file. Which and why stands on standard error, or on standard output with --json.
    #[error("{failed} of {items} items failed: {by_code}")]
    Items {
        /// How many.
        failed: u64,
        /// Of how many.
        items: u64,
        /// How many for which reason.
        by_code: String,
    },
    /// A file of items was not sent to its end. What became of those before stands on standard output.
    #[error(
        "{why}; stopped there: of the {items} items before line {line}, {done} were {word}, and of those from there on none is known to be. \
         When it is mended, go on with: {on}"
    )]
    Stopped {
        /// What stopped it.
        why: Box<Failure>,
        /// The first line without an outcome.
        line: u64,
        /// How many items have one.
        items: u64,
        /// Of these, how many went well.
        done: u64,
        /// What that is called.
        word: &'static str,
        /// The command that sends the rest.
        on: String,
    },
    /// The doctor found something. What it is stands on standard output.
    #[error("{wrong} wrong, {warnings} to look at")]
    Unwell {
        /// How many findings are wrong.
        wrong: usize,
        /// How many are worth a look.
        warnings: usize,
        /// Because the node can't be reached?
        unreachable: bool,
    },
    /// Standard output could not be written.
    #[error("can't write the output: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Stopped { why, .. } => why.exit_code(),
            Self::Refused(_)
            | Self::Answer { .. }
            | Self::Store { .. }
            | Self::Items { .. }
            | Self::Unwell { unreachable: false, .. } => 1,
            Self::Usage(_) | Self::Output(_) => 2,
            Self::Unreachable { .. } | Self::Unwell { unreachable: true, .. } => 3,
        }
    }

    /// What to do about a node that is there, but is not trusted.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { reason, .. } => meaning_of_tls(reason),
            Self::Stopped { why, .. } => why.hint(),
            _ => None,
        }
    }

    /// Has the reader of standard output left?
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
