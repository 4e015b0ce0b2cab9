//! When a promise is kept by the node's ack, when it takes a commit, and what a crash finds in either case.

use std::time::Duration;

use twin_core::refusal::Refusal;

use super::harness::{Bench, NaiveNode};
use crate::outbox::format::Class;

/// Attached, and the file knows it.
fn attached(bench: &mut Bench, node: &mut NaiveNode, twin: &str) {
    bench.core.attach(&twin.parse().unwrap(), bench.now).unwrap();
    bench.connect();
    bench.attach(node);
    bench.commit();
}

/// Reports and takes the promise.
fn report(bench: &mut Bench, twin: &str, value: i64) -> crate::core::append::Promises {
    bench.report(twin, "v", value).unwrap();
    std::mem::take(&mut bench.promises)
}

#[test]
fn what_is_acked_before_it_is_written_is_promised_and_never_written() {
    let mut bench = Bench::new(1 << 20, true);
    let mut node = NaiveNode::default();
    attached(&mut bench, &mut node, "a");
    let before = bench.core.writes.durable();
    for value in 0..10 {
        let promise = report(&mut bench, "a", value);
        assert!(!promise.are_kept());
        assert!(bench.exchange(&mut node));
        assert!(promise.are_kept());
    }
    assert!(bench.core.writes.due().is_none(), "nothing is left to wait for");
    // The path's row is all that is left.
    assert_eq!((bench.core.writes.durable(), bench.rows()), (before, (0, 0)));
    bench.crash();
    assert_eq!(bench.core.messages(), 0);
    assert_eq!(node.effects.len(), 10);
}

#[test]
fn what_is_not_acked_is_promised_by_its_commit_and_is_there_after_a_crash() {
    let mut bench = Bench::new(1 << 20, true);
    let mut node = NaiveNode::default();
    attached(&mut bench, &mut node, "a");
    let first = report(&mut bench, "a", 1);
    bench.take().unwrap();
    bench.commit_busy();
    assert!(first.are_kept(), "on its way, and durable");
    let second = report(&mut bench, "a", 2);
    bench.take().unwrap();
    assert!(!second.are_kept(), "on its way, and in memory only");
    bench.crash();
    assert_eq!(bench.core.messages(), 1);
    bench.drain(&mut node);
    assert_eq!(node.effects.len(), 1);
}

#[test]
fn a_dead_letter_keeps_no_promise_before_it_is_durable() {
    let mut bench = Bench::new(1 << 20, true);
    let mut node = NaiveNode::default();
    attached(&mut bench, &mut node, "a");
    node.refuse = Some(Box::new(|_, _| Some(Refusal::Superseded)));
    let promise = report(&mut bench, "a", 1);
    assert!(bench.exchange(&mut node));
    assert_eq!((bench.core.messages(), bench.core.dead.len()), (0, 1));
    assert!(!promise.are_kept());
    bench.commit_busy();
    assert!(promise.are_kept());
    bench.crash();
    assert_eq!((bench.core.messages(), bench.core.dead.len()), (0, 1));
}

#[test]
fn what_is_merged_into_another_message_is_promised_with_that_one() {
    let mut bench = Bench::new(2_000, true);
    let mut node = NaiveNode::default();
    attached(&mut bench, &mut node, "a");
    // All unsent, until the last takes some of them in.
    let mut promises = Vec::new();
    while bench.core.counters.coalesced == 0 {
        promises.push(report(&mut bench, "a", 7));
    }
    assert!(promises.iter().all(|promise| !promise.are_kept()));
    while bench.exchange(&mut node) {}
    assert!(promises.iter().all(|promise| !promise.are_kept()), "the merged one is not sent before it is durable");
    bench.commit_busy();
    assert!(promises.iter().all(crate::core::append::Promises::are_kept));
    bench.crash();
    bench.drain(&mut node);
    assert_eq!(node.effects.len(), promises.len());
}

#[test]
fn nothing_is_spared_before_the_file_knows_under_which_attachment_it_was_acked() {
    let mut bench = Bench::new(1 << 20, true);
    let mut node = NaiveNode::default();
    bench.connect();
    let promise = report(&mut bench, "a", 1);
    bench.attach(&mut node);
    assert!(bench.exchange(&mut node));
    assert!(!promise.are_kept(), "else a crash now would leave neither the message nor the attachment's number");
    bench.commit_busy();
    assert!(promise.are_kept());
    bench.crash();
    assert_eq!(bench.core.twin(&"a".parse().unwrap()).unwrap().stays.saw().get(), 1);
    // From here on acks are enough.
    attached(&mut bench, &mut node, "a");
    let promise = report(&mut bench, "a", 2);
    assert!(bench.exchange(&mut node) && promise.are_kept());
}

#[test]
fn a_row_is_given_time_only_where_acks_come_soon() {
    let mut bench = Bench::new(1 << 20, true);
    let mut node = NaiveNode::default();
    attached(&mut bench, &mut node, "a");
    report(&mut bench, "a", 1);
    assert!(bench.core.writes.is_urgent(), "how long acks take is not known yet");
    assert!(bench.exchange(&mut node));
    bench.commit_busy();
    report(&mut bench, "a", 2);
    assert!(!bench.core.writes.is_urgent() && bench.core.writes.due().is_some_and(|due| due > bench.now));
    bench.core.disconnected();
    assert!(bench.core.writes.is_urgent(), "no ack will come");
    bench.commit_busy();
    report(&mut bench, "a", 3);
    assert!(bench.core.writes.is_urgent(), "there is no session");
}

#[test]
fn a_row_that_cannot_be_sent_is_given_no_time() {
    let mut bench = Bench::new(1 << 20, true);
    let mut node = NaiveNode::default();
    attached(&mut bench, &mut node, "a");
    report(&mut bench, "a", 1);
    assert!(bench.exchange(&mut node));
    bench.commit_busy();
    report(&mut bench, "unattached", 1);
    assert!(bench.core.writes.is_urgent());
}

#[test]
fn where_no_ack_ever_came_soon_there_is_no_patience() {
    for (first_ms, patient) in [(2, true), (200, false)] {
        let mut bench = Bench::new(1 << 20, true);
        let mut node = NaiveNode::default();
        attached(&mut bench, &mut node, "a");
        // Later ones take long in either case: the node has much to do.
        for ms in [first_ms, 200, 200, 200] {
            report(&mut bench, "a", 1);
            let batch = bench.take().unwrap();
            let refused = node.take(&batch);
            bench.now += Duration::from_millis(ms);
            bench.core.batch_acked(Class::State, batch.batch, refused, bench.now);
            bench.commit_busy();
        }
        report(&mut bench, "a", 2);
        assert_eq!(!bench.core.writes.is_urgent(), patient);
    }
}
