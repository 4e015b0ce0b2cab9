//! The cuts: at every call, with what fate makes of it, and again while the files are opened.
//!
//! By default each call index is met with one of the four fates; with `TWINMESH_POWER_CUTS=all` with each of them. `TWINMESH_SEED`
//! (any number, printed on a failure) decides which, and where the second cut is.

use openraft::storage::RaftLogStorage;
use twin_storage::consensus::openraft;
use twin_storage::{Group, Storage};

use super::script::{Sent, options, run, sent};
use super::witness::Witness;
use crate::faulty_disk::{Chance, Fate, FaultyDisk};
use crate::world::{CELL, append, apply, barrier};

/// Second cuts come within so many calls: opening takes few.
const OPENING_CALLS: u64 = 24;

struct Cuts {
    seed: u64,
    fates: &'static [Fate],
}

impl Cuts {
    fn from_environment() -> Self {
        let seed = std::env::var("TWINMESH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
        let all = std::env::var("TWINMESH_POWER_CUTS").is_ok_and(|cuts| cuts == "all");
        println!("seed {seed}, {}", if all { "all fates" } else { "one fate a call (TWINMESH_POWER_CUTS=all: each)" });
        Self { seed, fates: if all { &Fate::ALL } else { &[] } }
    }

    fn of(&self, call: u64) -> Vec<Fate> {
        if self.fates.is_empty() {
            vec![Fate::ALL[Chance(self.seed ^ call).below(4) as usize]]
        } else {
            self.fates.to_vec()
        }
    }
}

/// The power goes at this call of the script and once more while the files are opened again. Says whether the script came so far.
async fn cut(sent: &Sent, call: u64, fate: Fate, seed: u64) -> bool {
    let when = format!("seed {seed}, {fate:?} at call {call}");
    let disk = FaultyDisk::new();
    disk.cut_at(call, fate, seed ^ call);
    let witnesses = run(&disk, sent).await;
    let came_so_far = disk.is_off();
    disk.power_on();

    let mut chance = Chance(seed ^ call.rotate_left(32));
    disk.cut_at(chance.below(OPENING_CALLS), fate, chance.next());
    // It may open before its power goes.
    drop(Storage::open(options(&disk)));
    disk.power_on();

    let storage = Storage::open(options(&disk)).unwrap_or_else(|error| panic!("{when}: {error}"));
    for witness in &witnesses {
        witness.verify(&storage, &when).await;
    }
    goes_on(storage, &disk, &witnesses, &when).await;
    came_so_far
}

/// What was opened after a cut takes more, and keeps it.
async fn goes_on(storage: Storage, disk: &FaultyDisk, witnesses: &[Witness], when: &str) {
    let Group { mut log, mut state_machine, .. } = storage.group(CELL);
    let state = log.get_log_state().await.expect("readable");
    let index = state.last_log_id.map_or(0, |last| last.index + 1);
    // Openraft closes a gap between a purged log and what it appends; a fresh group has none.
    if witnesses.is_empty() {
        assert_eq!(index, 0, "{when}: a file that was never opened holds something");
    }
    let entry = barrier(9, index, 0);
    append(&mut log, vec![entry.clone()]).await;
    apply(&mut state_machine, vec![entry.clone()]).await;
    storage.checkpoint().await.unwrap_or_else(|failure| panic!("{when}: {failure}"));
    drop(storage);
    disk.power_on();
    let storage = Storage::open(options(disk)).unwrap_or_else(|error| panic!("{when}, later: {error}"));
    assert_eq!(storage.reader().applied(CELL).expect("open"), Some(entry.log_id), "{when}, later");
}

/// Cuts at every `threads`th call, from `first` on, until the script ends before it; says how many calls that were.
async fn cut_all(sent: &Sent, cuts: &Cuts, first: u64, threads: u64) -> u64 {
    let mut call = first;
    loop {
        let mut came_so_far = true;
        for fate in cuts.of(call) {
            came_so_far &= cut(sent, call, fate, cuts.seed).await;
        }
        if !came_so_far {
            return call;
        }
        call += threads;
    }
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_acked_and_the_files_open() {
    let cuts = Cuts::from_environment();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let sent = runtime().block_on(sent());
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let calls = std::thread::scope(|scope| {
        let (cuts, sent) = (&cuts, &sent);
        let cutting: Vec<_> = (0..threads)
            .map(|first| scope.spawn(move || runtime().block_on(cut_all(sent, cuts, first, threads))))
            .collect();
        cutting.into_iter().map(|thread| thread.join().expect("said above")).max()
    });
    println!("the power went at each of {calls:?} calls");
    assert!(calls > Some(180), "the script makes {calls:?} calls only");
}
