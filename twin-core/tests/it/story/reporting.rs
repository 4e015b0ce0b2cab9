//! Reports and their numbers.

use std::sync::Arc;

use bytes::Bytes;
use twin_core::command::{Answer, Command, StateBody};
use twin_core::event::OutboundKind;
use twin_core::numbers::{Seq, Version};
use twin_core::path::Path;
use twin_core::refusal::Refusal;
use twin_core::report::PackedReport;
use twin_core::rows::RowKind;

use super::{Stored, gateway, json, path, sender, set};

#[test]
fn a_registered_device_attaches_reports_and_is_read() {
    let mut twin = Stored::new();
    let step = twin.put(r#"{"aisle": 4}"#, r#"{"price": 9.5}"#);
    assert!(matches!(step.answer, Ok(Answer::Document { created: true, .. })));
    assert_eq!(step.events.iter().map(|e| &e.kind).collect::<Vec<_>>(), [&OutboundKind::Created]);
    let document = twin.document();
    assert_eq!(document.steering_etag, "1-1-1");
    assert_eq!(
        (document.version, document.desired_version, document.reported_version),
        (1, Version::new(1), Version::new(1))
    );

    let bs1 = sender("bs1", 1, 1);
    assert_eq!(twin.attach(&bs1, 0), Ok(1));
    let step = twin.state(&bs1, 1, 1, StateBody::Report(vec![set("/battery", 97), set("/screen/on", true)]));
    assert_eq!(step.answer, Ok(Answer::Done));
    assert!(
        matches!(&step.events[0].kind, OutboundKind::Reported { version, ops } if version.get() == 2 && ops.paths().count() == 2)
    );
    assert_eq!(step.changed.iter().collect::<Vec<_>>(), [RowKind::Hot], "a report writes the hot row only");
    let document = twin.document();
    assert_eq!(document.gateway, Some(gateway("bs1")));
    assert_eq!(document.version, 2);
    assert_eq!(document.steering_etag, "1-1-1", "reports leave the steering etag alone");
    assert_eq!(
        document.reported,
        json(
            r#"{"battery": 97, "screen": {"on": true}, "$version": 2, "$metadata": {
                "$lastUpdated": "2023-11-14T22:13:23.000Z",
                "battery": {"$lastUpdated": "2023-11-14T22:13:23.000Z"},
                "screen": {"$lastUpdated": "2023-11-14T22:13:23.000Z", "on": {"$lastUpdated": "2023-11-14T22:13:23.000Z"}}}}"#
        )
    );
    assert_eq!(
        document.desired,
        json(
            r#"{"price": 9.5, "$version": 1, "$metadata": {
                "$lastUpdated": "2023-11-14T22:13:21.000Z", "$lastUpdatedVersion": 1,
                "price": {"$lastUpdated": "2023-11-14T22:13:21.000Z", "$lastUpdatedVersion": 1}}}"#
        )
    );
}

#[test]
fn a_report_that_changes_nothing_takes_its_number_and_raises_no_version() {
    let mut twin = Stored::registered();
    let bs1 = sender("bs1", 1, 1);
    twin.attach(&bs1, 0).unwrap();
    twin.report(&bs1, 1, vec![set("/a", 3)]).unwrap();
    let step = twin.state(&bs1, 2, 2, StateBody::Report(vec![set("/a", 3.0)]));
    assert_eq!((step.answer, step.events.len()), (Ok(Answer::Done), 0));
    assert!(step.changed.contains(RowKind::Hot), "the number is taken");
    assert_eq!(twin.document().reported_version, Version::new(2));
    assert_eq!(twin.report(&bs1, 2, vec![set("/a", 4)]), Ok(Answer::Duplicate));
}

