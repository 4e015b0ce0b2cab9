//! The cuts: at every call, with what fate makes of it, and again while the file is opened.
//!
//! By default each call index is met with one of the four fates, with `TWINMESH_POWER_CUTS=all` with each of them. `TWINMESH_SEED` (any
//! number, printed on a failure) decides which, and where the second cut is.

use std::sync::Arc;

use twin_faulty_disk::{Chance, Fate, FaultyDisk};

use super::script::{CAP_BYTES, World, run};
use crate::core::tests::harness::Bench;

/// Second cuts come within so many calls: opening takes few.
const OPENING_CALLS: u64 = 24;

#[derive(Clone, Copy)]
struct Cuts {
    seed: u64,
    all: bool,
    accounts: bool,
}

impl Cuts {
    fn from_environment(accounts: bool) -> Self {
        let seed = std::env::var("TWINMESH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
        let all = std::env::var("TWINMESH_POWER_CUTS").is_ok_and(|cuts| cuts == "all");
        println!("seed {seed}, {}", if all { "all fates" } else { "one fate a call (TWINMESH_POWER_CUTS=all: each)" });
        Self { seed, all, accounts }
    }

    fn of(self, call: u64) -> Vec<Fate> {
        if self.all { Fate::ALL.to_vec() } else { vec![Fate::ALL[Chance(self.seed ^ call).below(4) as usize]] }
    }
}

/// The power goes at this call of the script and once more while the file is opened again. Says whether the script came so far.
fn cut(cuts: Cuts, call: u64, fate: Fate) -> bool {
    let when = format!("seed {}, {fate:?} at call {call}", cuts.seed);
    let disk = FaultyDisk::new();
    disk.cut_at(call, fate, cuts.seed ^ call);
    let (node, mut witness) = run(&disk, cuts.accounts);
    let came_so_far = disk.is_off();
    assert!(
        came_so_far || node.alarms.len() > 8,
        "{when}: the script raises alarms, and the node has {:?}",
        node.alarms
    );
    disk.power_on();

    let mut chance = Chance(cuts.seed ^ call.rotate_left(32));
    disk.cut_at(chance.below(OPENING_CALLS), fate, chance.next());
    // It may open before its power goes.
    if let Ok(bench) = Bench::on(Arc::new(disk.clone()), CAP_BYTES, true) {
        witness.opened(&bench.core);
    }
    disk.power_on();

    let bench = Bench::on(Arc::new(disk.clone()), CAP_BYTES, true).unwrap_or_else(|error| panic!("{when}: {error}"));
    let mut world = World::again(bench, node, witness);
    world.witness.verify(&world.bench, &world.node, &when);
    world.goes_on();
    let rows = world.witness.said;
    world.witness.verify_drained(&world.bench, &world.node, rows, &when);
    came_so_far
}

/// Cuts at every `step`th call, from `first` on, until the script ends before it; says how many calls that were.
fn cut_all(cuts: Cuts, first: u64, step: u64) -> u64 {
    let mut call = first;
    loop {
        let mut came_so_far = true;
        for fate in cuts.of(call) {
            came_so_far &= cut(cuts, call, fate);
        }
        if !came_so_far {
            return call;
        }
        call += step;
    }
}

fn cut_everywhere(accounts: bool) {
    let cuts = Cuts::from_environment(accounts);
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let calls = std::thread::scope(|scope| {
        let cutting: Vec<_> = (0..threads).map(|thread| scope.spawn(move || cut_all(cuts, thread, threads))).collect();
        cutting.into_iter().map(|thread| thread.join().expect("said above")).max()
    });
    println!("the script makes at most {calls:?} calls");
    assert!(calls > Some(100), "the script makes {calls:?} calls only");
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_promised_and_nothing_has_two_effects() {
    cut_everywhere(false);
}

#[test]
fn nor_where_each_commit_keeps_account_of_the_pages() {
    cut_everywhere(true);
}
