//! A cluster restored from a backup is a new lineage: its rows, raised.
//!
//! What that means to a twin is in [`twin_core::recovery`]. Here are the rows around it: the cell's lineage and the sites' epochs, which
//! together order all owners, so that a gateway hears no more of the older one; and the floors of all home slots, also of those that had
//! none, because twins may have been made after the backup.
//!
//! What is left as it was: sites, gateways and their keys, admin tokens. **A gateway or a token that was revoked after the backup is let
//! in again, and one that was added after it is unknown**: nobody but the operator knows.

use bytes::Bytes;
use twin_core::numbers::{CellId, Floor};
use twin_core::recovery::{LINEAGES_PASSED_MAX, Raise};
use twin_core::rows::{RowError as TwinRowError, RowKind};
use twin_storage::families::home_slot::{HOME_SLOTS, HomeSlot};
use twin_storage::families::{Family, KeyError, home_slot};

use crate::rows::{CellRow, ClusterRow, HomeSlotRow, RowError, SiteRow, decode, encode};

/// Rows that cannot be brought into a new lineage.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The new lineage is not above the backup's.
    #[error(
        "lineage {to} cannot follow lineage {from} of the backup: give one from {} to {}, and above every lineage that was ever restored \
         from this or an older backup",
        from + 1,
        from + LINEAGES_PASSED_MAX
    )]
    Lineage {
        /// The backup's.
        from: u64,
        /// The one wanted.
        to: u64,
    },
    /// A cell of another lineage than the backup says it is of.
    #[error(
        "the backup says that it is of lineage {expected}, but cell {cell} in it is of {found}: take another backup"
    )]
    Mixed {
        /// Which cell.
        cell: CellId,
        /// What the backup says.
        expected: u64,
        /// What the row says.
        found: u64,
    },
    /// A row of a twin.
    #[error("in the backup {0}")]
    Twin(#[from] TwinRowError),
    /// A row of the cluster.
    #[error("in the backup {0}")]
    Row(#[from] RowError),
    /// A key.
    #[error("in the backup {0}")]
    Key(#[from] KeyError),
}

/// Takes rows from one lineage to a later one.
#[derive(Debug)]
pub struct Recovery {
    from: u64,
    to: u64,
    raise: Raise,
    /// Slots whose floor was among the rows.
    floors: Vec<bool>,
}

impl Recovery {
    /// From the backup's lineage to a later one.
    pub fn new(from: u64, to: u64) -> Result<Self, RecoveryError> {
        let refused = RecoveryError::Lineage { from, to };
        let raise = to.checked_sub(from).and_then(Raise::past).ok_or(refused)?;
        Ok(Self { from, to, raise, floors: vec![false; usize::from(HOME_SLOTS)] })
    }

    /// The lineage that follows one, if nothing speaks against it.
    pub fn next_lineage(from: u64) -> u64 {
        from.saturating_add(1)
    }

    /// A row of the backup, as it is in the new lineage. The same row may come again: what it was in the backup counts.
    pub fn row(&mut self, family: Family, key: &[u8], value: Bytes) -> Result<Bytes, RecoveryError> {
        let kind = match family {
            Family::TwinHot => RowKind::Hot,
            Family::TwinHead => RowKind::Head,
            Family::TwinDesired => RowKind::Desired,
            Family::TwinMarks => RowKind::Marks,
            Family::TwinAlarms => RowKind::Alarms,
            Family::Home => RowKind::Home,
            Family::HomeSlot => {
                let slot = home_slot::decode(key)?;
                let row: HomeSlotRow = decode("home slot", &value)?;
                self.floors[usize::from(slot.get())] = true;
                return Ok(encode(&HomeSlotRow { floor: self.raise.floor(row.floor) }));
            }
            Family::Site => {
                let row: SiteRow = decode("site", &value)?;
                return Ok(encode(&SiteRow { epoch: self.raise.number(row.epoch), ..row }));
            }
            Family::Cell => {
                let row: CellRow = decode("cell", &value)?;
                if row.lineage != self.from {
                    return Err(RecoveryError::Mixed { cell: row.cell, expected: self.from, found: row.lineage });
                }
                return Ok(encode(&CellRow { lineage: self.to, ..row }));
            }
            Family::Cluster => {
                let row: ClusterRow = decode("cluster", &value)?;
                return Ok(encode(&ClusterRow { site_epoch_floor: self.raise.number(row.site_epoch_floor), ..row }));
            }
            // None has a counter that anybody else compares.
            Family::SiteTwin | Family::SiteDevice | Family::Gateway | Family::Node | Family::Token => return Ok(value),
        };
        Ok(self.raise.row(kind, &value)?)
    }

    /// Floors of the slots that had none: the rows that the cell with the home slots needs besides.
    pub fn missing_floors(&self) -> impl Iterator<Item = (Family, Bytes, Bytes)> {
        let row = encode(&HomeSlotRow { floor: self.raise.floor(Floor::default()) });
        let missing = (0..HOME_SLOTS).filter(|slot| !self.floors[usize::from(*slot)]).filter_map(HomeSlot::new);
        missing.map(move |slot| (Family::HomeSlot, home_slot::key(slot), row.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lineage_follows_only_a_lower_one() {
        assert!(Recovery::new(1, 2).is_ok() && Recovery::new(3, 9).is_ok());
        for (from, to) in [(1, 1), (2, 1), (1, 2 + LINEAGES_PASSED_MAX)] {
            let refused = Recovery::new(from, to).expect_err("it does not follow").to_string();
            assert!(refused.contains(&(from + 1).to_string()), "{refused}");
        }
    }

    #[test]
    fn every_slot_has_a_floor_in_the_new_lineage() {
        let mut recovery = Recovery::new(1, 2).expect("it follows");
        let slot = HomeSlot::new(7).expect("there is one");
        let row = encode(&HomeSlotRow { floor: Floor::new(5) });
        let raised = recovery.row(Family::HomeSlot, &home_slot::key(slot), row).expect("a row of ours");
        let raised: HomeSlotRow = decode("home slot", &raised).expect("a row of ours");
        assert_eq!(raised.floor, Floor::new((1 << 32) + 5));
        let missing: Vec<_> = recovery.missing_floors().collect();
        assert_eq!(missing.len(), usize::from(HOME_SLOTS) - 1);
        assert!(missing.iter().all(|(_, key, _)| *key != home_slot::key(slot)));
    }
}
