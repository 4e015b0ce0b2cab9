//! Stays, attachments, events and calls.

use twin_core::command::{Answer, CallEnd, Command, Precondition, Sender, StateBody};
use twin_core::event::OutboundKind;
use twin_core::ids::SiteId;
use twin_core::limits::{MARKS_MAX, OPEN_CALLS_MAX};
use twin_core::numbers::{AttachmentNo, CallNo, OutboxId, Seq, Version};
use twin_core::refusal::Refusal;
use twin_core::twin::Twin;
use twin_core::value::Value;

use super::{Stored, gateway, json, sender, set};

#[test]
fn a_report_never_creates_a_twin_and_attach_does_only_where_enrolment_is_open() {
    let mut twin = Stored::new();
    let bs1 = sender("bs1", 1, 1);
    assert!(matches!(twin.report(&bs1, 1, vec![]), Err(Refusal::NotFound { .. })));
    assert!(matches!(twin.attach(&bs1, 0), Err(Refusal::NotFound { .. })));
    assert!(matches!(twin.event(&bs1, 1, 1), Err(Refusal::NotFound { .. })));
    let step = twin.step(Command::Attach { sender: bs1, saw: AttachmentNo::new(0), may_create: true });
    assert!(
        matches!(step.answer, Ok(Answer::Attached { attachment, desired_version }) if attachment.get() == 1 && desired_version.get() == 1)
    );
    assert!(
        matches!(step.events[..], [ref a, ref b] if a.kind == OutboundKind::Created && matches!(b.kind, OutboundKind::Attached { .. }))
    );
    assert_eq!(twin.document().site, SiteId::new("store-1").unwrap());
}

#[test]
fn a_roamed_devices_old_gateway_cannot_overwrite() {
    let mut twin = Stored::registered();
    let (bs1, bs2) = (sender("bs1", 1, 1), sender("bs2", 1, 1));
    twin.attach(&bs1, 0).unwrap();
    twin.report(&bs1, 1, vec![set("/a", 1)]).unwrap();
    assert_eq!(twin.attach(&bs2, 0), Err(Refusal::Conflict { last: AttachmentNo::new(1) }));
    assert_eq!(twin.report(&bs2, 1, vec![set("/a", 2)]), Err(Refusal::NotAttached));
    assert_eq!(twin.attach(&bs2, 1), Ok(2));
    assert_eq!(twin.report(&bs1, 2, vec![set("/a", 9)]), Err(Refusal::Superseded));
    assert_eq!(twin.report(&bs1, 1, vec![set("/a", 1)]), Ok(Answer::Duplicate), "its ack was lost, not its effect");
    assert_eq!(twin.state(&bs1, 2, 2, StateBody::DesiredApplied(Version::new(1))).answer, Err(Refusal::Superseded));
    assert_eq!(twin.state(&bs1, 2, 2, StateBody::Lost).answer, Ok(Answer::Done));
    assert_eq!(twin.report(&bs2, 1, vec![set("/a", 2)]), Ok(Answer::Done));
    // Its attach, sent again, gets its number again but not the device.
    assert_eq!(twin.attach(&bs1, 0), Ok(1));
    assert_eq!(twin.document().gateway, Some(gateway("bs2")));
    // The device comes back: a new stay. The old one never returns.
    let again = sender("bs1", 1, 2);
    assert_eq!(twin.attach(&again, 2), Ok(3));
    assert_eq!(twin.attach(&bs1, 3), Err(Refusal::Superseded));
    assert_eq!(twin.report(&bs1, 3, vec![]), Err(Refusal::Superseded));
    assert_eq!(twin.report(&again, 1, vec![set("/a", 3)]), Ok(Answer::Done));
    assert_eq!(twin.report(&sender("bs1", 2, 1), 1, vec![]), Err(Refusal::NotAttached), "a newer stay attaches first");
}

#[test]
fn a_new_outbox_of_a_gateway_replaces_its_mark_by_attaching() {
    let mut twin = Stored::registered();
    let old = sender("bs1", 5, 7);
    twin.attach(&old, 0).unwrap();
    twin.report(&old, 1, vec![set("/a", 1)]).unwrap();
    let new = Sender { outbox: OutboxId([2; 16]), ..sender("bs1", 1, 1) };
    assert_eq!(twin.report(&new, 1, vec![set("/a", 2)]), Err(Refusal::NotAttached));
    assert_eq!(twin.attach(&new, 1), Ok(2));
    assert_eq!(twin.report(&new, 1, vec![set("/a", 2)]), Ok(Answer::Done));
    assert_eq!(twin.report(&old, 2, vec![set("/a", 1)]), Err(Refusal::NotAttached));
}

#[test]
fn a_detached_stay_gets_no_downlinks_but_its_reports_still_count() {
    let mut twin = Stored::registered();
    let bs1 = sender("bs1", 1, 1);
    twin.attach(&bs1, 0).unwrap();
    let detach = Command::Detach { sender: bs1.clone() };
    let step = twin.step(detach.clone());
    assert_eq!(step.events[0].kind, OutboundKind::Detached { gateway: gateway("bs1") });
    assert_eq!(twin.document().gateway, None);
    assert_eq!(twin.step(detach).answer, Ok(Answer::Duplicate));
    assert_eq!(twin.report(&bs1, 1, vec![set("/a", 1)]), Ok(Answer::Done));
    assert_eq!(twin.document().gateway, None);
    let call = Command::CallMethod { method: "blink".into(), payload: Value::Null, timeout_ms: 1 };
    assert!(matches!(twin.step(call).answer, Err(Refusal::NotConnected { .. })));
    assert_eq!(twin.attach(&sender("bs2", 1, 1), 1), Ok(2));
    assert_eq!(twin.step(Command::Detach { sender: bs1 }).answer, Err(Refusal::Superseded));
}

