//! What is known of a group besides its entries.

use serde::{Deserialize, Serialize};

use super::frame::Kind;
use crate::codec::{self, CodecError};
use crate::consensus::{LogId, Vote};

/// What is known of a group besides its entries; of these, which there are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::log) struct Roots {
    pub(in crate::log) vote: Option<Vote>,
    pub(in crate::log) committed: Option<LogId>,
    pub(in crate::log) purged: Option<LogId>,
    /// Index of the first entry.
    pub(in crate::log) first: u64,
    /// Index behind the last entry. The same as `first`: there is none.
    pub(in crate::log) next: u64,
}

impl Roots {
    /// Takes what an item of the group says.
    pub(in crate::log) fn apply(&mut self, kind: Kind, index: u64, payload: &[u8]) -> Result<(), CodecError> {
        match kind {
            Kind::Entry => self.appended(index),
            Kind::Vote => self.vote = codec::decode(payload)?,
            Kind::Committed => self.committed = codec::decode(payload)?,
            Kind::Purged => {
                let purged: Option<LogId> = codec::decode(payload)?;
                self.purged = self.purged.max(purged);
                self.first = self.first.max(purged.map_or(0, |id| id.index.saturating_add(1)));
                self.next = self.next.max(self.first);
            }
            Kind::Truncated => self.next = self.next.min(index).max(self.first),
            Kind::Begin => {}
        }
        Ok(())
    }

    fn appended(&mut self, index: u64) {
        if index > self.next || self.first == self.next && index == self.next {
            // A log need not have its beginning; behind a snapshot it begins anew.
            self.first = index;
            self.next = index + 1;
        } else if index == self.next {
            self.next += 1;
        }
        // Otherwise it was carried here from elsewhere.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(items: &[(Kind, u64)]) -> (u64, u64) {
        let mut roots = Roots::default();
        for (kind, index) in items {
            let purged = Some(LogId { leader_id: 1.into(), index: *index });
            let payload = if *kind == Kind::Purged { codec::encode(&purged, 0).expect("encodes") } else { Vec::new() };
            roots.apply(*kind, *index, &payload).expect("readable");
        }
        (roots.first, roots.next)
    }

    #[test]
    fn they_know_which_entries_there_are() {
        use Kind::{Entry, Purged, Truncated};
        assert_eq!(range(&[]), (0, 0));
        assert_eq!(range(&[(Entry, 0), (Entry, 1)]), (0, 2));
        assert_eq!(range(&[(Entry, 7), (Entry, 8)]), (7, 9), "it never had its beginning");
        assert_eq!(range(&[(Entry, 0), (Entry, 1), (Truncated, 1), (Entry, 1)]), (0, 2));
        assert_eq!(range(&[(Entry, 0), (Entry, 1), (Purged, 0)]), (1, 2));
        assert_eq!(range(&[(Entry, 0), (Entry, 1), (Purged, 5), (Entry, 6)]), (6, 7));
        assert_eq!(range(&[(Entry, 3), (Entry, 4), (Truncated, 0), (Entry, 3)]), (3, 4));
        assert_eq!(range(&[(Entry, 0), (Entry, 1), (Entry, 2), (Entry, 0)]), (0, 3), "carried");
        assert_eq!(range(&[(Entry, 0), (Entry, 9), (Entry, 10)]), (9, 11), "behind a snapshot");
        assert_eq!(range(&[(Entry, 0), (Entry, 1), (Purged, 0), (Entry, 0)]), (1, 2), "carried, and purged meanwhile");
    }
}
