//! A gateway without sockets and a node without storage, moved by hand.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use redb::{ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _};
use twin_core::alarm::{Alarm, Severity};
use twin_core::command::StateBody;
use twin_core::ids::TwinId;
use twin_core::merge::apply_ops;
use twin_core::numbers::{AttachmentNo, Boot, OwnerOrder, Seq, Stay, WallTime};
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::refusal::Refusal;
use twin_core::value::Value;
use twin_transports::entropy::SystemEntropy;

use crate::core::admission::AppendError;
use crate::core::append::{Appended, Drafts, Promises, Stamped};
use crate::core::sending::{Outgoing, Outgoings};
use crate::core::{CLASSES, Core, Rules, Session};
use crate::limits::PATIENCE_MAX_DEFAULT;
use crate::outbox::body::{Body, decode_body, encode_body};
use crate::outbox::disk::{DirectoryDisk, OutboxDisk};
use crate::outbox::file::{self, Filed, OutboxError};
use crate::outbox::format::{CHUNKS, Class, NOTES};
use crate::outbox::writer;

pub(super) struct Bench {
    pub(super) core: Core,
    pub(super) now: Duration,
    /// Bodies that were read from the disk to be sent.
    pub(super) read: usize,
    /// Of the last call.
    pub(super) promises: Promises,
    /// Does each commit keep account of the file's pages, as where the file is large?
    pub(super) accounts: bool,
    disk: Arc<dyn OutboxDisk>,
    /// Its folder, if it is a real one.
    _dir: Option<tempfile::TempDir>,
    rules: Rules,
}

/// A batch that was taken.
pub(super) struct Taken {
    pub(super) class: Class,
    pub(super) batch: u64,
    pub(super) messages: Vec<Outgoing>,
    pub(super) bodies: Vec<Body>,
}

impl Bench {
    pub(super) fn new(cap_bytes: u64, coalesce: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bench = Self::on(Arc::new(DirectoryDisk::new(dir.path())), cap_bytes, coalesce).unwrap();
        Self { _dir: Some(dir), ..bench }
    }

    /// On this disk.
    pub(super) fn on(disk: Arc<dyn OutboxDisk>, cap_bytes: u64, coalesce: bool) -> Result<Self, OutboxError> {
        Self::with_budget(disk, cap_bytes, coalesce, None)
    }

    /// With so many bytes to be written a day.
    pub(super) fn with_budget(
        disk: Arc<dyn OutboxDisk>,
        cap_bytes: u64,
        coalesce: bool,
        flash_bytes_per_day: Option<u64>,
    ) -> Result<Self, OutboxError> {
        let patience_max = PATIENCE_MAX_DEFAULT;
        let rules = Rules { cap_bytes, coalesce, send_before_durable: true, patience_max, flash_bytes_per_day };
        let core = Core::new(file::open(&*disk, &SystemEntropy::new())?, rules.clone(), 1);
        let now = Duration::from_secs(1);
        Ok(Self { core, now, read: 0, promises: Promises::default(), accounts: false, disk, _dir: None, rules })
    }

    /// Kill -9, and a new start: what was queued and not committed is gone.
    pub(super) fn crash(&mut self) {
        self.restart().unwrap();
    }

    pub(super) fn restart(&mut self) -> Result<(), OutboxError> {
        self.core.db = None;
        self.core = Core::new(file::open(&*self.disk, &SystemEntropy::new())?, self.rules.clone(), 1);
        Ok(())
    }

    pub(super) fn commit(&mut self) {
        self.try_commit(true).unwrap();
    }

    /// Commits as the writer does that has more to do: what can wait waits.
    pub(super) fn commit_busy(&mut self) {
        self.try_commit(false).unwrap();
    }

    pub(super) fn try_commit(&mut self, all: bool) -> Result<(), redb::Error> {
        writer::commit(&mut self.core, all, self.accounts, self.now)
    }

    /// Rows of messages and notes in the file.
    pub(super) fn rows(&self) -> (usize, usize) {
        let txn = self.core.db.as_ref().unwrap().begin_read().unwrap();
        let chunks = txn.open_table(CHUNKS).unwrap().len().unwrap();
        let notes = txn.open_table(NOTES).unwrap().len().unwrap();
        (usize::try_from(chunks).unwrap(), usize::try_from(notes).unwrap())
    }

    /// Bytes of all rows of messages in the file.
    pub(super) fn file_bytes(&self) -> u64 {
        let txn = self.core.db.as_ref().unwrap().begin_read().unwrap();
        let rows = txn.open_table(CHUNKS).unwrap();
        rows.iter().unwrap().map(|row| row.unwrap().1.value().len() as u64).sum()
    }

