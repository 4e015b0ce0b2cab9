//! Rows that several messages share: what a crash finds of one that is done in part, and what it costs to keep.

use twin_core::command::StateBody;
use twin_core::numbers::Seq;
use twin_core::refusal::{Refusal, RuleViolation};

use super::harness::{Bench, NaiveNode};
use crate::core::lane_of;
use crate::limits::{CHUNK_MESSAGES_MAX, LINGER_CHUNKS};
use crate::outbox::body::Body;
use crate::outbox::file;
use crate::outbox::format::Class;

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("d{n}")).collect()
}

fn rule() -> Refusal {
    Refusal::Rule(RuleViolation { code: "test".into(), pointer: "/reported".into(), message: "no".into(), limit: None })
}

/// Sends what there is.
fn exchange(bench: &mut Bench, node: &mut NaiveNode) {
    bench.connect();
    bench.attach(node);
    while bench.exchange(node) {}
}

/// A node that has no time for one device.
fn busy(twin: &'static str) -> NaiveNode {
    NaiveNode::refusing(move |other, _| (other == twin).then(too_busy))
}

fn too_busy() -> Refusal {
    Refusal::Busy { what: "test".into(), retry_after_ms: 5_000 }
}

/// It has time now, and everything goes.
fn drain(bench: &mut Bench, node: &mut NaiveNode) {
    node.refuse = None;
    bench.drain(node);
    assert_eq!((bench.rows(), bench.core.used_bytes(), bench.core.chunks.garbage_bytes()), ((0, 0), 0, 0));
    assert!(node.effects.values().all(|effects| *effects == 1));
}

#[test]
fn messages_appended_together_share_a_row_which_goes_when_all_are_done() {
    let mut bench = Bench::new(16 << 20, true);
    let mut node = busy("d7");
    bench.report_all(&names(300), 1).unwrap();
    bench.commit();
    assert_eq!(bench.rows(), (300_usize.div_ceil(CHUNK_MESSAGES_MAX), 0));
    exchange(&mut bench, &mut node);
    bench.commit();
    assert_eq!((bench.core.messages(), bench.rows()), (1, (1, 1)), "one waits; what is done beside it is noted");
    drain(&mut bench, &mut node);
}

#[test]
fn a_crash_after_a_row_is_done_in_part_sends_only_what_the_numbers_make_harmless() {
    for commit in [false, true] {
        let mut bench = Bench::new(16 << 20, true);
        let mut node = busy("d7");
        bench.report_all(&names(100), 1).unwrap();
        bench.commit();
        exchange(&mut bench, &mut node);
        if commit {
            bench.commit();
        }
        bench.crash();
        assert_eq!(bench.core.messages(), if commit { 1 } else { 100 });
        drain(&mut bench, &mut node);
        assert_eq!(node.effects.len(), 100);
        assert!(bench.core.dead.list().is_empty());
    }
}

#[test]
fn what_was_done_of_a_row_that_lingers_is_noted_with_the_next_commit_and_of_a_young_one_in_idle_time() {
    let mut bench = Bench::new(16 << 20, true);
    let mut node = busy("d7");
    bench.report_all(&names(10), 1).unwrap();
    bench.commit_busy();
    exchange(&mut bench, &mut node);
    bench.commit_busy();
    assert_eq!(bench.rows(), (1, 0), "young: nothing is noted while there is other work");
    for n in 0..=i64::try_from(LINGER_CHUNKS).unwrap() {
        bench.report("other", "v", n).unwrap();
        bench.commit_busy();
    }
    assert_eq!(bench.rows().1, 1);
    bench.crash();
    bench.connect();
    assert_eq!(bench.core.messages(), 1 + LINGER_CHUNKS + 1);
}

#[test]
fn a_dead_letter_in_the_middle_of_a_row_is_one_also_after_a_crash() {
    let mut bench = Bench::new(16 << 20, true);
    // d3's is refused for good, d7's stay is; d5 waits, and keeps the row.
    let refuse = |twin: &str, body: &Body| match (twin, body) {
        ("d3", Body::State(StateBody::Report(_))) => Some(rule()),
        ("d7", _) => Some(Refusal::Superseded),
        ("d5", _) => Some(too_busy()),
        _ => None,
    };
    let mut node = NaiveNode::refusing(refuse);
    bench.report_all(&names(10), 1).unwrap();
    bench.commit();
    exchange(&mut bench, &mut node);
    assert_eq!(bench.core.dead.len(), 2);
    bench.commit_busy();
    assert_eq!(bench.rows(), (1, 1), "a dead letter is noted at once");
    bench.crash();
    assert_eq!(bench.core.dead.len(), 2, "known after the crash");
    let index = bench.core.by_id["d3"] as usize;
    let pending = bench.core.twins[index].lanes[lane_of(Class::State)].front().unwrap().clone();
    assert_eq!(bench.core.body_of(Class::State, &pending), Some(Body::State(StateBody::Lost)));
    let index = bench.core.by_id["d7"] as usize;
    assert!(bench.core.twins[index].lanes[lane_of(Class::State)].is_empty());
    drain(&mut bench, &mut node);
    assert_eq!(bench.core.dead.len(), 2, "and no more of them");
}

