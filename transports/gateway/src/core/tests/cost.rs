//! What a report costs the gateway, counted rather than timed: allocations from the document to the frame and its ack, without
//! the commit. For instructions, run `valgrind --tool=callgrind` on the release build of this test.

use std::hint::black_box;

use twin_core::ids::TwinId;
use twin_core::value::{Members, Value};
use twin_transports::frames::session::StreamClass;
use twin_transports::intern::{Splicer, Stamp};

use super::harness::{Bench, NaiveNode};
use crate::core::append::Drafts;
use crate::draft::Report;
use crate::outbox::format::Class;

/// Calls, and messages in each. In the first calls paths get their numbers and tables grow; what counts is the everyday.
const CALLS: usize = 24;
const CALLS_BEFORE: usize = 8;
const TOGETHER: usize = 256;
/// Most allocations of one update, beside those of the document, which the application makes. Measured 0.10.
const ALLOCATIONS_MAX: f64 = 0.2;

fn patch(n: usize) -> Value {
    let mut members = Members::new();
    for (place, key) in ["battery", "humidity", "pressure", "price", "temperature"].into_iter().enumerate() {
        members.insert(key.into(), Value::from(n as f64 / (place + 3) as f64));
    }
    for key in ["page", "seq", "signal"] {
        members.insert(key.into(), Value::from((n % 5000).cast_signed() as i64));
    }
    members.insert("awake".into(), Value::from(n.is_multiple_of(2)));
    members.insert("firmware".into(), Value::from("4.12.7-r3"));
    members.insert("model".into(), Value::from("shelf-label-2.9-bwr"));
    members.insert("note".into(), Value::from("x".repeat(60).as_str()));
    Value::Object(members)
}

#[test]
fn a_report_in_a_batch_costs_hardly_an_allocation() {
    let mut bench = Bench::new(64 << 20, true);
    let mut node = NaiveNode::default();
    let twins: Vec<TwinId> = (0..1000).map(|n| TwinId::new(&format!("label-0-{n}")).unwrap()).collect();
    for twin in &twins {
        bench.core.attach(twin, bench.now).unwrap();
    }
    bench.connect();
    bench.attach(&mut node);
    let mut splicer = Splicer::new(StreamClass::State);
    let mut wire = Vec::new();
    let mut allocations = 0;
    for n in 0..CALLS {
        let reports: Vec<Report> =
            (0..TOGETHER).map(|m| Report::new(twins[(n * TOGETHER + m) % 1000].clone(), patch(n))).collect();
        let mut stamped = Vec::new();
        let cost = allocation_counter::measure(|| {
            let mut drafts = Drafts::with_capacity(TOGETHER);
            for report in reports {
                report.draft(&bench.core.dictionary, &mut drafts).unwrap();
            }
            stamped = bench.core.append(drafts, bench.now).unwrap().stamped;
            send(&mut bench, &mut splicer, &mut wire);
        });
        if n >= CALLS_BEFORE {
            allocations += cost.count_total;
        }
        if n % 4 == 3 {
            bench.commit_busy();
        }
        assert!(stamped.iter().all(|s| bench.core.twin_mut(s.twin).fate(s.class, s.stay, s.number) == Some(Ok(()))));
    }
    let allocations = allocations as f64 / ((CALLS - CALLS_BEFORE) * TOGETHER) as f64;
    println!("{allocations:.2} allocations an update");
    assert!(allocations <= ALLOCATIONS_MAX, "{allocations:.2} allocations an update");
}

#[inline(never)]
fn send(bench: &mut Bench, splicer: &mut Splicer, wire: &mut Vec<u8>) {
    while let Some(batch) = bench.core.take_batch(Class::State, bench.now) {
        let dictionary = bench.core.dictionary.read();
        for message in &batch.messages {
            let stamp = Stamp {
                slot: message.slot,
                twin: &message.twin,
                stay: message.stay,
                first: message.first,
                last: message.last,
            };
            let paths = &dictionary.paths()[..message.paths as usize];
            splicer.push(&stamp, message.body.as_ref().unwrap(), paths).unwrap();
        }
        drop(dictionary);
        wire.clear();
        splicer.take(None).unwrap().write(wire);
        black_box(&wire);
        bench.core.batch_acked(Class::State, batch.batch, Vec::new(), bench.now);
    }
}