    pub(super) fn report(&mut self, twin: &str, key: &str, value: impl Into<Value>) -> Result<Stamped, AppendError> {
        let ops = vec![Op::Set { path: Path::from_keys([key]), value: value.into() }];
        let body = Body::State(StateBody::Report(ops));
        let drafts = Drafts::one(TwinId::new(twin).unwrap(), &body, &self.core.dictionary);
        self.append(drafts).map(|stamped| stamped[0])
    }

    pub(super) fn alarm(&mut self, twin: &str, name: &str) -> Result<Stamped, AppendError> {
        let alarm = Alarm {
            name: name.into(),
            severity: Severity::Major,
            raised_at: WallTime::new(1),
            payload: Value::from("door open"),
        };
        let body = Body::Alarm(Some(Box::new(alarm)));
        let drafts = Drafts::one(TwinId::new(twin).unwrap(), &body, &self.core.dictionary);
        self.append(drafts).map(|stamped| stamped[0])
    }

    /// One report of each, in one call.
    pub(super) fn report_all(&mut self, twins: &[String], value: i64) -> Result<Vec<Stamped>, AppendError> {
        let mut drafts = Drafts::default();
        for twin in twins {
            let ops = vec![Op::Set { path: Path::from_keys(["v"]), value: Value::from(value) }];
            let body = Body::State(StateBody::Report(ops));
            let paths = encode_body(&body, &mut self.core.dictionary.write(), &mut drafts.bodies);
            drafts.push(TwinId::new(twin).unwrap(), Class::State, paths, None);
        }
        self.append(drafts)
    }

    pub(super) fn append(&mut self, drafts: Drafts) -> Result<Vec<Stamped>, AppendError> {
        let Appended { stamped, promises } = self.core.append(drafts, self.now).map_err(|(error, _)| error)?;
        self.promises = promises;
        Ok(stamped)
    }

    /// Tells of the promises that acks kept, as the gateway does after each step.
    fn tell(&mut self) {
        self.core.chunks.take_kept().iter().for_each(|promise| promise.finish(Ok(())));
    }

    pub(super) fn connect(&mut self) {
        if self.core.session.is_none() {
            self.core
                .connected(Session { number: 1, owner: OwnerOrder::default(), alarms: true, credit: None }, self.now);
        }
    }

    /// Attaches what wants to be attached.
    pub(super) fn attach(&mut self, node: &mut NaiveNode) {
        while let Some(frame) = self.core.take_attach(self.now) {
            let results = frame.items.iter().map(|item| node.attach(&item.twin, item.stay, item.saw)).collect();
            self.core.attach_results(frame.request, results, self.now);
        }
    }

    /// The next batch, with its bodies as they are on the wire, read.
    pub(super) fn take(&mut self) -> Option<Taken> {
        self.take_of(Class::State)
    }

    /// The same of any class.
    pub(super) fn take_of(&mut self, class: Class) -> Option<Taken> {
        let Outgoings { batch, mut messages } = self.core.take_batch(class, self.now)?;
        let filed: Vec<Filed> = messages.iter().filter(|m| m.body.is_none()).map(|m| m.filed).collect();
        let db = self.core.db.clone().unwrap();
        self.read += filed.len();
        let mut read = file::read_bodies(&db, &filed).unwrap().into_iter();
        for message in messages.iter_mut().filter(|m| m.body.is_none()) {
            message.body = read.next().flatten();
            assert!(message.body.is_some(), "a body is in memory or on disk");
        }
        let dictionary = self.core.dictionary.read();
        let bodies =
            messages.iter().map(|message| decode_body(class, message.body.as_ref().unwrap(), &dictionary).unwrap());
        let bodies = bodies.collect();
        Some(Taken { class, batch, messages, bodies })
    }

    /// Sends a batch of each class and brings back the answers; says whether there was any.
    pub(super) fn exchange(&mut self, node: &mut NaiveNode) -> bool {
        let mut any = false;
        for class in CLASSES {
            any |= self.exchange_of(class, node);
        }
        any
    }

    /// The same of any class.
    pub(super) fn exchange_of(&mut self, class: Class, node: &mut NaiveNode) -> bool {
        let Some(batch) = self.take_of(class) else { return false };
        let refused = node.take(&batch);
        self.core.batch_acked(class, batch.batch, refused, self.now);
        self.tell();
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
    alarms_seen: u64,
    /// The highest boot that events came from, and how many.
    events: (Boot, u64),
    document: Value,
}

type Refuse = Box<dyn Fn(&str, &Body) -> Option<Refusal>>;

#[derive(Default)]
pub(super) struct NaiveNode {
    twins: HashMap<TwinId, NaiveTwin>,
    /// What it refuses, and changes nothing by.
    pub(super) refuse: Option<Refuse>,
    /// What was sent under a first number: the same for ever.
    sent: BTreeMap<(TwinId, Stay, Seq, bool), (Seq, Body)>,
    /// How often each value that was set took effect.
    pub(super) values: BTreeMap<(TwinId, String), u32>,
    /// How often each number took effect.
    pub(super) effects: BTreeMap<(TwinId, Stay, u64), u32>,
    /// Alarms taken, by twin and name, in the order of coming.
    pub(super) alarms: Vec<(String, String)>,
    /// How often each number of an alarm took effect, be it only as one that is lost.
    pub(super) alarm_effects: BTreeMap<(TwinId, Stay, u64), u32>,
}

impl NaiveNode {
    /// That refuses what this says, and changes nothing by it.
    pub(super) fn refusing(refuse: impl Fn(&str, &Body) -> Option<Refusal> + 'static) -> Self {
        Self { refuse: Some(Box::new(refuse)), ..Self::default() }
    }

