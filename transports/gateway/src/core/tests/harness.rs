//! A gateway without sockets and a node without storage, moved by hand.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use twin_core::command::StateBody;
use twin_core::ids::TwinId;
use twin_core::merge::apply_ops;
use twin_core::numbers::{AttachmentNo, OwnerOrder, Seq, Stay};
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::refusal::Refusal;
use twin_core::value::Value;
use twin_transports::entropy::SystemEntropy;

use crate::core::append::{AppendError, Draft, Stamped};
use crate::core::sending::Outgoings;
use crate::core::{Core, Rules, Session};
use crate::outbox::file;
use crate::outbox::format::{Body, Class};
use crate::outbox::writer::commit_now;

pub(super) struct Bench {
    pub(super) core: Core,
    pub(super) now: Duration,
    dir: tempfile::TempDir,
    rules: Rules,
}

impl Bench {
    pub(super) fn new(cap_bytes: u64, coalesce: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let rules = Rules { cap_bytes, coalesce, send_before_durable: true };
        let core = Core::new(file::open(dir.path(), &SystemEntropy::new()).unwrap(), rules.clone(), 1);
        Self { core, now: Duration::from_secs(1), dir, rules }
    }

    /// Kill -9, and a new start: what was queued and not committed is gone.
    pub(super) fn crash(&mut self) {
        self.core.db = None;
        let opened = file::open(self.dir.path(), &SystemEntropy::new()).unwrap();
        self.core = Core::new(opened, self.rules.clone(), 1);
    }

    pub(super) fn commit(&mut self) {
        commit_now(&mut self.core, self.now);
    }

    pub(super) fn report(&mut self, twin: &str, key: &str, value: i64) -> Result<Stamped, AppendError> {
        let ops = vec![Op::Set { path: Path::from_keys([key]), value: Value::from(value) }];
        let draft = Draft::new(TwinId::new(twin).unwrap(), Body::State(StateBody::Report(ops)), None);
        self.core.append(vec![draft], self.now).map(|stamped| stamped[0]).map_err(|(error, _)| error)
    }

    pub(super) fn connect(&mut self) {
        if self.core.session.is_none() {
            self.core.connected(Session { number: 1, owner: OwnerOrder::default() }, self.now);
        }
    }

    /// Attaches what wants to be attached.
    pub(super) fn attach(&mut self, node: &mut NaiveNode) {
        while let Some(frame) = self.core.take_attach(self.now) {
            let results = frame.items.iter().map(|item| node.attach(&item.twin, item.stay, item.saw)).collect();
            self.core.attach_results(frame.request, results, self.now);
        }
    }

    pub(super) fn take(&mut self) -> Option<Outgoings> {
        let mut batch = self.core.take_batch(Class::State, self.now)?;
        let keys: Vec<u64> = batch.messages.iter().filter(|m| m.body.is_none()).map(|m| m.key).collect();
        let db = self.core.db.clone().unwrap();
        let mut read = file::read_bodies(&db, &keys).unwrap().into_iter();
        for message in batch.messages.iter_mut().filter(|m| m.body.is_none()) {
            message.body = read.next().flatten().map(Into::into);
            assert!(message.body.is_some(), "a body is in memory or on disk");
        }
        Some(batch)
    }

    /// Sends a batch and brings back its answer.
    pub(super) fn exchange(&mut self, node: &mut NaiveNode) -> bool {
        let Some(batch) = self.take() else { return false };
        let refused = node.take(&batch);
        self.core.batch_acked(Class::State, batch.batch, refused, self.now);
        true
    }

    /// Until there is nothing left in the outbox.
    pub(super) fn drain(&mut self, node: &mut NaiveNode) {
        assert!(self.settle(node, 50), "{} messages do not go", self.core.messages());
    }

    /// Lets everything go that can within some rounds of half a second; says whether nothing is left.
    pub(super) fn settle(&mut self, node: &mut NaiveNode, rounds: u32) -> bool {
        for _ in 0..rounds {
            self.connect();
            self.core.tick(self.now);
            self.attach(node);
            while self.exchange(node) {}
            self.commit();
            self.now += Duration::from_millis(500);
            if self.core.messages() == 0 {
                return true;
            }
        }
        false
    }
}

/// A twin by the rules of numbers, and nothing else.
#[derive(Default)]
struct NaiveTwin {
    attachment: u64,
    stay: Stay,
    seen: u64,
    document: Value,
}

#[derive(Default)]
pub(super) struct NaiveNode {
    twins: HashMap<TwinId, NaiveTwin>,
    /// What was sent under a first number: the same for ever.
    sent: BTreeMap<(TwinId, Stay, Seq), (Seq, Body)>,
    /// How often each number took effect.
    pub(super) effects: BTreeMap<(TwinId, Stay, u64), u32>,
}

impl NaiveNode {
    fn attach(&mut self, twin: &TwinId, stay: Stay, saw: AttachmentNo) -> Result<AttachmentNo, Refusal> {
        let twin = self.twins.entry(twin.clone()).or_default();
        let last = AttachmentNo::new(twin.attachment);
        if twin.attachment > 0 && twin.stay == stay {
            return Ok(last);
        }
        if stay < twin.stay {
            return Err(Refusal::Superseded);
        }
        if saw != last {
            return Err(Refusal::Conflict { last });
        }
        twin.attachment += 1;
        twin.stay = stay;
        twin.seen = 0;
        Ok(last.next())
    }

    pub(super) fn take(&mut self, batch: &Outgoings) -> Vec<(u32, Refusal)> {
        let mut refused = Vec::new();
        for (place, message) in batch.messages.iter().enumerate() {
            let body = message.body.as_deref().unwrap().clone();
            let key = (message.twin.clone(), message.stay, message.first);
            let before = self.sent.entry(key).or_insert_with(|| (message.last, body.clone()));
            assert_eq!(*before, (message.last, body.clone()), "a number is sent with other content");
            let twin = self.twins.entry(message.twin.clone()).or_default();
            let (first, last) = (message.first.get(), message.last.get());
            let refusal = if twin.stay != message.stay {
                Some(if message.stay < twin.stay { Refusal::Superseded } else { Refusal::NotAttached })
            } else if first > twin.seen + 1 {
                Some(Refusal::Gap { next: Seq::new(twin.seen + 1) })
            } else {
                None
            };
            if let Some(refusal) = refusal {
                refused.push((place as u32, refusal));
                continue;
            }
            if last <= twin.seen {
                continue;
            }
            for number in twin.seen + 1..=last {
                *self.effects.entry((message.twin.clone(), message.stay, number)).or_default() += 1;
            }
            twin.seen = last;
            if let Body::State(StateBody::Report(ops)) = body {
                apply_ops(&mut twin.document, ops);
            }
        }
        refused
    }

    pub(super) fn document(&self, twin: &str) -> Option<&Value> {
        self.twins.get(&TwinId::new(twin).unwrap()).map(|twin| &twin.document)
    }
}
