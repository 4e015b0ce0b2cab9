//! Random commands on one twin id, against a model that is as naive as can be: plain JSON, counters, and a set of the
//! numbers that took effect.

mod act;
mod life;

use std::collections::BTreeMap;

use proptest::prelude::*;
use twin_core::alarm::{Alarm, Severity};
use twin_core::command::{Answer, ChangeKind, Command, Precondition, SectionChange, StateBody};
use twin_core::ids::TwinId;
use twin_core::limits::ALARMS_MAX;
use twin_core::merge::{apply_ops, merge_patch};
use twin_core::numbers::{AttachmentNo, Boot, Floor, Seq, Version, WallTime};
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::rows::Rows;
use twin_core::twin::{StepContext, Twin};
use twin_core::value::Value;

use act::{Act, Body, Saw, act};
use life::{Expected, Life, gateway, outcome, relative};

const CONTEXT: StepContext = StepContext { now: WallTime::new(0), floor: Floor::new(0), observed: false };

fn alarm(name: &str, at: i64) -> Alarm {
    Alarm { name: name.into(), severity: Severity::Major, raised_at: WallTime::new(at), payload: Value::Null }
}

/// The twin, its stored rows, and the model, side by side.
struct Bench {
    twin: Twin,
    rows: Rows,
    floor: u64,
    model: Option<Life>,
    /// The highest versions that anybody was ever shown.
    shown: [u64; 6],
    now: i64,
}

impl Bench {
    fn new() -> Self {
        let id = TwinId::new("label").unwrap();
        Self { twin: Twin::absent(id), rows: Rows::default(), floor: 0, model: None, shown: [0; 6], now: 0 }
    }

    fn command(&self, act: &Act) -> Option<Command> {
        let life = self.model.as_ref();
        let base = life.map_or(0, |life| life.base);
        Some(match act.clone() {
            Act::Put { tags, desired } => Command::Put { site: None, tags, desired, precondition: Precondition::None },
            Act::Patch { patch } => Command::Steer {
                tags: None,
                desired: Some(SectionChange { at: Path::root(), kind: ChangeKind::Merge(patch) }),
                precondition: Precondition::None,
            },
            Act::Delete => Command::Delete { precondition: Precondition::None },
            Act::Attach { who, saw, may_create } => {
                let saw = match saw {
                    Saw::Last => life.map_or(0, |life| life.attachment),
                    Saw::Raw(raw) => raw,
                };
                Command::Attach { sender: who.sender(), saw: AttachmentNo::new(saw), may_create }
            }
            Act::Detach { who } => Command::Detach { sender: who.sender() },
            Act::State { who, from, length, body } => {
                let first = relative(life.map_or(0, |life| life.next_number(who)), from);
                Command::State {
                    sender: who.sender(),
                    first: Seq::new(first),
                    last: Seq::new(first + length),
                    body: match body {
                        Body::Report(ops) => StateBody::Report(ops),
                        Body::Lost => StateBody::Lost,
                        Body::Applied(version) => StateBody::DesiredApplied(Version::new(base + version)),
                        Body::Bad => StateBody::Report(vec![Op::Set { path: Path::from_keys(["$"]), value: 1.into() }]),
                    },
                }
            }
            Act::Alarm { who, from, length, lost } => {
                let number = life.and_then(|life| life.stays.get(&who.gateway)).map_or(0, |(_, number)| *number);
                let seen = life.and_then(|life| life.alarm_marks.get(&number)).copied().unwrap_or(0);
                let first = relative(seen, from);
                Command::Alarm {
                    sender: who.sender(),
                    first: Seq::new(first),
                    last: Seq::new(first + length),
                    alarm: (!lost).then(|| Box::new(alarm("door", self.now))),
                }
            }
            Act::Event { who, boot, ahead } => {
                let seen =
                    life.and_then(|life| life.events.get(&(who.gateway, who.outbox, boot))).copied().unwrap_or(0);
                Command::Event {
                    sender: who.sender(),
                    boot: Boot::new(boot),
                    seq: Seq::new(relative(seen, ahead)),
                    name: "button".into(),
                    payload: Value::Null,
                }
            }
            Act::Delivered { gateway: index, version } => {
                Command::DesiredDelivered { gateway: gateway(index), version: Version::new(base + version) }
            }
            Act::Delta { since } => Command::ReadDelta { since: Version::new(base + since) },
            Act::Reload => return None,
        })
    }

