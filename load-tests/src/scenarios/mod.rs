//! What is measured, one file each.

mod a1;
mod b1;
mod c1;
mod d1;
mod e1;
mod k1;
mod m1;
mod o1;
mod r1;
mod s1;
mod t1;
mod w1;
mod w2;

use crate::bench::Bench;

/// Something that is measured.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) about: &'static str,
    pub(crate) run: fn(&mut Bench) -> anyhow::Result<()>,
}

/// These are for whoever asks for them, by name or with `--full`: a quick run has its five minutes full without them.
const FULL_ONLY: [&str; 3] = ["E1", "K1", "O1"];

impl Scenario {
    /// Is it part of a quick run?
    pub(crate) fn is_quick(&self) -> bool {
        !FULL_ONLY.contains(&self.name)
    }
}

/// In the order in which they are run: W2 wants to know what W1 found.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "W1", about: "durable reported updates a second, beside Redis and others", run: w1::run },
    Scenario {
        name: "W2",
        about: "latency of an ack at low and at half load, beside fdatasync and QUIC",
        run: w2::run,
    },
    Scenario { name: "R1", about: "warm linearizable reads, beside actix-web from memory", run: r1::run },
    Scenario { name: "A1", about: "cold activations from disk", run: a1::run },
    Scenario { name: "M1", about: "memory: idle, per active grain, with many registered twins", run: m1::run },
    Scenario { name: "C1", about: "thousands of connected gateways: memory, and what is left of W1", run: c1::run },
    Scenario { name: "D1", about: "the overnight price change, in through batchUpdate", run: d1::run },
    Scenario { name: "S1", about: "what is left of W1 and R1 with ever more registered twins", run: s1::run },
    Scenario { name: "T1", about: "start to serving with many twins, clean and after kill -9", run: t1::run },
    Scenario { name: "E1", about: "sealing the disk: what is left of W1, beside a node that does not", run: e1::run },
    Scenario { name: "K1", about: "acks at a fixed rate while backups are taken, and without", run: k1::run },
    Scenario { name: "O1", about: "one observer: what is left of W1, beside a node that nobody watches", run: o1::run },
    Scenario { name: "B1", about: "bytes of frames per reported number", run: b1::run },
];
