//! Everything that a gateway does with its outbox, in a small way: appends with and without a link, alarms, lost answers, removals and
//! notes, refusals, stays that end, a source's positions, merged reports and rewritten rows near the cap, a restart, a new identity.

use std::sync::Arc;

use twin_core::command::StateBody;
use twin_core::ids::TwinId;
use twin_core::numbers::OutboxId;
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::refusal::{Refusal, RuleViolation};
use twin_core::value::Value;
use twin_faulty_disk::FaultyDisk;

use super::witness::Witness;
use crate::core::append::Drafts;
use crate::core::dead_letters::Outlook;
use crate::core::tests::harness::{Bench, NaiveNode};
use crate::outbox::body::{Body, encode_body};
use crate::outbox::format::Class;

/// The devices. The first is the source's.
pub(super) const TWINS: [&str; 4] = ["source", "a", "b", "c"];
/// What the node refuses for good.
const BAD: &str = "bad";
/// Near it reports are merged and rows rewritten.
pub(super) const CAP_BYTES: u64 = 6_000;

/// The power went.
#[derive(Debug)]
pub(super) struct Off;

/// A gateway, its node, and who watches.
pub(super) struct World {
    pub(super) bench: Bench,
    pub(super) node: NaiveNode,
    pub(super) witness: Witness,
    next: u64,
}

/// A node that refuses what is bad.
fn strict() -> NaiveNode {
    NaiveNode::refusing(|_, body| {
        let bad = |op: &Op| matches!(op, Op::Set { value: Value::String(text), .. } if text.starts_with(BAD));
        let is_bad = match body {
            Body::State(StateBody::Report(ops)) => ops.iter().any(bad),
            Body::Alarm(Some(alarm)) => alarm.name.starts_with(BAD),
            _ => false,
        };
        is_bad.then(|| {
            Refusal::Rule(RuleViolation { code: BAD.into(), pointer: "/v".into(), message: BAD.into(), limit: None })
        })
    })
}

/// Runs the script until it ends, or the power goes; what there is then.
pub(super) fn run(disk: &FaultyDisk, accounts: bool) -> (NaiveNode, Witness) {
    let Ok(bench) = Bench::on(Arc::new(disk.clone()), CAP_BYTES, true) else {
        return (strict(), Witness::default());
    };
    let mut world = World { bench, node: strict(), witness: Witness::default(), next: 1 };
    world.bench.accounts = accounts;
    world.witness.opened(&world.bench.core);
    // Where the power went there is nothing to be told but what was seen before.
    drop(world.play());
    (world.node, world.witness)
}

impl World {
    /// What a gateway finds that is opened again.
    pub(super) fn again(bench: Bench, node: NaiveNode, mut witness: Witness) -> Self {
        witness.opened(&bench.core);
        Self { bench, node, witness, next: 1_000_000 }
    }

