//! Random histories of reports, commits, crashes, cuts and lost answers.

use std::collections::HashMap;

use proptest::prelude::*;
use twin_core::merge::apply_op;
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::value::Value;

use super::harness::{Bench, NaiveNode};

#[derive(Clone, Debug)]
enum Event {
    Report(usize),
    Commit,
    CommitBusy,
    Crash,
    Cut,
    Attach,
    Exchange,
    /// The node takes a batch, but its answer is lost with the link.
    ExchangeAndCut,
}

const TWINS: [&str; 3] = ["a", "b", "c"];

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..TWINS.len()).prop_map(Event::Report),
        1 => Just(Event::Commit),
        1 => Just(Event::CommitBusy),
        1 => Just(Event::Crash),
        1 => Just(Event::Cut),
        3 => Just(Event::Attach),
        4 => Just(Event::Exchange),
        1 => Just(Event::ExchangeAndCut),
    ]
}

fn run(events: Vec<Event>, cap_bytes: u64, coalesce: bool) -> Result<(), TestCaseError> {
    let mut bench = Bench::new(cap_bytes, coalesce);
    let mut node = NaiveNode::default();
    let mut value = 0;
    // Reports by twin, with their promises: those that are kept when the gateway crashes must have their effect.
    let mut queued = Vec::new();
    let mut promised = Vec::new();
    let mut last: HashMap<usize, i64> = HashMap::new();
    for event in events {
        match event {
            Event::Report(twin) => {
                value += 1;
                if let Ok(stamped) = bench.report(TWINS[twin], "v", value) {
                    queued.push(((twin, stamped.stay, stamped.number.get()), std::mem::take(&mut bench.promises)));
                    last.insert(twin, value);
                }
            }
            Event::Commit => bench.commit(),
            Event::CommitBusy => bench.commit_busy(),
            Event::Crash => {
                bench.crash();
                promised.extend(queued.drain(..).filter(|(_, promises)| promises.are_kept()).map(|(report, _)| report));
            }
            Event::Cut => bench.core.disconnected(),
            Event::Attach => {
                bench.connect();
                bench.attach(&mut node);
            }
            Event::Exchange => {
                bench.connect();
                bench.exchange(&mut node);
            }
            Event::ExchangeAndCut => {
                if let Some(batch) = bench.take() {
                    node.take(&batch);
                }
                bench.core.disconnected();
            }
        }
    }
    // The devices are heard once more, and everything goes.
    for _ in 0..2 {
        for (twin, name) in TWINS.iter().enumerate() {
            value += 1;
            loop {
                if let Ok(stamped) = bench.report(name, "v", value) {
                    queued.push(((twin, stamped.stay, stamped.number.get()), std::mem::take(&mut bench.promises)));
                    last.insert(twin, value);
                    break;
                }
                // No room. A device in conflict keeps its messages, and their room, until it is heard after the conflict: all
                // are, then everything goes.
                bench.settle(&mut node, 2);
                for name in TWINS {
                    bench.core.attach(&name.parse().unwrap(), bench.now).unwrap();
                }
                bench.drain(&mut node);
            }
        }
        bench.commit();
        bench.connect();
        bench.attach(&mut node);
    }
    bench.drain(&mut node);
    for (report, promises) in queued {
        prop_assert!(promises.are_kept(), "everything is acked or committed: {report:?}");
        promised.push(report);
    }

    prop_assert!(bench.core.dead.list().is_empty(), "{:?}", bench.core.dead.list());
    prop_assert!(node.effects.values().all(|effects| *effects == 1));
    for (twin, stay, number) in promised {
        let key = (TWINS[twin].parse().unwrap(), stay, number);
        prop_assert!(node.effects.contains_key(&key), "promised and lost: {key:?}");
    }
    for (twin, value) in last {
        let mut expected = Value::empty_object();
        apply_op(&mut expected, Op::Set { path: Path::from_keys(["v"]), value: Value::from(value) });
        prop_assert_eq!(node.document(TWINS[twin]), Some(&expected));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_is_promised_takes_effect_once_whatever_happens(events in prop::collection::vec(event(), 1..60)) {
        run(events, 1 << 20, true)?;
    }

    #[test]
    fn near_the_cap_nothing_promised_is_lost_either(events in prop::collection::vec(event(), 1..60)) {
        run(events, 900, true)?;
    }
}
