//! Changes with an idempotency key: random histories against a naive model, and the rules one by one.

use std::time::Duration;

use proptest::prelude::*;
use twin_core::command::{Answer, ChangeKind, Command, Precondition, SectionChange};
use twin_core::ids::{IdempotencyKey, TwinId};
use twin_core::limits::{IDEMPOTENCY_KEPT_MIN, IDEMPOTENCY_KEYS_MAX};
use twin_core::numbers::{Floor, OwnerOrder, WallTime};
use twin_core::once::{Fingerprint, Once, OnceAnswer, OwnerTime};
use twin_core::path::Path;
use twin_core::refusal::Refusal;
use twin_core::rows::Rows;
use twin_core::twin::{Step, StepContext, Twin};
use twin_core::value::Value;

/// A twin that is stored after each step, its owners, and the time that passes for all of them.
struct Bench {
    twin: Twin,
    rows: Rows,
    floor: Floor,
    owner: OwnerTime,
    /// Since the beginning; an owner's clock counts from its own start.
    now: Duration,
}

impl Bench {
    fn new() -> Self {
        Self {
            twin: Twin::absent(TwinId::new("label").unwrap()),
            rows: Rows::default(),
            floor: Floor::default(),
            owner: OwnerTime { owner: order(1), ..OwnerTime::default() },
            now: Duration::ZERO,
        }
    }

    fn registered() -> Self {
        let mut bench = Self::new();
        bench.plain(put(0));
        bench
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.owner.now += time;
    }

    /// A restart: what is in memory is gone, and the new owner's clock begins at some moment of its own.
    fn restart(&mut self, clock_at: Duration) {
        self.twin = Twin::load(self.twin.id().clone(), self.rows.clone()).unwrap();
        let owner = order(self.owner.owner.term + 1);
        self.owner = OwnerTime { owner, begun: clock_at, now: clock_at };
    }

    fn context(&self) -> StepContext {
        StepContext { now: WallTime::new(7), floor: self.floor, observed: true }
    }

    fn stored(&mut self, before: &Twin, step: Step) -> Result<Answer, Refusal> {
        if step.changed.is_empty() {
            assert_eq!(self.twin, *before);
        }
        self.rows.apply(self.twin.encode(step.changed));
        assert_eq!(Twin::load(self.twin.id().clone(), self.rows.clone()).unwrap(), self.twin);
        self.floor = step.delete_floor.unwrap_or(self.floor);
        step.answer
    }

    fn plain(&mut self, command: Command) {
        let before = self.twin.clone();
        let step = self.twin.step(command, self.context());
        self.stored(&before, step).unwrap();
    }

    fn once(&mut self, key: &str, body: u64, change: Command) -> Result<OnceAnswer, Refusal> {
        let before = self.twin.clone();
        let once = Once { key: IdempotencyKey::new(key).unwrap(), fingerprint: Fingerprint(body, 9), change };
        let step = self.twin.step_once(once, self.owner, self.context());
        match self.stored(&before, step)? {
            Answer::Once(answer) => Ok(*answer),
            other => panic!("{other:?}"),
        }
    }

    fn n(&self) -> Option<i64> {
        let desired = self.twin.document().ok()?.desired;
        match desired.as_object()?.get("n")? {
            Value::Number(twin_core::value::Number::Integer(n)) => Some(*n),
            other => panic!("{other:?}"),
        }
    }
}

fn order(term: u64) -> OwnerOrder {
    OwnerOrder { site_epoch: 1, lineage: 1, term }
}

fn desired(n: i64) -> Value {
    let mut members = twin_core::value::Members::new();
    members.insert("n".into(), n.into());
    Value::Object(members)
}

fn put(n: i64) -> Command {
    Command::Put { site: None, tags: Value::empty_object(), desired: desired(n), precondition: Precondition::None }
}

fn patch(n: i64) -> Command {
    patch_if(n, Precondition::None)
}

fn patch_if(n: i64, precondition: Precondition) -> Command {
    let change = SectionChange { at: Path::root(), kind: ChangeKind::Merge(desired(n)) };
    Command::Steer { tags: None, desired: Some(change), precondition }
}