    fn attach(&mut self, twin: &TwinId, stay: Stay, saw: AttachmentNo) -> Result<AttachmentNo, Refusal> {
        let twin = self.twins.entry(twin.clone()).or_default();
        let last = AttachmentNo::new(twin.attachment);
        if twin.attachment > 0 && twin.stay == stay {
            return Ok(last);
        }
        if stay < twin.stay {
            return Err(Refusal::Superseded);
        }
        // The first attachment of a life takes the device from nobody.
        if saw != last && twin.attachment > 0 {
            return Err(Refusal::Conflict { last });
        }
        twin.attachment += 1;
        twin.stay = stay;
        twin.seen = 0;
        twin.alarms_seen = 0;
        Ok(last.next())
    }

    pub(super) fn take(&mut self, batch: &Taken) -> Vec<(u32, Refusal)> {
        let mut refused = Vec::new();
        for (place, (message, body)) in batch.messages.iter().zip(&batch.bodies).enumerate() {
            let body = body.clone();
            if let Some(refusal) = self.refuse.as_ref().and_then(|refuse| refuse(message.twin.as_str(), &body)) {
                refused.push((place as u32, refusal));
                continue;
            }
            let is_alarm = matches!(body, Body::Alarm(_));
            let key = (message.twin.clone(), message.stay, message.first, is_alarm);
            let before = self.sent.entry(key).or_insert_with(|| (message.last, body.clone()));
            assert_eq!(*before, (message.last, body.clone()), "a number is sent with other content");
            let twin = self.twins.entry(message.twin.clone()).or_default();
            let (first, last) = (message.first.get(), message.last.get());
            if batch.class == Class::Event {
                let boot = message.stay.boot;
                let seen = if twin.events.0 == boot { twin.events.1 } else { 0 };
                if boot < twin.events.0 {
                    refused.push((place as u32, Refusal::Superseded));
                } else if first > seen + 1 {
                    refused.push((place as u32, Refusal::Gap { next: Seq::new(seen + 1) }));
                } else if last > seen {
                    twin.events = (boot, last);
                    *self.effects.entry((message.twin.clone(), message.stay, last)).or_default() += 1;
                }
                continue;
            }
            let seen = if is_alarm { &mut twin.alarms_seen } else { &mut twin.seen };
            let refusal = if twin.stay != message.stay {
                Some(if message.stay < twin.stay { Refusal::Superseded } else { Refusal::NotAttached })
            } else if first > *seen + 1 {
                Some(Refusal::Gap { next: Seq::new(*seen + 1) })
            } else {
                None
            };
            if let Some(refusal) = refusal {
                refused.push((place as u32, refusal));
                continue;
            }
            if last <= *seen {
                continue;
            }
            let from = std::mem::replace(seen, last) + 1;
            if let Body::Alarm(alarm) = body {
                for number in from..=last {
                    *self.alarm_effects.entry((message.twin.clone(), message.stay, number)).or_default() += 1;
                }
                self.alarms.extend(alarm.map(|alarm| (message.twin.to_string(), alarm.name)));
                continue;
            }
            for number in from..=last {
                *self.effects.entry((message.twin.clone(), message.stay, number)).or_default() += 1;
            }
            if let Body::State(StateBody::Report(ops)) = body {
                for op in &ops {
                    if let Op::Set { value, .. } = op {
                        let value = twin_core::json::to_compact(value);
                        *self.values.entry((message.twin.clone(), value)).or_default() += 1;
                    }
                }
                apply_ops(&mut twin.document, ops);
            }
        }
        refused
    }

    /// Another gateway attaches the device.
    pub(super) fn attached_elsewhere(&mut self, twin: &str) {
        let twin = self.twins.entry(TwinId::new(twin).unwrap()).or_default();
        twin.attachment += 1;
        twin.stay = Stay::default();
    }

    pub(super) fn document(&self, twin: &str) -> Option<&Value> {
        self.twins.get(&TwinId::new(twin).unwrap()).map(|twin| &twin.document)
    }
}
