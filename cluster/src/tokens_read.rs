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
        let row = |scope| TokenRow { created_at: WallTime::new(1), scope, hash: [7; 32], expires_at: None };
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
}