#[test]
fn what_was_coalesced_away_stays_away_after_a_crash() {
    let mut bench = Bench::new(3_000, true);
    let mut node = NaiveNode::default();
    // All in one row, most of them coalesced within it; another device keeps the row.
    bench.report("b", "v", 1).unwrap();
    let mut last = 0;
    while bench.core.counters.coalesced < 3 {
        last += 1;
        bench.report("a", "v", last).unwrap();
    }
    bench.commit_busy();
    assert_eq!(bench.rows().1, 0);
    let before = bench.core.messages();
    bench.crash();
    assert_eq!(bench.core.messages(), before);
    drain(&mut bench, &mut node);
    assert_eq!(i64::try_from(node.effects.len()).unwrap(), last + 1);
    assert_eq!(twin_core::json::to_compact(node.document("a").unwrap()), format!(r#"{{"v":{last}}}"#));
}

#[test]
fn rows_that_are_mostly_done_are_rewritten_so_that_one_waiting_device_does_not_fill_the_outbox() {
    let cap_bytes = 256 * 1024;
    let mut bench = Bench::new(cap_bytes, false);
    let mut node = busy("d7");
    // In each row one message waits. Without rewriting, 30 rows of 10 KB would be the cap.
    for round in 0..400 {
        bench.report_all(&names(100), round).unwrap();
        bench.commit_busy();
        exchange(&mut bench, &mut node);
        assert!(bench.file_bytes() <= cap_bytes, "{} bytes in round {round}", bench.file_bytes());
    }
    assert_eq!(bench.core.messages(), 400);
    bench.crash();
    drain(&mut bench, &mut node);
    assert_eq!(node.effects.len(), 40_000);
    assert_eq!(twin_core::json::to_compact(node.document("d7").unwrap()), r#"{"v":399}"#);
}

#[test]
fn a_body_is_found_on_disk_also_after_its_row_was_rewritten() {
    let mut bench = Bench::new(1 << 20, false);
    let mut node = busy("d77");
    bench.report_all(&names(100), 5).unwrap();
    bench.commit();
    exchange(&mut bench, &mut node);
    let index = bench.core.by_id["d77"] as usize;
    let before = bench.core.twins[index].lanes[0].front().unwrap().clone();
    let filed = (bench.core.chunks.key(before.chunk).unwrap(), before.key);
    bench.core.rewrite_for_test();
    bench.commit();
    let after = bench.core.twins[index].lanes[0].front().unwrap().clone();
    assert!(after.at < before.at);
    let read = file::read_bodies(&bench.core.db.clone().unwrap(), &[filed]).unwrap();
    assert_eq!(read[0].as_deref(), bench.core.chunks.slice(after.chunk, after.at, after.body_bytes).as_deref());
    assert_eq!(after.first, Seq::new(1));
}

#[test]
fn what_the_devices_row_says_is_done_is_not_sent_again() {
    let mut bench = Bench::new(1 << 20, false);
    let mut node = busy("d1");
    bench.report_all(&names(2), 1).unwrap();
    bench.commit_busy();
    bench.crash();
    // d0's message of the older boot goes; d1 waits, and keeps the row of both.
    bench.report("d0", "v", 2).unwrap();
    exchange(&mut bench, &mut node);
    assert_eq!(bench.core.counters.acked, 1, "the newer stay waits until it is durable that the older one is done");
    bench.commit_busy();
    exchange(&mut bench, &mut node);
    assert_eq!(bench.core.counters.acked, 2);
    // A crash that forgets what could wait: the first row still has d0's first message.
    bench.crash();
    assert_eq!(
        bench.core.twins[bench.core.by_id["d0"] as usize].lanes[0].iter().map(|p| p.stay.boot.get()).max(),
        Some(2)
    );
    drain(&mut bench, &mut node);
    assert!(bench.core.dead.list().is_empty(), "{:?}", bench.core.dead.list());
}
