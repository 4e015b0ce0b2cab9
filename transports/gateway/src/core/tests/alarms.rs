//! Alarms: durable, once, and before all else.

use proptest::prelude::*;
use twin_core::numbers::Seq;
use twin_core::refusal::Refusal;

use super::harness::{Bench, NaiveNode};
use crate::core::admission::AppendError;
use crate::outbox::body::Body;
use crate::outbox::format::Class;

fn names(node: &NaiveNode) -> Vec<&str> {
    node.alarms.iter().map(|(_, name)| &**name).collect()
}

#[test]
fn a_full_outbox_refuses_reports_and_still_takes_alarms() {
    let mut bench = Bench::new(64 * 1024, false);
    while bench.report("a", "v", 1).is_ok() {}
    assert!(matches!(bench.report("a", "v", 1), Err(AppendError::Full { cap_bytes: 61_440, .. })));
    let mut taken = 0;
    while bench.alarm("a", &format!("door-{taken}")).is_ok() {
        taken += 1;
    }
    assert!(taken >= 20, "only {taken}");
    assert!(matches!(bench.alarm("a", "door"), Err(AppendError::Full { cap_bytes: 65_536, .. })));
    let mut node = NaiveNode::default();
    bench.drain(&mut node);
    assert_eq!(node.alarms.len(), taken);
}

#[test]
fn an_alarm_is_not_behind_a_backlog_of_state() {
    let mut bench = Bench::new(1 << 20, false);
    let mut node = NaiveNode::default();
    bench.report("a", "v", 0).unwrap();
    bench.drain(&mut node);
    bench.core.disconnected();
    for n in 0..1000 {
        bench.report("a", "v", n).unwrap();
        bench.report(&format!("twin-{}", n % 100), "v", n).unwrap();
    }
    bench.alarm("a", "door").unwrap();
    bench.connect();
    // The stay was attached before: the alarm goes before anything is attached in this session.
    assert!(bench.exchange_of(Class::Alarm, &mut node));
    assert_eq!(names(&node), ["door"]);
    assert!(bench.core.messages() >= 2000);
    assert_eq!(bench.core.status().backlog_alarms, 0);
}

#[test]
fn an_attach_that_an_alarm_waits_for_goes_first_and_says_so() {
    let mut bench = Bench::new(1 << 20, false);
    for n in 0..5 {
        bench.report(&format!("twin-{n}"), "v", n).unwrap();
    }
    bench.connect();
    bench.alarm("freezer", "door").unwrap();
    // This one is in the queue already when its alarm comes.
    bench.alarm("twin-3", "door").unwrap();
    let mut frames = || {
        let frame = bench.core.take_attach(bench.now)?;
        let mut twins: Vec<String> = frame.items.iter().map(|item| item.twin.to_string()).collect();
        twins.sort();
        Some((frame.urgent, twins))
    };
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(frames(), Some((true, names(&["freezer", "twin-3"]))));
    assert_eq!(frames(), Some((false, names(&["twin-0", "twin-1", "twin-2", "twin-4"]))));
    assert_eq!(frames(), None);
}

#[test]
fn after_a_restart_what_is_in_an_alarms_way_goes_first() {
    let mut bench = Bench::new(4 << 20, false);
    let mut node = NaiveNode::default();
    for n in 0..500 {
        for twin in 0..20 {
            bench.report(&format!("twin-{twin}"), "v", n).unwrap();
        }
        bench.report("a", "v", n).unwrap();
    }
    bench.commit();
    bench.crash();
    bench.connect();
    // All are queued, "a" behind the others; then an alarm comes in a stay of this boot.
    bench.attach(&mut node);
    bench.alarm("a", "door").unwrap();
    let mut batches = 0;
    while node.alarms.is_empty() {
        bench.core.tick(bench.now);
        bench.attach(&mut node);
        if !bench.exchange_of(Class::Alarm, &mut node) {
            assert!(bench.exchange(&mut node), "nothing goes and the alarm is not there");
            batches += 1;
        }
        bench.commit();
    }
    assert!(batches <= 3, "{batches} batches before the alarm, 41 hold everything");
    bench.drain(&mut node);
    assert_eq!(node.effects.len(), 500 * 21);
}

#[test]
fn an_alarm_of_a_stay_that_another_gateway_ended_still_goes_and_its_state_does_not() {
    let mut bench = Bench::new(1 << 20, false);
    let mut node = NaiveNode::default();
    bench.report("a", "v", 0).unwrap();
    bench.drain(&mut node);
    // The device roams: of state the node says superseded, alarms it takes.
    node.refuse = Some(Box::new(|_, body| matches!(body, Body::State(_)).then_some(Refusal::Superseded)));
    bench.report("a", "v", 1).unwrap();
    assert!(bench.exchange(&mut node));
    assert_eq!(bench.core.dead.len(), 1);
    // The stay is over for state; an alarm that it stamped before is not lost with it.
    let mut bench = Bench::new(1 << 20, false);
    let mut node = NaiveNode::default();
    bench.report("a", "v", 0).unwrap();
    bench.drain(&mut node);
    node.refuse = Some(Box::new(|_, body| matches!(body, Body::State(_)).then_some(Refusal::Superseded)));
    bench.report("a", "v", 1).unwrap();
    bench.alarm("a", "door").unwrap();
    assert!(bench.exchange_of(Class::State, &mut node));
    assert!(bench.exchange_of(Class::Alarm, &mut node));
    assert_eq!((names(&node), bench.core.dead.len()), (vec!["door"], 1));
    assert_eq!(bench.core.messages(), 0);
}