#[test]
fn a_repeat_is_answered_as_the_first_and_changes_nothing() {
    let mut bench = Bench::new();
    let first = bench.once("k", 1, put(1)).unwrap();
    assert!(first.outcome.created && !first.replayed);
    bench.plain(patch(2));
    bench.restart(Duration::ZERO);
    let again = bench.once("k", 1, put(1)).unwrap();
    assert!(again.replayed);
    assert_eq!(again.outcome, first.outcome);
    assert_eq!(first.outcome.steering_etag, first.document.unwrap().steering_etag);
    assert_eq!((again.document.unwrap().desired_version.get(), bench.n()), (2, Some(2)), "and the twin as it is now");
}

#[test]
fn the_same_key_with_another_body_is_refused_and_means_the_first_change_still() {
    let mut bench = Bench::registered();
    bench.once("k", 1, patch(1)).unwrap();
    let used_for = "the change that made version 2 of twin label".into();
    assert_eq!(bench.once("k", 2, patch(2)), Err(Refusal::KeyReused { key: "k".into(), used_for }));
    assert_eq!(bench.n(), Some(1));
    assert!(bench.once("k", 1, patch(1)).unwrap().replayed);
}

#[test]
fn a_repeat_does_not_fail_on_the_condition_that_the_first_time_ended() {
    let mut bench = Bench::registered();
    let etag = Precondition::AnyOf(vec!["1-1-1".into()]);
    bench.once("k", 1, patch_if(1, etag.clone())).unwrap();
    assert!(bench.once("k", 1, patch_if(1, etag.clone())).unwrap().replayed);
    let refused = bench.once("other", 1, patch_if(1, etag));
    assert!(matches!(refused, Err(Refusal::PreconditionFailed { .. })), "{refused:?}");
}

#[test]
fn what_was_refused_is_looked_at_anew() {
    let mut bench = Bench::new();
    assert!(matches!(bench.once("k", 1, patch(1)), Err(Refusal::NotFound { .. })));
    bench.plain(put(0));
    assert!(!bench.once("k", 1, patch(1)).unwrap().replayed);
}

#[test]
fn a_change_that_changed_nothing_is_remembered_too() {
    let mut bench = Bench::registered();
    bench.plain(patch(1));
    assert!(!bench.once("k", 1, patch(1)).unwrap().replayed);
    bench.plain(patch(2));
    assert!(bench.once("k", 1, patch(1)).unwrap().replayed);
    assert_eq!(bench.n(), Some(2), "what another wrote meanwhile stands");
}

fn used_up(what: &str, left: Duration) -> Refusal {
    Refusal::KeysUsedUp { keys: 8, of: format!("{what} of twin label"), retry_after_ms: left.as_millis() as u64 }
}

#[test]
fn only_changes_take_a_key() {
    let mut bench = Bench::registered();
    let delete = Command::Delete { precondition: Precondition::None };
    for command in [delete, Command::Read] {
        assert!(matches!(bench.once("k", 1, command), Err(Refusal::Invalid { .. })));
    }
}

/// The records go with the life; a condition binds a change to one.
#[test]
fn a_repeat_that_meets_a_later_life_is_a_change_of_that_life_unless_its_condition_forbids_it() {
    let mut bench = Bench::new();
    let create = || Command::Put {
        site: None,
        tags: Value::empty_object(),
        desired: desired(1),
        precondition: Precondition::Absent,
    };
    bench.once("bound", 1, create()).unwrap();
    bench.once("k", 2, patch(3)).unwrap();
    bench.plain(Command::Delete { precondition: Precondition::None });
    bench.plain(put(7));
    let refused = bench.once("bound", 1, create());
    assert!(matches!(refused, Err(Refusal::PreconditionFailed { .. })), "{refused:?}");
    assert!(!bench.once("k", 2, patch(3)).unwrap().replayed);
    assert_eq!(bench.n(), Some(3));
}

