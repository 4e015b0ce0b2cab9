//! Many registered twins at once, and reports of any of them.
//!
//! - `seed`: one twin of each seeding gateway is registered and reported through its session, as any other. Then the node
//!   stops, and the rows that carry their ids are copied for each further id, in key order (`copy`). So the rows are whatever this
//!   release writes, at millions a minute. The file is denser than one that grew row by row.
//! - [`SeededTwins`] knows what was seeded: the sessions that may report these twins (`reports`), and the rows themselves, for a
//!   baseline that writes them without a node.
//! - [`Shuffled`] is an order of them that is none.

mod copy;
mod reports;
mod seed;
mod shuffled;

pub(crate) use reports::reporters;
pub(crate) use seed::{SEEDERS, SeededTwins, seed};
pub(crate) use shuffled::Shuffled;

/// The id of a seeded twin. All have the same length, and rise with the number.
pub(crate) fn seeded_id(number: u64) -> String {
    format!("cold-{number:010}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_their_length_and_order() {
        assert_eq!(seeded_id(0).len(), seeded_id(9_999_999_999).len());
        assert!(seeded_id(9) < seeded_id(10));
    }
}