#[test]
fn numbers_take_effect_once_and_in_order_and_ranges_may_overlap_what_was_seen() {
    let mut twin = Stored::registered();
    let bs1 = sender("bs1", 1, 1);
    twin.attach(&bs1, 0).unwrap();
    let report = |value: i64| StateBody::Report(vec![set("/a", value)]);
    assert_eq!(twin.state(&bs1, 2, 2, report(2)).answer, Err(Refusal::Gap { next: Seq::new(1) }));
    assert_eq!(twin.state(&bs1, 1, 3, report(3)).answer, Ok(Answer::Done));
    assert_eq!(twin.state(&bs1, 2, 3, report(9)).answer, Ok(Answer::Duplicate));
    assert_eq!(twin.state(&bs1, 5, 5, report(5)).answer, Err(Refusal::Gap { next: Seq::new(4) }));
    assert_eq!(twin.state(&bs1, 2, 5, report(5)).answer, Ok(Answer::Done));
    assert_eq!(twin.document().reported.as_object().unwrap()["a"], 5.into());
    for (first, last) in [(0, 1), (7, 6), (1, u64::MAX)] {
        assert!(matches!(twin.state(&bs1, first, last, report(0)).answer, Err(Refusal::Invalid { .. })));
    }
}

#[test]
fn a_refused_report_moves_no_number_until_the_gateway_declares_it_lost() {
    let mut twin = Stored::registered();
    let bs1 = sender("bs1", 1, 1);
    twin.attach(&bs1, 0).unwrap();
    assert!(matches!(twin.report(&bs1, 1, vec![set("/a.b", 1)]), Err(Refusal::Rule(_))));
    assert_eq!(twin.report(&bs1, 2, vec![set("/a", 1)]), Err(Refusal::Gap { next: Seq::new(1) }));
    assert_eq!(twin.state(&bs1, 1, 1, StateBody::Lost).answer, Ok(Answer::Done));
    assert_eq!(twin.report(&bs1, 2, vec![set("/a", 1)]), Ok(Answer::Done));
}

#[test]
fn the_hot_row_of_a_usual_report_stays_small() {
    let mut twin = Stored::registered();
    let bs1 = sender("bs1", 1, 1);
    twin.attach(&bs1, 0).unwrap();
    // About 300 B of JSON in 20 properties.
    let ops = (0..20).map(|i| set(&format!("/group{}/metric{i:02}", i % 4), 1000 + i64::from(i))).collect();
    twin.report(&bs1, 1, ops).unwrap();
    let json_bytes = twin_core::json::compact_len(&twin.twin.document().unwrap().reported);
    let row_bytes = twin.rows.hot.as_ref().unwrap().len();
    assert!(row_bytes < 600, "{row_bytes} B for {json_bytes} B with metadata");
}

/// What observers may come back for is kept for a while, 65,536 events of it: each would keep the frame that it came in, with all the
/// other reports in it.
#[test]
fn an_event_keeps_neither_the_frame_that_its_report_came_in_nor_the_table_of_its_stream() {
    let (mut twin, g1) = (Stored::registered(), sender("g1", 1, 0));
    twin.attach(&g1, 0).unwrap();
    let table: Arc<[Path]> = ["/a", "/b", "/c"].map(path).into();
    // New to the document, so made by the tree; and then merged into the bytes that stand.
    for (seq, value) in [(1, 5), (2, 6)] {
        let mut frame = vec![0xc1; 68 * 1024];
        let report = [0x91, 0x92, 0x01, 0x81, 0xa1, b's', value];
        frame[1000..][..report.len()].copy_from_slice(&report);
        let frame = Bytes::from(frame);
        let report = PackedReport::new(Arc::clone(&table), frame.slice(1000..1000 + report.len())).unwrap();
        let (first, last) = (Seq::new(seq), Seq::new(seq));
        let step = twin.step(Command::Report { sender: g1.clone(), first, last, report });
        let [event] = &step.events[..] else { panic!("{step:?}") };
        let OutboundKind::Reported { ops, .. } = &event.kind else { panic!("{event:?}") };
        assert_eq!(ops.unpack(), [set("/b", i64::from(value))]);
        assert!(frame.try_into_mut().is_ok(), "report {seq}: somebody keeps the frame");
        assert_eq!(Arc::strong_count(&table), 1, "report {seq}: somebody keeps the table");
    }
}