#[test]
fn past_the_bound_a_key_is_refused_until_the_oldest_was_kept_long_enough_even_if_the_grain_comes_and_goes() {
    let mut bench = Bench::registered();
    let minute = Duration::from_secs(60);
    for n in 0..8 {
        bench.once(&format!("k{n}"), 1, patch(n)).unwrap();
        bench.pass(minute / 2);
    }
    let age = minute / 2 * IDEMPOTENCY_KEYS_MAX as u32;
    let Err(Refusal::KeysUsedUp { keys: 8, retry_after_ms, .. }) = bench.once("late", 1, patch(99)) else { panic!() };
    assert_eq!(retry_after_ms, IDEMPOTENCY_KEPT_MIN.saturating_sub(age).as_millis() as u64);
    assert_eq!(bench.n(), Some(7));
    assert!(bench.once("k0", 1, patch(0)).unwrap().replayed, "the oldest is remembered still");
    bench.plain(patch(50));
    // What the refusal says is enough, also for a twin that was not in memory meanwhile.
    bench.twin = Twin::load(bench.twin.id().clone(), bench.rows.clone()).unwrap();
    bench.pass(Duration::from_millis(retry_after_ms));
    assert!(!bench.once("late", 1, patch(99)).unwrap().replayed);
    assert!(matches!(bench.once("later", 1, patch(98)), Err(Refusal::KeysUsedUp { .. })), "one went, not more");
    assert!(bench.once("k1", 1, patch(1)).unwrap().replayed);
}

#[test]
fn after_a_restart_every_key_counts_as_new_whatever_the_clocks_say() {
    let mut bench = Bench::registered();
    for n in 0..8 {
        bench.once(&format!("k{n}"), 1, patch(n)).unwrap();
    }
    bench.pass(IDEMPOTENCY_KEPT_MIN);
    // A process that has run for long becomes the owner.
    bench.restart(Duration::from_secs(86_400));
    let refused = bench.once("late", 1, patch(99));
    assert_eq!(refused, Err(used_up("changes", IDEMPOTENCY_KEPT_MIN)));
    bench.pass(IDEMPOTENCY_KEPT_MIN);
    assert!(!bench.once("late", 1, patch(99)).unwrap().replayed);
}

#[derive(Clone, Debug)]
enum Act {
    Once { key: u8, body: u8, put: bool, brief: bool },
    Plain(u8),
    Delete,
    Pass(u64),
    Reload,
    Restart(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        // Few keys that come again, mostly with their own body.
        12 => (0u8..14, prop_oneof![9 => Just(0u8), 1 => Just(1)], any::<bool>(), any::<bool>())
            .prop_map(|(key, body, put, brief)| Act::Once { key, body, put, brief }),
        2 => (0u8..9).prop_map(Act::Plain),
        1 => Just(Act::Delete),
        4 => (0u64..120).prop_map(Act::Pass),
        2 => Just(Act::Reload),
        1 => (0u64..100_000).prop_map(Act::Restart),
    ]
}

