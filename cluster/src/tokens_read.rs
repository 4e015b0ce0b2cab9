//! Tokens' rows as they were read last: every request over REST looks at one.
//!
//! **Invariant:** what is told is what reading the row now would give. A row is kept with the directory's last applied entry as it
//! was *before* the row was read, and told only while that still is the last: nothing was applied since, so nothing changed. So there
//! is nothing to invalidate, and a token that was revoked is refused by the next request that begins after its entry was applied,
//! which is before the revocation is answered.

use std::collections::HashMap;

use parking_lot::RwLock;
use twin_core::ids::TokenName;
use twin_core::refusal::Refusal;
use twin_storage::consensus::LogId;

use crate::tokens::TokenRow;

/// Rows that were read, at most as many as there are tokens. Names that no token has are not kept: anybody may invent them.
#[derive(Default)]
pub(crate) struct TokensRead(RwLock<Rows>);

#[derive(Default)]
struct Rows {
    /// The last entry that was applied before all of them were read.
    applied: Option<LogId>,
    rows: HashMap<TokenName, TokenRow>,
}

impl TokensRead {
    /// The row of this name: as kept, or by `read`. `applied` says which entry was applied last.
    pub(crate) fn row(
        &self,
        name: &TokenName,
        applied: impl Fn() -> Option<LogId>,
        read: impl FnOnce() -> Result<Option<TokenRow>, Refusal>,
    ) -> Result<Option<TokenRow>, Refusal> {
        let before = applied();
        {
            let kept = self.0.read();
            if kept.applied == before
                && let Some(row) = kept.rows.get(name)
            {
                return Ok(Some(row.clone()));
            }
        }
        let row = read()?;
        if let Some(row) = &row {
            let mut kept = self.0.write();
            if kept.applied < before {
                kept.applied = before;
                kept.rows.clear();
            }
            // Otherwise it was read later than what is kept: then it tells of a later state, too, and is not put among them.
            if kept.applied == before {
                kept.rows.insert(name.clone(), row.clone());
            }
        }
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::tokens::Scope;
    use twin_core::numbers::WallTime;

    fn at(index: u64) -> LogId {
        LogId { leader_id: 1.into(), index }
    }

    #[test]
    fn a_row_is_read_again_once_anything_was_applied() {
        let (kept, applied) = (TokensRead::default(), Cell::new(Some(at(1))));
        let name = TokenName::new("ci").unwrap();
        let told = |now: Option<TokenRow>| kept.row(&name, || applied.get(), || Ok(now)).unwrap().map(|row| row.scope);
        assert_eq!(told(None), None);
        assert_eq!(told(Some(row(Scope::Read))), Some(Scope::Read), "that there is none is not kept");
        assert_eq!(told(Some(row(Scope::Steer))), Some(Scope::Read), "nothing was applied: as it was read");
        applied.set(Some(at(2)));
        assert_eq!(told(Some(row(Scope::Steer))), Some(Scope::Steer));
        applied.set(Some(at(3)));
        assert_eq!(told(None), None, "revoked");
        assert_eq!(told(None), None);
    }

    fn row(scope: Scope) -> TokenRow {
        TokenRow { created_at: WallTime::new(1), scope, hash: [7; 32], expires_at: None }
    }

    /// What was read tells of the moment before the reading, not of the one behind it.
    #[test]
    fn a_row_that_was_read_while_something_was_applied_is_read_again() {
        let (kept, applied) = (TokensRead::default(), Cell::new(Some(at(1))));
        let name = TokenName::new("ci").unwrap();
        let overtaken = || {
            applied.set(Some(at(2)));
            Ok(Some(row(Scope::Operate)))
        };
        assert!(kept.row(&name, || applied.get(), overtaken).unwrap().is_some());
        assert_eq!(kept.row(&name, || applied.get(), || Ok(None)), Ok(None), "revoked by the second entry");
    }

    #[test]
    fn of_what_was_read_before_an_entry_nothing_is_told_after_it_also_where_another_row_was_read_since() {
        let (kept, applied) = (TokensRead::default(), Cell::new(Some(at(1))));
        let (one, two) = (TokenName::new("one").unwrap(), TokenName::new("two").unwrap());
        let told = |name: &TokenName, now: Option<TokenRow>| {
            kept.row(name, || applied.get(), || Ok(now)).unwrap().map(|row| row.scope)
        };
        assert_eq!(told(&one, Some(row(Scope::Read))), Some(Scope::Read));
        applied.set(Some(at(2)));
        assert_eq!(told(&two, Some(row(Scope::Read))), Some(Scope::Read));
        assert_eq!(told(&one, None), None, "revoked by the second entry");
    }

    /// Two threads: the one that began first comes last.
    #[test]
    fn a_reading_that_was_overtaken_is_not_put_among_newer_ones() {
        let (kept, applied) = (TokensRead::default(), Cell::new(Some(at(1))));
        let (one, two) = (TokenName::new("one").unwrap(), TokenName::new("two").unwrap());
        let overtaken = || {
            applied.set(Some(at(2)));
            assert!(kept.row(&two, || applied.get(), || Ok(Some(row(Scope::Read)))).unwrap().is_some());
            Ok(Some(row(Scope::Operate)))
        };
        assert!(kept.row(&one, || applied.get(), overtaken).unwrap().is_some());
        assert_eq!(kept.row(&one, || applied.get(), || Ok(None)), Ok(None), "revoked by the second entry");
        assert!(kept.row(&two, || applied.get(), || Ok(None)).unwrap().is_some(), "the newer one is kept");
    }
}