#[test]
fn another_sites_gateway_is_refused() {
    let mut twin = Stored::registered();
    let mut other = sender("bs1", 1, 1);
    other.gateway.site = SiteId::new("store-2").unwrap();
    let refusal = Err(Refusal::OtherSite { site: SiteId::new("store-1").unwrap() });
    assert_eq!(twin.attach(&other, 0), refusal.clone().map(|_: Answer| 0));
    assert_eq!(twin.event(&other, 1, 1), refusal);
    let put = Command::Put {
        site: Some(SiteId::new("store-2").unwrap()),
        tags: json("{}"),
        desired: json("{}"),
        precondition: Precondition::None,
    };
    assert_eq!(twin.step(put).answer, refusal);
}

#[test]
fn events_are_numbered_per_boot_and_need_no_attachment() {
    let mut twin = Stored::registered();
    let bs1 = sender("bs1", 1, 1);
    assert_eq!(twin.event(&bs1, 1, 2), Err(Refusal::Gap { next: Seq::new(1) }));
    assert_eq!(twin.event(&bs1, 1, 1), Ok(Answer::Done));
    assert_eq!(twin.event(&bs1, 1, 1), Ok(Answer::Duplicate));
    assert_eq!(twin.event(&bs1, 1, 3), Err(Refusal::Gap { next: Seq::new(2) }));
    // They go on over attach and roam, and begin anew with a boot.
    twin.attach(&bs1, 0).unwrap();
    assert_eq!(twin.event(&bs1, 1, 2), Ok(Answer::Done));
    twin.attach(&sender("bs2", 1, 1), 1).unwrap();
    assert_eq!(twin.event(&bs1, 1, 2), Ok(Answer::Duplicate));
    assert_eq!(twin.event(&bs1, 1, 3), Ok(Answer::Done));
    assert_eq!(twin.event(&bs1, 2, 1), Ok(Answer::Done));
    assert_eq!(twin.event(&bs1, 1, 4), Err(Refusal::Superseded));
    // A stay that was never attached stays unknown to the twin-state class.
    assert_eq!(twin.report(&sender("bs3", 0, 0), 1, vec![]), Err(Refusal::NotAttached));
}

#[test]
fn a_gateway_whose_mark_was_evicted_comes_back_only_by_attach() {
    let mut twin = Stored::registered();
    let first = sender("bs0", 1, 1);
    twin.attach(&first, 0).unwrap();
    twin.report(&first, 1, vec![set("/a", 1)]).unwrap();
    for seq in 1..=5 {
        twin.event(&first, 1, seq).unwrap();
    }
    for i in 1..=MARKS_MAX as u64 {
        assert_eq!(twin.attach(&sender(&format!("bs{i}"), 1, 1), i), Ok(i + 1));
    }
    assert_eq!(twin.report(&first, 2, vec![]), Err(Refusal::NotAttached));
    assert_eq!(twin.event(&first, 1, 6), Err(Refusal::NotAttached));
    assert_eq!(
        twin.report(&sender("bs1", 1, 1), 1, vec![]),
        Err(Refusal::Superseded),
        "the next oldest is still known"
    );
    assert_eq!(twin.attach(&sender("bs0", 1, 2), 17), Ok(18));
    assert_eq!(twin.event(&first, 1, 6), Ok(Answer::Done));
    assert_eq!(twin.event(&first, 1, 6), Ok(Answer::Duplicate));
    assert_eq!(twin.event(&first, 1, 8), Err(Refusal::Gap { next: Seq::new(7) }));
}

#[test]
fn method_calls_are_numbered_bounded_and_stale_after_a_load() {
    let mut twin = Stored::registered();
    let call = || Command::CallMethod { method: "blink".into(), payload: Value::Null, timeout_ms: 1000 };
    assert!(matches!(twin.step(call()).answer, Err(Refusal::NotConnected { .. })));
    twin.attach(&sender("bs1", 1, 1), 0).unwrap();
    for number in 1..=OPEN_CALLS_MAX as u64 {
        assert_eq!(
            twin.step(call()).answer,
            Ok(Answer::CallOpened { call: CallNo::new(number), gateway: gateway("bs1") })
        );
    }
    assert!(matches!(twin.step(call()).answer, Err(Refusal::Busy { .. })));
    let loaded = Twin::load(twin.twin.id().clone(), twin.rows.clone()).unwrap();
    assert_eq!(loaded.stale_calls().len(), OPEN_CALLS_MAX);
    let close = Command::CloseCall { call: CallNo::new(3), end: CallEnd::Unknown };
    assert_eq!(twin.step(close.clone()).answer, Ok(Answer::Done));
    assert_eq!(twin.step(close).answer, Ok(Answer::Duplicate));
    assert!(matches!(twin.step(call()).answer, Ok(Answer::CallOpened { call, .. }) if call.get() == 9));
}
