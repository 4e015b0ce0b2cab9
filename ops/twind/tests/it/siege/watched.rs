//! What a node takes of the machine's memory and cores while it is besieged, and after.

use std::time::{Duration, Instant};

use crate::process::Twind;

/// What the node may grow by under any siege.
const GROWTH_BYTES_MAX: u64 = 192 * 1024 * 1024;
/// Cores that the node may take in the second half of a siege, when all attackers are there: a debug build, with whoever has
/// credentials going on. It must not matter how many attackers there are beside those that it keeps.
const BESIEGED_CORES_MAX: f64 = 1.2;
/// And soon after it, when nobody asks for anything.
const IDLE_CORES_MAX: f64 = 0.1;
/// How soon, and how long it is looked at for that: a hundred of the ticks in which the kernel counts.
const IDLE_AGAIN_MAX: Duration = Duration::from_secs(30);
const IDLE_LOOK: Duration = Duration::from_secs(1);

/// Looks at a node during a siege.
pub(super) struct Watched<'a> {
    node: &'a Twind,
    before_bytes: u64,
    most_bytes: u64,
    /// When it was looked at, and what it had taken of the cores until then.
    looks: Vec<(Instant, Duration)>,
}

impl<'a> Watched<'a> {
    /// The siege begins.
    pub(super) fn begin(node: &'a Twind) -> Self {
        let mut watched = Self { node, before_bytes: node.resident_bytes(), most_bytes: 0, looks: Vec::new() };
        watched.look();
        watched
    }

    /// Looks, as often as one likes.
    pub(super) fn look(&mut self) {
        self.most_bytes = self.most_bytes.max(self.node.resident_bytes());
        self.looks.push((Instant::now(), self.node.cpu_time()));
    }

    /// The siege was over with the last look, the attackers and all others are gone: the node took no more than it may, and comes to rest.
    pub(super) fn stayed_in_its_bounds(self) {
        let growth = self.most_bytes.saturating_sub(self.before_bytes);
        let (first, last) = (self.looks[0], self.looks[self.looks.len() - 1]);
        let half = first.0 + (last.0 - first.0) / 2;
        let middle = self.looks.iter().rfind(|look| look.0 <= half).copied().unwrap_or(first);
        let cores = |from: (Instant, Duration), to: (Instant, Duration)| {
            to.1.saturating_sub(from.1).as_secs_f64() / (to.0 - from.0).as_secs_f64()
        };
        let besieged = cores(middle, last);
        println!(
            "resident: {} MB before, at most {} MB; {:.2} cores in the first half of {:?}, {besieged:.2} in the second",
            self.before_bytes >> 20,
            self.most_bytes >> 20,
            cores(first, middle),
            last.0 - first.0,
        );
        assert!(growth < GROWTH_BYTES_MAX, "the node grew by {growth} bytes");
        assert!(besieged < BESIEGED_CORES_MAX, "the node took {besieged:.2} cores in the second half of the siege");
        let over = Instant::now();
        loop {
            let before = (Instant::now(), self.node.cpu_time());
            std::thread::sleep(IDLE_LOOK);
            let idle = cores(before, (Instant::now(), self.node.cpu_time()));
            if idle < IDLE_CORES_MAX {
                println!("at rest after {:?}", over.elapsed());
                return;
            }
            assert!(over.elapsed() < IDLE_AGAIN_MAX, "the siege is over, and the node still takes {idle:.2} cores");
        }
    }
}
