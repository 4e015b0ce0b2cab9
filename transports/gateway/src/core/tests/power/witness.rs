//! What the application was promised, and what must be so whatever happens to the disk.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use twin_core::ids::TwinId;
use twin_core::numbers::{Boot, Stay};

use super::script::TWINS;
use crate::core::append::{Appended, Promises, Stamped};
use crate::core::tests::harness::{Bench, NaiveNode};
use crate::core::{Core, lane_of};
use crate::outbox::dead_letters::DeadLetter;
use crate::outbox::format::Class;

/// A message's stamp.
type Stamp = (TwinId, Class, Stay, u64);

/// What the script did.
#[derive(Default)]
pub(super) struct Witness {
    /// All that was ever stamped, with its promise.
    stamped: HashMap<Stamp, Rc<Promises>>,
    /// The highest boot that ever began.
    boot: Boot,
    /// The position of the source: the last that was said, and the last that was promised.
    pub(super) said: u64,
    position: Option<(u64, Stamp)>,
    /// What was replayed, and under which stamp then.
    moved: HashMap<Stamp, Stamp>,
    /// What was discarded.
    discarded: HashSet<Stamp>,
}

fn stamp_of(core: &Core, stamped: Stamped) -> Stamp {
    (core.twins[stamped.twin as usize].id.clone(), stamped.class, stamped.stay, stamped.number.get())
}

impl Witness {
    /// The outbox is open. **Numbers never go back**: its boot is above all before it.
    pub(super) fn opened(&mut self, core: &Core) {
        assert!(core.boot > self.boot, "boot {} comes after boot {}", core.boot, self.boot);
        self.boot = core.boot;
    }

    /// These were taken.
    pub(super) fn took(&mut self, core: &Core, stamped: Vec<Stamped>, promises: Promises) {
        let promises = Rc::new(promises);
        for one in stamped {
            let stamp = stamp_of(core, one);
            let before = self.stamped.insert(stamp.clone(), Rc::clone(&promises));
            assert!(before.is_none(), "{stamp:?} is stamped a second time");
        }
    }

    /// The row of the source at this position was taken.
    pub(super) fn took_row(&mut self, core: &Core, position: u64, stamped: Vec<Stamped>, promises: Promises) {
        self.said = position;
        self.position = stamped.first().map(|one| (position, stamp_of(core, *one)));
        self.took(core, stamped, promises);
    }

    /// A dead letter was replayed.
    pub(super) fn replayed(&mut self, core: &Core, letter: &DeadLetter, appended: Appended) {
        let new = stamp_of(core, appended.stamped[0]);
        for number in letter.first.get()..=letter.last.get() {
            self.moved.insert((letter.twin.clone(), letter.class, letter.stay, number), new.clone());
        }
        self.took(core, appended.stamped, appended.promises);
    }

    /// A dead letter was discarded, or will be.
    pub(super) fn discarded(&mut self, letter: &DeadLetter) {
        for number in letter.first.get()..=letter.last.get() {
            self.discarded.insert((letter.twin.clone(), letter.class, letter.stay, number));
        }
    }

    /// Under its own stamp, or that of its replay; with the node, in the outbox if that counts, or a dead letter.
    fn is_there(&self, bench: &Bench, node: &NaiveNode, stamp: &Stamp, pending: bool) -> bool {
        let core = &bench.core;
        let there = |stamp: &Stamp| {
            is_with(node, stamp)
                || (pending && is_pending(core, stamp))
                || is_dead(core, stamp)
                || self.discarded.contains(stamp)
        };
        there(stamp) || self.moved.get(stamp).is_some_and(|new| self.is_there(bench, node, new, pending))
    }

    fn promised(&self) -> impl Iterator<Item = &Stamp> {
        self.stamped.iter().filter(|(_, promises)| promises.are_kept()).map(|(stamp, _)| stamp)
    }

    /// **What was promised is there, or with the node**, or a dead letter.
    pub(super) fn verify(&self, bench: &Bench, node: &NaiveNode, when: &str) {
        for stamp in self.promised() {
            assert!(self.is_there(bench, node, stamp, true), "{when}: promised and lost: {stamp:?}");
        }
        if let Some((position, stamp)) = &self.position
            && self.stamped.get(stamp).is_some_and(|promises| promises.are_kept())
        {
            let found = bench.core.positions.get("source").copied();
            assert!(found >= Some(*position), "{when}: the source went back from {position} to {found:?}");
        }
    }

    /// When nothing is left to be sent: **nothing has two effects**, what was promised has one or is a dead letter, and every row of
    /// the source has exactly one.
    pub(super) fn verify_drained(&self, bench: &Bench, node: &NaiveNode, rows: u64, when: &str) {
        for stamp in self.promised() {
            assert!(self.is_there(bench, node, stamp, false), "{when}: without effect: {stamp:?}");
        }
        for (stamp, effects) in node.effects.iter().chain(&node.alarm_effects) {
            assert_eq!(*effects, 1, "{when}: {stamp:?}");
        }
        for (value, effects) in &node.values {
            assert_eq!(*effects, 1, "{when}: {value:?}");
        }
        // The script raises no name twice.
        let raised: HashSet<_> = node.alarms.iter().collect();
        assert_eq!(raised.len(), node.alarms.len(), "{when}: {:?}", node.alarms);
        let twin = TwinId::new(TWINS[0]).unwrap();
        for row in 1..=rows {
            let key = (twin.clone(), format!("\"row {row}\""));
            assert_eq!(node.values.get(&key), Some(&1), "{when}: row {row}");
        }
    }
}

fn is_with(node: &NaiveNode, (twin, class, stay, number): &Stamp) -> bool {
    let effects = if *class == Class::Alarm { &node.alarm_effects } else { &node.effects };
    effects.contains_key(&(twin.clone(), *stay, *number))
}

fn is_pending(core: &Core, (twin, class, stay, number): &Stamp) -> bool {
    core.twin(twin).is_some_and(|twin| {
        twin.lanes[lane_of(*class)]
            .iter()
            .any(|held| held.stay == *stay && held.first.get() <= *number && *number <= held.last.get())
    })
}

fn is_dead(core: &Core, (twin, class, stay, number): &Stamp) -> bool {
    core.dead.list().iter().any(|letter| {
        letter.twin == *twin
            && letter.class == *class
            && letter.stay == *stay
            && letter.first.get() <= *number
            && *number <= letter.last.get()
    })
}