/// What a life remembers, naively: everything that ever had an effect in it, and when.
#[derive(Default)]
struct Model {
    /// Key, body, when by the time of the world, and the answer's outcome.
    effects: Vec<(u8, u8, Duration, twin_core::once::OnceOutcome)>,
    n: i64,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_change_takes_effect_once_while_its_key_is_young_and_keys_go_in_order_only_when_old(
        acts in prop::collection::vec(act(), 0..120),
    ) {
        let mut bench = Bench::new();
        let mut model: Option<Model> = None;
        // Since when the current owner rules, by the time of the world.
        let mut begun = Duration::ZERO;
        let mut values = 100;
        for act in acts {
            match act {
                Act::Plain(n) => {
                    bench.plain(put(n.into()));
                    model.get_or_insert_default().n = n.into();
                }
                Act::Delete => {
                    if model.take().is_some() {
                        bench.plain(Command::Delete { precondition: Precondition::None });
                    }
                }
                Act::Pass(seconds) => bench.pass(Duration::from_secs(seconds)),
                Act::Reload => bench.twin = Twin::load(bench.twin.id().clone(), bench.rows.clone()).unwrap(),
                Act::Restart(clock_at) => {
                    bench.restart(Duration::from_secs(clock_at));
                    begun = bench.now;
                }
                Act::Once { key, body, put: puts, brief } => {
                    // A new value each time: an effect that should not be is seen.
                    values += 1;
                    let change = match patch(values) {
                        _ if puts => put(values),
                        Command::Steer { tags, desired, precondition } if brief => {
                            Command::SteerBriefly { tags, desired, precondition }
                        }
                        patch => patch,
                    };
                    let answer = bench.once(&format!("key-{key}"), body.into(), change);
                    let Some(life) = &mut model else {
                        if puts {
                            let answer = answer.unwrap();
                            prop_assert!(!answer.replayed && answer.outcome.created);
                            let effects = vec![(key, body, bench.now, answer.outcome)];
                            model = Some(Model { effects, n: values });
                        } else {
                            prop_assert_eq!(answer.unwrap_err().code(), "twin-not-found");
                        }
                        continue;
                    };
                    // The last eight are remembered; where there is room for all, all are.
                    let from = life.effects.len().saturating_sub(IDEMPOTENCY_KEYS_MAX);
                    let remembered = &life.effects[from..];
                    let known_for = |at: Duration| bench.now.saturating_sub(at.max(begun));
                    if let Some((_, first_body, _, outcome)) = remembered.iter().find(|(known, ..)| *known == key) {
                        if *first_body == body {
                            let answer = answer.unwrap();
                            prop_assert!(answer.replayed);
                            prop_assert_eq!(&answer.outcome, outcome);
                            prop_assert_eq!(answer.document.is_none(), brief && !puts);
                        } else {
                            prop_assert!(matches!(answer, Err(Refusal::KeyReused { .. })), "{answer:?}");
                        }
                    } else if remembered.len() == IDEMPOTENCY_KEYS_MAX && known_for(remembered[0].2) < IDEMPOTENCY_KEPT_MIN {
                        let left = IDEMPOTENCY_KEPT_MIN.saturating_sub(known_for(remembered[0].2));
                        prop_assert_eq!(answer, Err(used_up("changes", left)));
                    } else {
                        let answer = answer.unwrap();
                        prop_assert!(!answer.replayed && !answer.outcome.created);
                        // The claim: whoever acts twice was old.
                        let young = |(known, _, at, _): &&(u8, u8, Duration, _)| *known == key && bench.now.saturating_sub(*at) < IDEMPOTENCY_KEPT_MIN;
                        prop_assert!(life.effects.iter().find(young).is_none());
                        life.effects.push((key, body, bench.now, answer.outcome));
                        life.n = values;
                    }
                }
            }
            prop_assert_eq!(bench.n(), model.as_ref().map(|life| life.n));
        }
    }
}

mod calls {
    use twin_core::command::{CallEnd, Sender};
    use twin_core::ids::{GatewayId, GatewayName, SiteId};
    use twin_core::limits::CALL_ANSWER_KEPT_BYTES_MAX;
    use twin_core::numbers::{AttachmentNo, Boot, CallNo, OutboxId, Stay};
    use twin_core::once::CallAnswer;

    use super::*;

    fn served() -> Bench {
        let mut bench = Bench::registered();
        let name = GatewayName::new("bs1").unwrap();
        let gateway = GatewayId { site: SiteId::default_site(), name };
        let stay = Stay { boot: Boot::new(1), counter: 1 };
        let sender = Sender { gateway, outbox: OutboxId([1; 16]), stay };
        bench.plain(Command::Attach { sender, saw: AttachmentNo::default(), may_create: false });
        bench
    }

    fn call(bench: &mut Bench, key: &str, body: u64) -> Result<Answer, Refusal> {
        let before = bench.twin.clone();
        let change = Command::CallMethod { method: "blink".into(), payload: Value::Null, timeout_ms: 1000 };
        let once = Once { key: IdempotencyKey::new(key).unwrap(), fingerprint: Fingerprint(body, 9), change };
        let step = bench.twin.step_once(once, bench.owner, bench.context());
        bench.stored(&before, step)
    }

    fn opened(answer: Result<Answer, Refusal>) -> CallNo {
        match answer.unwrap() {
            Answer::CallOpened { call, .. } => call,
            other => panic!("{other:?}"),
        }
    }

