//! The chain rule: which committed entries apply.
//!
//! A leader decides on top of entries that are still in flight, so an entry is only good on exactly the
//! entries it was decided on. openraft may refuse one entry and accept the next in the same term, and a
//! proposal with an unknown outcome may commit late. Hence: an entry applies only if its term is its log
//! id's and its number is next; only a barrier may skip numbers, forward. A leader that lost sight of an
//! entry proposes a barrier above every number it ever gave out in the term; whatever of the old run
//! commits before the barrier applied as a gapless prefix, whatever commits after it is refused.

use crate::entry::{ChainLink, Change, EntryData};

/// An entry that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    pub(crate) expected: ChainLink,
}

/// The chain after the entry `data`, committed in `log_term`, or why it does not fit behind `last`.
pub(crate) fn follow(last: ChainLink, log_term: u64, data: &EntryData) -> Result<ChainLink, Misfit> {
    let got = data.chain();
    // A log's terms never fall, so `log_term >= last.term` always; a new term starts from any number.
    let expected = if log_term == last.term { last.next() } else { ChainLink { term: log_term, n: 0 } };
    let fits = got.term == log_term
        && match data.change() {
            Change::Barrier => got >= expected,
            // Each term opens with a barrier: a batch needs a chain that already runs in its term.
            Change::Batch(_) => log_term == last.term && got == expected,
        };
    if fits { Ok(got) } else { Err(Misfit { expected }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(term: u64, n: u64) -> ChainLink {
        ChainLink { term, n }
    }

    fn batch(term: u64, n: u64) -> EntryData {
        EntryData::batch(link(term, n), Vec::new()).expect("an empty batch is small")
    }

    fn barrier(term: u64, n: u64) -> EntryData {
        EntryData::barrier(link(term, n))
    }

    #[test]
    fn a_batch_applies_only_if_it_is_next_in_its_own_term() {
        assert_eq!(follow(link(3, 7), 3, &batch(3, 8)), Ok(link(3, 8)));
        for wrong in [batch(3, 7), batch(3, 9), batch(2, 8), batch(4, 8)] {
            assert_eq!(follow(link(3, 7), 3, &wrong), Err(Misfit { expected: link(3, 8) }), "{wrong}");
        }
    }

    #[test]
    fn a_term_opens_with_a_barrier() {
        assert_eq!(follow(link(3, 7), 4, &batch(4, 0)), Err(Misfit { expected: link(4, 0) }));
        assert_eq!(follow(link(3, 7), 4, &batch(4, 8)), Err(Misfit { expected: link(4, 0) }));
        assert_eq!(follow(link(3, 7), 4, &barrier(4, 0)), Ok(link(4, 0)));
        assert_eq!(follow(link(3, 7), 4, &barrier(4, 100)), Ok(link(4, 100)));
    }

    #[test]
    fn only_a_barrier_skips_numbers_and_only_forward() {
        assert_eq!(follow(link(3, 7), 3, &barrier(3, 20)), Ok(link(3, 20)));
        assert_eq!(follow(link(3, 7), 3, &barrier(3, 8)), Ok(link(3, 8)));
        assert_eq!(follow(link(3, 7), 3, &barrier(3, 7)), Err(Misfit { expected: link(3, 8) }));
        assert_eq!(follow(link(3, 7), 3, &barrier(2, 20)), Err(Misfit { expected: link(3, 8) }));
    }

    #[test]
    fn an_entry_of_an_old_leader_that_commits_in_a_new_term_is_refused() {
        // Forwarded or retried by openraft, it has the new term in its log id and the old one in its chain.
        assert_eq!(follow(link(4, 0), 4, &batch(3, 1)), Err(Misfit { expected: link(4, 1) }));
    }
}
