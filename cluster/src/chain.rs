//! The chain rule, the proposer's side.
//!
//! Every entry of a term carries (term, n), and the state machine applies it only if `n` is the next. So when one entry
//! of a term is refused or its outcome is unknown, none proposed behind it can take effect: their commands were computed on
//! top of changes that may not exist. The chain is then *poisoned*: everything in flight is given up, the grains are thrown
//! away, and a barrier, which alone may skip numbers, starts anew.

use twin_storage::ChainLink;

/// Hands out the links of one term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain {
    term: u64,
    last: u64,
}

impl Chain {
    /// The chain of `term`, behind everything that any earlier chain of the term can have numbered: `last` is the highest
    /// number handed out in it.
    pub fn behind(term: u64, last: u64) -> Self {
        Self { term, last }
    }

    /// The next link.
    pub fn next_link(&mut self) -> ChainLink {
        self.last += 1;
        ChainLink { term: self.term, n: self.last }
    }

    /// The term.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// The highest number handed out.
    pub fn last(&self) -> u64 {
        self.last
    }
}