    fn play(&mut self) -> Result<(), Off> {
        // A night without a link.
        for round in 0..3 {
            self.report_all(&TWINS[1..]);
            self.event("a");
            self.alarm("b", "door");
            self.row();
            self.commit(round == 1)?;
        }
        // Some is acked, some is under way, some answers are lost; removals wait, and ride along.
        for round in 0..4 {
            self.online();
            self.report(TWINS[1 + round % 3], "v");
            self.alarm(TWINS[1 + round % 3], "heat");
            self.bench.exchange(&mut self.node);
            self.commit(false)?;
            if round == 1 {
                self.lose_answer();
            }
        }
        self.commit(true)?;
        // Refused for good, with others behind it; a row that is not promised before it is durable.
        self.say("b", format!("{BAD} 1"));
        self.alarm("b", BAD);
        self.alarm("b", "door");
        self.report("b", "w");
        self.event("b");
        self.exchange_all();
        self.commit(false)?;
        self.exchange_all();
        self.row();
        self.commit(false)?;
        self.exchange_all();
        // The device goes and comes: its old stay is drained, its new one waits for that.
        self.report("c", "v");
        self.alarm("c", "door");
        self.bench.core.detach(&id("c"), self.bench.now);
        self.report("c", "v");
        self.exchange_all();
        self.commit(false)?;
        self.exchange_all();
        self.commit(true)?;
        // Another gateway took over, and the device comes back: what is dead is replayed, and some of it discarded.
        self.node.refuse = Some(Box::new(|twin, _| (twin == "c").then_some(Refusal::Superseded)));
        self.report("c", "v");
        self.report("c", "v");
        self.commit(false)?;
        self.exchange_all();
        self.commit(false)?;
        self.report("c", "w");
        self.exchange_all();
        self.node.refuse = strict().refuse;
        self.commit(false)?;
        self.replay_oldest();
        self.commit(false)?;
        self.exchange_all();
        self.replay_oldest();
        self.exchange_all();
        self.commit(false)?;
        self.exchange_all();
        self.discard_oldest();
        self.commit(true)?;
        // Near the cap: merged, refused, rewritten.
        self.bench.core.disconnected();
        for round in 0..30 {
            self.report(TWINS[1 + round % 3], &format!("a rather long name of a property {}", round % 2));
            if round % 6 == 5 {
                // It has a share of its own.
                self.alarm("c", "full");
                self.commit(round % 12 == 5)?;
            }
        }
        self.online();
        for _ in 0..3 {
            self.bench.exchange(&mut self.node);
            self.report("a", "v");
            self.commit(false)?;
        }
        self.bench.core.rewrite_for_test();
        self.commit(true)?;
        // Started again with a backlog.
        self.report_all(&TWINS[1..]);
        self.alarm("a", "door");
        self.row();
        self.commit(false)?;
        self.restart()?;
        self.report_all(&TWINS[1..]);
        self.commit(false)?;
        self.online();
        self.exchange_all();
        self.report("b", "v");
        self.commit(true)?;
        // The node knows a higher boot.
        self.bench.core.disconnected();
        self.report_all(&TWINS[1..]);
        self.event("c");
        self.commit(false)?;
        self.restart()?;
        self.report("a", "v");
        self.bench.core.renew_outbox(OutboxId([9; 16]), self.bench.now);
        self.commit(false)?;
        self.drain();
        self.commit(true)
    }

    fn restart(&mut self) -> Result<(), Off> {
        self.bench.restart().map_err(|_| Off)?;
        self.witness.opened(&self.bench.core);
        Ok(())
    }

    fn commit(&mut self, all: bool) -> Result<(), Off> {
        self.bench.try_commit(all).map_err(|_| Off)
    }

    fn online(&mut self) {
        self.bench.connect();
        self.bench.attach(&mut self.node);
    }

    fn exchange_all(&mut self) {
        self.online();
        while self.bench.exchange(&mut self.node) {}
    }

    /// The node takes it, and the link is gone before it says so.
    fn lose_answer(&mut self) {
        for class in [Class::State, Class::Alarm] {
            if let Some(batch) = self.bench.take_of(class) {
                self.node.take(&batch);
            }
        }
        self.bench.core.disconnected();
    }

    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn report(&mut self, twin: &str, key: &str) {
        let value = self.next();
        self.set(twin, key, Value::from(value.cast_signed()));
    }

    fn say(&mut self, twin: &str, text: String) {
        self.set(twin, "v", Value::from(text.as_str()));
    }

    fn set(&mut self, twin: &str, key: &str, value: Value) {
        // At the cap it is refused, and changes nothing.
        if let Ok(stamped) = self.bench.report(twin, key, value) {
            self.witness.took(&self.bench.core, vec![stamped], std::mem::take(&mut self.bench.promises));
        }
    }