    fn expect(&mut self, act: &Act, command: &Command) -> Expected {
        let not_found = Expected::Refused("twin-not-found");
        let Some(life) = &mut self.model else {
            return match (act, command) {
                (Act::Put { tags, desired }, _) => {
                    let mut life = Life::new(self.floor);
                    life.tags = tags.clone();
                    merge_patch(&mut life.desired, desired.clone());
                    life.history = BTreeMap::from([(life.versions[1], life.desired.clone())]);
                    self.model = Some(life);
                    Expected::Document
                }
                (Act::Attach { who, may_create: true, .. }, Command::Attach { saw, .. }) => {
                    let mut life = Life::new(self.floor);
                    let expected = life.attach(*who, saw.get());
                    self.model = Some(life);
                    expected
                }
                _ => not_found,
            };
        };
        match (act, command) {
            (Act::Put { tags, desired }, _) => {
                life.versions[0] += u64::from(life.tags != *tags);
                life.tags = tags.clone();
                let mut plain = Value::empty_object();
                merge_patch(&mut plain, desired.clone());
                life.set_desired(plain);
                Expected::Document
            }
            (Act::Patch { patch }, _) => {
                let mut next = life.desired.clone();
                merge_patch(&mut next, patch.clone());
                life.set_desired(next);
                Expected::Document
            }
            (Act::Delete, _) => {
                self.model = None;
                Expected::Done
            }
            (Act::Attach { who, .. }, Command::Attach { saw, .. }) => life.attach(*who, saw.get()),
            (Act::Detach { who }, _) => match life.stay(*who) {
                Err(expected) => expected,
                Ok(number) if number != life.attachment => Expected::Refused("superseded"),
                Ok(_) if life.attached => {
                    life.attached = false;
                    Expected::Done
                }
                Ok(_) => Expected::Duplicate,
            },
            (Act::State { who, body, .. }, Command::State { first, last, .. }) => {
                life.state(*who, first.get(), last.get(), body)
            }
            (Act::Alarm { who, lost, .. }, Command::Alarm { first, last, .. }) => {
                life.alarm(*who, first.get(), last.get(), *lost)
            }
            (Act::Event { who, boot, .. }, Command::Event { seq, .. }) => life.event(*who, *boot, seq.get()),
            (Act::Delivered { gateway, version }, _) => {
                let current = life.stays.iter().find(|(_, (_, number))| *number == life.attachment);
                if current.is_none_or(|(current, _)| current != gateway) {
                    return Expected::Refused("not-attached");
                }
                let version = (life.base + version).min(life.versions[1]);
                if version <= life.delivered {
                    return Expected::Duplicate;
                }
                life.delivered = version;
                Expected::Done
            }
            (Act::Delta { .. }, _) => Expected::Delta,
            _ => unreachable!("{act:?} is {command:?}"),
        }
    }