    fn end(bench: &mut Bench, call: CallNo, end: CallEnd) {
        bench.plain(Command::CloseCall { call, end });
    }

    #[test]
    fn a_call_is_opened_once_and_its_repeats_hear_what_is_known() {
        let mut bench = served();
        let number = opened(call(&mut bench, "k", 1));
        let unknown = Ok(Answer::CallKnown { call: number, answer: None });
        assert_eq!(call(&mut bench, "k", 1), unknown);
        bench.restart(Duration::ZERO);
        assert_eq!(call(&mut bench, "k", 1), unknown, "it is never opened again");
        let answered = CallEnd::Answered { status: 207, payload: "done".into() };
        end(&mut bench, number, answered);
        bench.restart(Duration::ZERO);
        let answer = Some(CallAnswer { status: 207, payload: "done".into(), is_cut: false });
        assert_eq!(call(&mut bench, "k", 1), Ok(Answer::CallKnown { call: number, answer }));
        let used_for = format!("method call {number} of twin label");
        assert_eq!(call(&mut bench, "k", 2), Err(Refusal::KeyReused { key: "k".into(), used_for: used_for.clone() }));
        assert_eq!(bench.once("k", 2, patch(2)), Err(Refusal::KeyReused { key: "k".into(), used_for }));
        assert_eq!(opened(call(&mut bench, "other", 1)).get(), number.get() + 1);
    }

    #[test]
    fn changes_leave_calls_their_keys_and_calls_leave_changes_theirs() {
        let mut bench = served();
        for n in 0..8 {
            bench.once(&format!("change-{n}"), 1, patch(n)).unwrap();
        }
        assert_eq!(bench.once("one-more", 1, patch(9)), Err(used_up("changes", IDEMPOTENCY_KEPT_MIN)));
        for n in 0..8 {
            let number = opened(call(&mut bench, &format!("call-{n}"), 1));
            end(&mut bench, number, CallEnd::Answered { status: 200, payload: Value::Null });
        }
        assert_eq!(call(&mut bench, "one-more", 1), Err(used_up("method calls", IDEMPOTENCY_KEPT_MIN)));
        bench.pass(IDEMPOTENCY_KEPT_MIN);
        // Of each kind its own oldest goes.
        opened(call(&mut bench, "one-more", 1));
        assert!(bench.once("change-0", 1, patch(0)).unwrap().replayed);
        bench.once("another", 1, patch(9)).unwrap();
        assert!(matches!(call(&mut bench, "call-1", 1), Ok(Answer::CallKnown { .. })));
        assert!(!bench.once("change-0", 1, patch(10)).unwrap().replayed);
    }

    #[test]
    fn a_call_that_reached_no_device_frees_its_key() {
        let mut bench = served();
        let first = opened(call(&mut bench, "k", 1));
        end(&mut bench, first, CallEnd::NotDone);
        assert_eq!(opened(call(&mut bench, "k", 1)).get(), first.get() + 1);
    }

    #[test]
    fn the_answer_of_a_call_that_a_loaded_grain_took_for_stale_is_kept_all_the_same() {
        let mut bench = served();
        let number = opened(call(&mut bench, "k", 1));
        end(&mut bench, number, CallEnd::Unknown);
        end(&mut bench, number, CallEnd::Answered { status: 200, payload: Value::Null });
        let Ok(Answer::CallKnown { answer: Some(answer), .. }) = call(&mut bench, "k", 1) else { panic!() };
        assert_eq!((answer.status, answer.is_cut), (200, false));
    }

    #[test]
    fn a_large_answer_is_cut_and_says_so() {
        let mut bench = served();
        let number = opened(call(&mut bench, "k", 1));
        let payload = Value::from("x".repeat(CALL_ANSWER_KEPT_BYTES_MAX).as_str());
        end(&mut bench, number, CallEnd::Answered { status: 200, payload });
        let Ok(Answer::CallKnown { answer: Some(answer), .. }) = call(&mut bench, "k", 1) else { panic!() };
        assert_eq!(answer, CallAnswer { status: 200, payload: Value::Null, is_cut: true });
    }
}