    fn report_all(&mut self, twins: &[&str]) {
        let twins: Vec<String> = twins.iter().map(ToString::to_string).collect();
        let value = self.next();
        if let Ok(stamped) = self.bench.report_all(&twins, value.cast_signed()) {
            self.witness.took(&self.bench.core, stamped, std::mem::take(&mut self.bench.promises));
        }
    }

    fn event(&mut self, twin: &str) {
        let payload = Value::from(self.next().cast_signed());
        let drafts = Drafts::one(id(twin), &Body::Event("e".into(), payload), &self.bench.core.dictionary);
        if let Ok(stamped) = self.bench.append(drafts) {
            self.witness.took(&self.bench.core, stamped, std::mem::take(&mut self.bench.promises));
        }
    }

    /// Raises one whose name begins like this, and was not raised before.
    fn alarm(&mut self, twin: &str, kind: &str) {
        let name = format!("{kind} {}", self.next());
        if let Ok(stamped) = self.bench.alarm(twin, &name) {
            self.witness.took(&self.bench.core, vec![stamped], std::mem::take(&mut self.bench.promises));
        }
    }

    /// The next row of the source, by the file's own word on which that is.
    pub(super) fn row(&mut self) {
        let position = self.bench.core.positions.get("source").copied().unwrap_or(0) + 1;
        let ops =
            vec![Op::Set { path: Path::from_keys(["row"]), value: Value::from(format!("row {position}").as_str()) }];
        let mut drafts = Drafts::default();
        let body = Body::State(StateBody::Report(ops));
        let paths = encode_body(&body, &mut self.bench.core.dictionary.write(), &mut drafts.bodies);
        drafts.push(id(TWINS[0]), Class::State, paths, Some(("source".into(), position)));
        if let Ok(stamped) = self.bench.append(drafts) {
            let promises = std::mem::take(&mut self.bench.promises);
            self.witness.took_row(&self.bench.core, position, stamped, promises);
        }
    }

    /// Replays the oldest dead letter that can be.
    fn replay_oldest(&mut self) {
        let letters = self.bench.core.dead_letter_page(None, usize::MAX).letters;
        let Some(listed) = letters.into_iter().find(|listed| !matches!(listed.outlook, Outlook::None(_))) else {
            return;
        };
        if let Ok(appended) = self.bench.core.replay(listed.id, self.bench.now) {
            self.witness.replayed(&self.bench.core, &listed.letter, appended);
        }
    }

    fn discard_oldest(&mut self) {
        let letters = self.bench.core.dead_letter_page(None, 1).letters;
        if let Some(listed) = letters.first() {
            self.witness.discarded(&listed.letter);
            self.bench.core.discard(&[listed.id]);
        }
    }

    /// All devices are heard, and everything goes.
    pub(super) fn drain(&mut self) {
        for _ in 0..8 {
            for twin in TWINS {
                self.bench.core.attach(&id(twin), self.bench.now).expect("open");
            }
            if self.settle(4) {
                return;
            }
        }
        panic!("{} messages do not go", self.bench.core.messages());
    }

    /// As [`Bench::settle`], on a disk whose power may go: then nothing matters any more.
    fn settle(&mut self, rounds: u32) -> bool {
        for _ in 0..rounds {
            self.online();
            self.bench.core.tick(self.bench.now);
            self.exchange_all();
            if self.bench.try_commit(true).is_err() {
                return true;
            }
            self.bench.now += std::time::Duration::from_millis(500);
            if self.bench.core.messages() == 0 {
                return true;
            }
        }
        false
    }

    /// Goes on after a cut: everybody says something more, and all of it goes.
    pub(super) fn goes_on(&mut self) {
        self.drain();
        // All that can be replayed, also what was before the cut, if it was not.
        for _ in 0..self.bench.core.dead.len() {
            self.replay_oldest();
        }
        self.report_all(&TWINS[1..]);
        self.event("a");
        self.alarm("b", "door");
        self.row();
        self.drain();
    }
}

fn id(twin: &str) -> TwinId {
    TwinId::new(twin).expect("a name")
}
