//! Stories of one twin, told command by command.

mod alarms;
mod gateways;
mod lives;
mod recovered;
mod reporting;
mod steering;

use twin_core::command::{Answer, ChangeKind, Command, Precondition, SectionChange, Sender, StateBody};
use twin_core::document::TwinDocument;
use twin_core::ids::{GatewayId, GatewayName, SiteId, TwinId};
use twin_core::json::parse;
use twin_core::numbers::{AttachmentNo, Boot, Floor, OutboxId, Seq, Stay, WallTime};
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::refusal::Refusal;
use twin_core::rows::Rows;
use twin_core::twin::{Step, StepContext, Twin};
use twin_core::value::Value;

pub(crate) fn json(text: &str) -> Value {
    parse(text.as_bytes(), "test").unwrap()
}

pub(crate) fn path(pointer: &str) -> Path {
    Path::from_pointer(pointer).unwrap()
}

pub(crate) fn set(pointer: &str, value: impl Into<Value>) -> Op {
    Op::Set { path: path(pointer), value: value.into() }
}

pub(crate) fn gateway(name: &str) -> GatewayId {
    GatewayId { site: SiteId::new("store-1").unwrap(), name: GatewayName::new(name).unwrap() }
}

pub(crate) fn sender(name: &str, boot: u64, counter: u32) -> Sender {
    Sender { gateway: gateway(name), outbox: OutboxId([1; 16]), stay: Stay { boot: Boot::new(boot), counter } }
}

/// A twin whose rows are stored after each step, and compared to what a load of them gives.
pub(crate) struct Stored {
    pub(crate) twin: Twin,
    pub(crate) rows: Rows,
    pub(crate) floor: Floor,
    pub(crate) now: i64,
}

impl Stored {
    pub(crate) fn new() -> Self {
        Self {
            twin: Twin::absent(TwinId::new("label-7").unwrap()),
            rows: Rows::default(),
            floor: Floor::new(0),
            now: 1_700_000_000_000,
        }
    }

    pub(crate) fn registered() -> Self {
        let mut stored = Self::new();
        stored.put("{}", "{}").answer.unwrap();
        stored
    }

    pub(crate) fn step(&mut self, command: Command) -> Step {
        self.now += 1000;
        let before = self.twin.clone();
        let step =
            self.twin.step(command, StepContext { now: WallTime::new(self.now), floor: self.floor, observed: true });
        if step.changed.is_empty() {
            assert_eq!(self.twin, before);
        }
        self.rows.apply(self.twin.encode(step.changed));
        self.floor = step.delete_floor.unwrap_or(self.floor);
        assert_eq!(Twin::load(before.id().clone(), self.rows.clone()).unwrap(), self.twin);
        step
    }

    pub(crate) fn put(&mut self, tags: &str, desired: &str) -> Step {
        self.step(Command::Put {
            site: Some(SiteId::new("store-1").unwrap()),
            tags: json(tags),
            desired: json(desired),
            precondition: Precondition::None,
        })
    }

    pub(crate) fn patch(&mut self, pointer: &str, kind: ChangeKind) -> Step {
        let desired = Some(SectionChange { at: path(pointer), kind });
        self.step(Command::Steer { tags: None, desired, precondition: Precondition::None })
    }

    pub(crate) fn attach(&mut self, sender: &Sender, saw: u64) -> Result<u64, Refusal> {
        let command = Command::Attach { sender: sender.clone(), saw: AttachmentNo::new(saw), may_create: false };
        match self.step(command).answer {
            Ok(Answer::Attached { attachment, .. }) => Ok(attachment.get()),
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => Err(refusal),
        }
    }

    pub(crate) fn state(&mut self, sender: &Sender, first: u64, last: u64, body: StateBody) -> Step {
        self.step(Command::State { sender: sender.clone(), first: Seq::new(first), last: Seq::new(last), body })
    }

    pub(crate) fn report(&mut self, sender: &Sender, seq: u64, ops: Vec<Op>) -> Result<Answer, Refusal> {
        self.state(sender, seq, seq, StateBody::Report(ops)).answer
    }

    pub(crate) fn event(&mut self, sender: &Sender, boot: u64, seq: u64) -> Result<Answer, Refusal> {
        let command = Command::Event {
            sender: sender.clone(),
            boot: Boot::new(boot),
            seq: Seq::new(seq),
            name: "button".into(),
            payload: json("{}"),
        };
        self.step(command).answer
    }

    pub(crate) fn document(&self) -> TwinDocument {
        self.twin.document().unwrap()
    }

    pub(crate) fn convergence(&self, pointer: &str) -> String {
        let convergence = self.document().convergence;
        let property =
            convergence.as_object().unwrap().get(pointer).unwrap_or_else(|| panic!("no {pointer} in {convergence:?}"));
        property.as_object().unwrap()["state"].as_str().unwrap().to_owned()
    }
}