#[test]
fn an_alarm_of_a_stay_that_the_node_forgot_waits_for_the_attach() {
    let mut bench = Bench::new(1 << 20, false);
    let mut node = NaiveNode::default();
    bench.alarm("a", "first").unwrap();
    bench.connect();
    assert!(!bench.exchange_of(Class::Alarm, &mut node), "not attached yet");
    bench.drain(&mut node);
    // The twin was deleted, say.
    node = NaiveNode::default();
    bench.alarm("a", "second").unwrap();
    assert!(bench.exchange_of(Class::Alarm, &mut node));
    assert!(!bench.exchange_of(Class::Alarm, &mut node), "it does not go round in circles");
    bench.drain(&mut node);
    // The node has not seen the first, which is acked and gone: its number is declared lost.
    assert_eq!((names(&node), bench.core.counters.numbers_lost), (vec!["second"], 1));
}

#[test]
fn an_alarm_that_is_refused_for_good_is_a_dead_letter_and_holds_up_nothing() {
    let mut bench = Bench::new(1 << 20, false);
    let bad = |body: &Body| matches!(body, Body::Alarm(Some(alarm)) if alarm.name == "bad");
    let refusal = Refusal::Invalid { message: "no".into() };
    let mut node = NaiveNode::refusing(move |_, body| bad(body).then(|| refusal.clone()));
    for name in ["good", "bad", "last"] {
        bench.alarm("a", name).unwrap();
    }
    bench.report("a", "v", 1).unwrap();
    bench.drain(&mut node);
    assert_eq!(names(&node), ["good", "last"]);
    let letters = bench.core.dead.list();
    assert_eq!((letters.len(), letters[0].class, letters[0].first), (1, Class::Alarm, Seq::new(2)));
    assert!(letters[0].body.as_ref().is_some_and(bad));
}

#[test]
fn a_node_that_takes_no_alarms_gets_none_and_the_rest_goes() {
    let mut bench = Bench::new(1 << 20, false);
    let mut node = NaiveNode::default();
    bench.report("a", "v", 1).unwrap();
    bench.alarm("a", "door").unwrap();
    let session = crate::core::Session {
        number: 1,
        owner: twin_core::numbers::OwnerOrder::default(),
        alarms: false,
        credit: None,
    };
    assert!(bench.core.connected(session, bench.now));
    bench.attach(&mut node);
    while bench.exchange(&mut node) {}
    assert_eq!((bench.core.messages(), bench.core.status().backlog_alarms), (1, 1));
    bench.core.disconnected();
    bench.drain(&mut node);
    assert_eq!(names(&node), ["door"]);
}

#[derive(Clone, Debug)]
enum Event {
    Report(usize),
    Alarm(usize),
    Commit,
    Crash,
    Cut,
    Attach,
    Exchange,
    ExchangeAlarms,
    /// The node takes a batch of alarms, but its answer is lost with the link.
    ExchangeAlarmsAndCut,
}

const TWINS: [&str; 2] = ["a", "b"];

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0..TWINS.len()).prop_map(Event::Report),
        5 => (0..TWINS.len()).prop_map(Event::Alarm),
        2 => Just(Event::Commit),
        1 => Just(Event::Crash),
        1 => Just(Event::Cut),
        3 => Just(Event::Attach),
        2 => Just(Event::Exchange),
        4 => Just(Event::ExchangeAlarms),
        1 => Just(Event::ExchangeAlarmsAndCut),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_durable_alarm_is_taken_once_and_in_order(events in prop::collection::vec(event(), 1..60)) {
        let mut bench = Bench::new(1 << 20, true);
        let mut node = NaiveNode::default();
        let (mut queued, mut promised, mut next) = (Vec::new(), Vec::new(), 0);
        for event in events {
            match event {
                Event::Report(twin) => drop(bench.report(TWINS[twin], "v", 1).unwrap()),
                Event::Alarm(twin) => {
                    next += 1;
                    bench.alarm(TWINS[twin], &format!("{next:04}")).unwrap();
                    queued.push(((TWINS[twin], next), std::mem::take(&mut bench.promises)));
                }
                Event::Commit => bench.commit(),
                Event::Crash => {
                    promised.extend(queued.drain(..).filter(|(_, promises)| promises.are_kept()).map(|(alarm, _)| alarm));
                    bench.crash();
                }
                Event::Cut => bench.core.disconnected(),
                Event::Attach => {
                    bench.connect();
                    bench.core.tick(bench.now);
                    bench.attach(&mut node);
                }
                Event::Exchange => drop(bench.exchange(&mut node)),
                Event::ExchangeAlarms => drop(bench.exchange_of(Class::Alarm, &mut node)),
                Event::ExchangeAlarmsAndCut => {
                    if let Some(batch) = bench.take_of(Class::Alarm) {
                        node.take(&batch);
                        bench.core.disconnected();
                    }
                }
            }
        }
        promised.extend(queued.into_iter().map(|(alarm, _)| alarm));
        // An attach whose answer a crash forgot is a conflict until the device is heard once more.
        for _ in 0..2 {
            bench.settle(&mut node, 2);
            for twin in TWINS {
                bench.core.attach(&twin.parse().unwrap(), bench.now).unwrap();
            }
        }
        bench.drain(&mut node);
        for twin in TWINS {
            let taken: Vec<&String> = node.alarms.iter().filter(|(of, _)| of == twin).map(|(_, name)| name).collect();
            prop_assert!(taken.is_sorted() && taken.windows(2).all(|pair| pair[0] != pair[1]), "{taken:?}");
            for (_, number) in promised.iter().filter(|(of, _)| *of == twin) {
                prop_assert!(taken.contains(&&format!("{number:04}")), "{number} of {twin} is lost: {taken:?}");
            }
        }
        prop_assert_eq!(bench.core.dead.len(), 0);
    }
}
