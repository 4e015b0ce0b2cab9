//! Near the cap and at it; and bodies that memory has no room for.

use super::harness::{Bench, NaiveNode};
use crate::core::admission::AppendError;

#[test]
fn near_the_cap_a_devices_unsent_reports_become_one_message() {
    let mut bench = Bench::new(2_000, true);
    for n in 0..1000 {
        bench.report("a", "v", n).unwrap();
        bench.commit();
    }
    assert!(bench.core.used_bytes() < 2_000);
    assert!(bench.core.counters.coalesced > 900);
    let mut node = NaiveNode::default();
    bench.drain(&mut node);
    assert_eq!(node.effects.len(), 1000, "the ranges cover every number");
    assert_eq!(twin_core::json::to_compact(node.document("a").unwrap()), r#"{"v":999}"#);
}

#[test]
fn at_the_cap_the_caller_is_told_and_an_ack_makes_room() {
    let mut bench = Bench::new(2_000, false);
    let mut taken = 0;
    let error = loop {
        match bench.report("a", "v", taken) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AppendError::Full { cap_bytes: 1_875, .. }), "{error}");
    assert!(bench.core.used_bytes() <= 1_875 && taken > 5);
    assert_eq!(bench.core.counters.coalesced, 0, "told not to");
    let mut node = NaiveNode::default();
    bench.drain(&mut node);
    bench.report("a", "v", -1).unwrap();
    assert_eq!(bench.core.messages(), 1);
}

#[test]
fn a_message_larger_than_the_cap_is_refused_for_that_reason() {
    let mut bench = Bench::new(200, true);
    let text = "x".repeat(150);
    assert!(bench.report("a", "k", text.as_str()).is_err_and(|error| matches!(error, AppendError::TooLarge { .. })));
    assert!(bench.report("a", "k", 1).is_ok());
}

#[test]
fn a_backlog_larger_than_the_window_in_memory_is_read_from_disk_in_order() {
    let mut bench = Bench::new(64 << 20, false);
    let text = "x".repeat(1000);
    let reports = i64::try_from(crate::limits::WINDOW_BYTES_MAX / 1000 + 500).unwrap();
    for n in 0..reports {
        bench.report("a", "v", format!("{n}-{text}").as_str()).unwrap();
        if n % 500 == 0 {
            bench.commit();
        }
    }
    bench.commit();
    let mut node = NaiveNode::default();
    bench.drain(&mut node);
    assert_eq!(i64::try_from(node.effects.len()).unwrap(), reports);
    assert!(bench.read >= 300, "{} came from the disk", bench.read);
    assert_eq!(
        node.document("a").unwrap().as_object().unwrap()["v"].as_str().unwrap(),
        format!("{}-{text}", reports - 1)
    );
}

#[test]
fn a_session_of_an_owner_lower_than_one_seen_before_is_refused() {
    use twin_core::numbers::OwnerOrder;

    use crate::core::Session;

    let mut bench = Bench::new(1 << 20, true);
    let session =
        |term| Session { number: 1, owner: OwnerOrder { term, ..OwnerOrder::default() }, alarms: true, credit: None };
    assert!(bench.core.connected(session(2), bench.now));
    bench.core.disconnected();
    assert!(!bench.core.connected(session(1), bench.now));
    assert!(bench.core.connected(session(2), bench.now));
}
