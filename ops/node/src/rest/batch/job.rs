//! What is particular to one kind of batch.

use twin_core::command::{Answer, Command};
use twin_core::ids::TwinId;
use twin_core::refusal::Refusal;

use super::super::problem::Problem;

/// What a line asks for.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) twin: TwinId,
    pub(super) command: Command,
}

/// A line that asks for nothing that can be done.
#[derive(Debug)]
pub(super) struct BadItem {
    /// What stood as `id`, if it can be told.
    pub(super) id: Option<Box<str>>,
    pub(super) problem: Problem,
}

/// What a batch does with its lines.
pub(super) trait Job: Send + 'static {
    /// What an item that was carried out leaves for its result.
    type Outcome: Send;

    /// Longest line.
    const LINE_BYTES_MAX: usize;
    /// What an outcome may weigh: kept free for each item that is under way.
    const OUTCOME_BYTES_MAX: usize;

    /// Reads a line. `None`: it asks for nothing and gets no result.
    fn read(&self, line: &[u8]) -> Result<Option<Item>, BadItem>;

    /// What the twin's answer means.
    fn settle(&self, answer: Answer) -> Result<Self::Outcome, Problem>;

    /// What its refusal means.
    fn refused(&self, refusal: Refusal) -> Problem {
        refusal.into()
    }

    /// Bytes that an outcome holds.
    fn weigh(&self, _: &Self::Outcome) -> usize {
        0
    }

    /// Appends the result of an item that was carried out, without the line's end. What it appended before an error is taken back.
    fn write(&self, twin: &TwinId, outcome: &Self::Outcome, out: &mut Vec<u8>) -> Result<(), Problem>;
}
