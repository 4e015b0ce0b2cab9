//! Home slots, and the floors that they keep.

use parking_lot::Mutex;
use twin_core::ids::TwinId;
use twin_core::numbers::Floor;

use twin_storage::families::home_slot::{HOME_SLOTS, HomeSlot};

/// FNV-1a, 64 bits: stable across releases and machines, as rows on disk are keyed by what comes of it.
pub fn hash(twin: &TwinId) -> u64 {
    twin.as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The home slot of a twin id.
pub fn home_slot(twin: &TwinId) -> HomeSlot {
    HomeSlot::of_hash(hash(twin))
}

/// Floors of all home slots, as far as they were raised.
#[derive(Debug)]
pub struct Floors {
    floors: Mutex<Vec<Floor>>,
}

impl Default for Floors {
    fn default() -> Self {
        Self { floors: Mutex::new(vec![Floor::default(); usize::from(HOME_SLOTS)]) }
    }
}

impl Floors {
    /// What twins of this id's slot start above.
    pub fn of(&self, twin: &TwinId) -> Floor {
        self.floors.lock()[usize::from(home_slot(twin).get())]
    }

    /// Takes over what is committed, at the start of a generation.
    pub fn load(&self, committed: impl IntoIterator<Item = (HomeSlot, Floor)>) {
        let mut floors = self.floors.lock();
        floors.fill(Floor::default());
        for (slot, floor) in committed {
            floors[usize::from(slot.get())] = floor;
        }
    }

    /// Raises the slot's floor and gives the new one to `commit` before anybody else can raise it: two deletes in one slot
    /// must reach the log in the order in which they raised it, as the later after-image covers both.
    pub fn raise<T>(&self, twin: &TwinId, at_least: Floor, commit: impl FnOnce(HomeSlot, Floor) -> T) -> T {
        let slot = home_slot(twin);
        let mut floors = self.floors.lock();
        let floor = &mut floors[usize::from(slot.get())];
        *floor = (*floor).max(at_least);
        commit(slot, *floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a_as_its_authors_test_it() {
        assert_eq!(hash(&TwinId::new("a").unwrap()), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(hash(&TwinId::new("foobar").unwrap()), 0x8594_4171_f739_67e8);
    }
}