    fn play(&mut self, act: &Act) {
        let Some(command) = self.command(act) else {
            self.twin = Twin::load(self.twin.id().clone(), self.rows.clone()).unwrap();
            return;
        };
        self.now += 1;
        let before = self.twin.clone();
        let expected = self.expect(act, &command);
        let context =
            StepContext { now: WallTime::new(self.now), floor: Floor::new(self.floor), observed: self.now % 3 == 0 };
        let step = self.twin.step(command, context);
        assert_eq!(outcome(&step.answer), expected, "{act:?}");
        if step.answer.is_err() || step.changed.is_empty() {
            assert_eq!(self.twin, before, "nothing changed, it says");
            assert!(step.events.is_empty() && step.changed.is_empty() && step.delete_floor.is_none());
        }
        if let Some(floor) = step.delete_floor {
            assert!(floor.get() >= self.floor && self.shown[..5].iter().all(|shown| *shown <= floor.get()));
            self.floor = floor.get();
        }
        // The rows that it says changed are all that changed.
        self.rows.apply(self.twin.encode(step.changed));
        assert_eq!(Twin::load(self.twin.id().clone(), self.rows.clone()).unwrap(), self.twin);
        if let (Ok(Answer::Delta(delta)), Act::Delta { .. }, Some(life)) = (&step.answer, act, &self.model) {
            if let Some(known) = life.history.get(&delta.from.get()) {
                let mut at_gateway = known.clone();
                apply_ops(&mut at_gateway, delta.ops.clone());
                assert_eq!(at_gateway, life.desired);
            } else {
                assert!(delta.snapshot);
            }
        }
        self.compare();
    }

    fn compare(&mut self) {
        let Some(life) = &self.model else {
            assert!(!self.twin.exists() && self.rows == Rows::default());
            return;
        };
        crate::view::check(&self.twin);
        let document = self.twin.document().unwrap();
        // The latest of them, under numbers that never come again.
        let Ok(Answer::Alarms(alarms)) = self.twin.clone().step(Command::ReadAlarms, CONTEXT).answer else {
            panic!("a twin that exists tells its alarms")
        };
        let told: Vec<_> = alarms.iter().map(|taken| (taken.number.get(), taken.gateway.clone())).collect();
        let latest = &life.alarms[life.alarms.len().saturating_sub(ALARMS_MAX)..];
        assert_eq!(told, latest.iter().map(|(number, index)| (*number, gateway(*index))).collect::<Vec<_>>());
        let versions = [document.tags_version, document.desired_version, document.reported_version].map(Version::get);
        assert_eq!(versions, life.versions);
        assert_eq!(document.tags, life.tags);
        let plain = |value: &Value| {
            let mut members = value.as_object().unwrap().clone();
            members.retain(|key, _| !key.starts_with('$'));
            Value::Object(members)
        };
        assert_eq!(
            (plain(&document.desired), plain(&document.reported)),
            (life.desired.clone(), life.reported.clone())
        );
        assert_eq!(document.attachment.get(), life.attachment);
        let serving =
            life.stays.iter().find(|(_, (_, number))| *number == life.attachment).map(|(index, _)| gateway(*index));
        assert_eq!(document.gateway, serving.filter(|_| life.attached));
        let progress = self.twin.progress().unwrap();
        assert_eq!((progress.acked.get(), progress.delivered.get()), (life.acked, life.delivered));
        for (pointer, state) in progress.to_json().as_object().unwrap() {
            let path = Path::from_pointer(pointer).unwrap();
            let value = life::at(&life.desired, &path).unwrap();
            if value.as_object().is_some() {
                continue;
            }
            // The version of a leaf: since when it has had this value.
            let since = life.history.iter().rev().take_while(|(_, had)| life::at(had, &path) == Some(value));
            let version = *since.last().unwrap().0;
            let expected = if life::at(&life.reported, &path) == Some(value) || life.acked >= version {
                "applied"
            } else if life.delivered >= version {
                "delivered"
            } else {
                "pending"
            };
            let state = state.as_object().unwrap();
            assert_eq!(state["version"], Value::from(version.cast_signed()), "{pointer}");
            assert_eq!(state["state"], Value::from(expected), "{pointer}");
        }
        // Nothing ever goes back, not even across lives.
        let now = [
            versions[0],
            versions[1],
            versions[2],
            document.attachment.get(),
            life.last_alarm.max(life.base),
            document.version,
        ];
        for (now, shown) in now.iter().zip(&mut self.shown) {
            assert!(now >= shown, "{now} after {shown}");
            *shown = *now;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_twin_does_what_the_naive_model_does(history in prop::collection::vec(act(), 1..60)) {
        let mut bench = Bench::new();
        for act in &history {
            bench.play(act);
        }
    }
}
