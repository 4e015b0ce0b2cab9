//! A twin that was restored from a backup meets gateways that know more than it.

use twin_core::command::{Answer, ChangeKind, Command, Precondition, StateBody};
use twin_core::numbers::{Floor, OutboxId, Seq, Version};
use twin_core::recovery::{LINEAGE_SPAN, Raise};
use twin_core::refusal::Refusal;
use twin_core::rows::{RowKind, Rows};
use twin_core::twin::Twin;
use twin_core::value::Value;

use super::{Stored, json, sender, set};

/// The twin as it was, in the next lineage.
fn restored(backup: &Stored) -> Stored {
    let raise = Raise::past(1).unwrap();
    let mut rows = Rows::default();
    for kind in RowKind::ALL {
        rows.set(kind, backup.rows.get(kind).map(|row| raise.row(kind, row).unwrap()));
    }
    let twin = Twin::load(backup.twin.id().clone(), rows.clone()).unwrap();
    Stored { twin, rows, floor: raise.floor(backup.floor), now: backup.now }
}

fn copy(of: &Stored) -> Stored {
    Stored { twin: of.twin.clone(), rows: of.rows.clone(), floor: of.floor, now: of.now }
}

fn merge(text: &str) -> ChangeKind {
    ChangeKind::Merge(json(text))
}

#[test]
fn no_number_of_the_older_lineage_comes_again_and_the_content_stays() {
    let mut live = Stored::registered();
    let bs1 = sender("bs1", 1, 1);
    live.attach(&bs1, 0).unwrap();
    live.report(&bs1, 1, vec![set("/a", 1)]).unwrap();
    live.patch("", merge(r#"{"price": 1, "deep": {"x": 1}}"#)).answer.unwrap();
    let backup = copy(&live);
    for n in 2..50 {
        live.report(&bs1, n, vec![set("/a", n.cast_signed())]).unwrap();
        live.patch("", merge(&format!(r#"{{"price": {n}}}"#))).answer.unwrap();
    }
    let (before, lost, now) = (backup.document(), live.document(), restored(&backup).document());
    // As documents, without the versions and times that they are shown with.
    for (section, now, before) in
        [("desired", &now.desired, &before.desired), ("reported", &now.reported, &before.reported)]
    {
        let plain = |value: &Value| {
            let members = value.as_object().unwrap();
            let plain = members.iter().filter(|(key, _)| !key.starts_with('$'));
            plain.map(|(key, value)| (key.to_string(), value.clone())).collect::<Vec<_>>()
        };
        assert_eq!(plain(now), plain(before), "{section}");
    }
    assert_eq!(now.tags, before.tags);
    assert!(now.version > lost.version && now.desired_version > lost.desired_version, "{now:?}");
    assert!(now.reported_version > lost.reported_version && now.tags_version > lost.tags_version);
    assert!(now.incarnation > lost.incarnation && now.attachment > lost.attachment);
    // Deleted and made again, too.
    let mut again = restored(&backup);
    again.step(Command::Delete { precondition: Precondition::None }).answer.unwrap();
    again.put("{}", "{}").answer.unwrap();
    assert!(again.document().desired_version > now.desired_version);
}

#[test]
fn whoever_knows_desired_of_the_older_lineage_gets_a_snapshot() {
    let mut live = Stored::registered();
    live.patch("", merge(r#"{"a": 1}"#)).answer.unwrap();
    let mut now = restored(&live);
    let version = now.document().desired_version;
    for since in [0, 1, 2, 3, 1_000_000, LINEAGE_SPAN - 1] {
        let Ok(Answer::Delta(delta)) = now.step(Command::ReadDelta { since: Version::new(since) }).answer else {
            panic!()
        };
        assert!(delta.snapshot && delta.to == version, "{since}: {delta:?}");
    }
    now.patch("", merge(r#"{"b": 2}"#)).answer.unwrap();
    let Ok(Answer::Delta(delta)) = now.step(Command::ReadDelta { since: version }).answer else { panic!() };
    assert!(!delta.snapshot && delta.ops == [set("/b", 2)], "{delta:?}");
}

#[test]
fn what_the_device_acknowledged_is_not_known_any_more_until_it_says_so_again() {
    let mut live = Stored::registered();
    let bs1 = sender("bs1", 1, 1);
    live.attach(&bs1, 0).unwrap();
    live.patch("", merge(r#"{"price": 1}"#)).answer.unwrap();
    live.state(&bs1, 1, 1, StateBody::DesiredApplied(Version::new(2))).answer.unwrap();
    assert_eq!(live.convergence("/price"), "applied");
    let mut now = restored(&live);
    assert_eq!(now.convergence("/price"), "pending");
    // An acknowledgement that waited in the gateway's outbox means a version of the older lineage.
    now.state(&bs1, 2, 2, StateBody::DesiredApplied(Version::new(7))).answer.unwrap();
    assert_eq!(now.convergence("/price"), "pending");
    let version = now.document().desired_version;
    now.state(&bs1, 3, 3, StateBody::DesiredApplied(version)).answer.unwrap();
    assert_eq!(now.convergence("/price"), "applied");
}

#[test]
fn a_gateway_goes_on_after_the_numbers_that_were_lost() {
    let mut live = Stored::registered();
    let bs1 = sender("bs1", 1, 1);
    live.attach(&bs1, 0).unwrap();
    live.report(&bs1, 1, vec![set("/a", 1)]).unwrap();
    let mut now = restored(&live);
    // The same stay: its number is another, it is the device's gateway still.
    assert_eq!(now.attach(&bs1, 1), Ok(LINEAGE_SPAN + 1));
    assert_eq!(now.report(&bs1, 9, vec![set("/a", 9)]), Err(Refusal::Gap { next: Seq::new(2) }));
    assert_eq!(now.state(&bs1, 2, 8, StateBody::Lost).answer, Ok(Answer::Done));
    assert_eq!(now.report(&bs1, 9, vec![set("/a", 9)]), Ok(Answer::Done));
    assert_eq!(now.report(&bs1, 1, vec![set("/a", 1)]), Ok(Answer::Duplicate));
}

#[test]
fn a_stay_that_attached_after_the_backup_is_taken_and_not_thrown_away() {
    let mut live = Stored::registered();
    let (before, after) = (sender("bs1", 1, 1), sender("bs1", 1, 2));
    live.attach(&before, 0).unwrap();
    let mut now = restored(&live);
    assert_eq!(live.attach(&after, 1), Ok(2));
    // In the older lineage it was attached as number 2, and still has something to say.
    assert_eq!(now.attach(&after, 2), Ok(LINEAGE_SPAN + 3));
    assert_eq!(now.report(&after, 4, vec![]), Err(Refusal::Gap { next: Seq::new(1) }));
    assert_eq!(now.state(&after, 1, 3, StateBody::Lost).answer, Ok(Answer::Done));
    assert_eq!(now.report(&after, 4, vec![set("/a", 4)]), Ok(Answer::Done));
}

#[test]
fn of_two_gateways_that_attached_after_the_backup_the_later_one_wins_whichever_comes_first() {
    let mut live = Stored::registered();
    live.attach(&sender("bs0", 1, 1), 0).unwrap();
    let (earlier, later) = (sender("bs1", 1, 1), sender("bs2", 1, 1));
    // The older lineage went on: bs1 attached as 4, bs2 as 7.
    for order in [[(&earlier, 4), (&later, 7)], [(&later, 7), (&earlier, 4)]] {
        let mut now = restored(&live);
        for (gateway, saw) in order {
            let answer = now.attach(gateway, saw);
            assert!(answer.is_ok() || (saw == 4 && matches!(answer, Err(Refusal::Conflict { .. }))), "{answer:?}");
        }
        assert_eq!(now.document().gateway, Some(later.gateway.clone()));
        // Neither does the one that the backup knew take it back.
        let _ = now.attach(&sender("bs0", 1, 1), 1);
        assert_eq!(now.document().gateway, Some(later.gateway.clone()));
    }
    // One that saw less than the backup knows is told so, as ever.
    let mut now = restored(&live);
    assert!(matches!(now.attach(&later, 0), Err(Refusal::Conflict { .. })));
}

#[test]
fn the_same_holds_for_a_twin_that_was_made_after_the_backup() {
    let (earlier, later) = (sender("bs1", 1, 1), sender("bs2", 1, 1));
    for order in [[(&earlier, 1), (&later, 2)], [(&later, 2), (&earlier, 1)]] {
        let mut now = Stored::new();
        now.floor = Raise::past(1).unwrap().floor(Floor::default());
        for (sender, saw) in order {
            let (sender, saw) = (sender.clone(), twin_core::numbers::AttachmentNo::new(saw));
            let _ = now.step(Command::Attach { sender, saw, may_create: true });
        }
        assert_eq!(now.document().gateway, Some(later.gateway.clone()));
        assert!(now.document().desired_version.get() > LINEAGE_SPAN);
    }
}

#[test]
fn the_first_event_after_a_recovery_is_taken_whatever_its_number_and_no_event_twice() {
    let mut live = Stored::registered();
    let bs1 = sender("bs1", 1, 1);
    live.event(&bs1, 1, 1).unwrap();
    live.event(&bs1, 1, 2).unwrap();
    let mut now = restored(&live);
    assert_eq!(now.event(&bs1, 1, 2), Ok(Answer::Duplicate), "its ack was lost, not its effect");
    assert_eq!(now.event(&bs1, 1, 9), Ok(Answer::Done), "3 to 8 are lost");
    assert_eq!(now.event(&bs1, 1, 9), Ok(Answer::Duplicate));
    assert_eq!(now.event(&bs1, 1, 11), Err(Refusal::Gap { next: Seq::new(10) }), "and no more");
    // The same where the gateway was started again since.
    let mut now = restored(&live);
    assert_eq!(now.event(&bs1, 3, 5), Ok(Answer::Done));
    assert_eq!(now.event(&bs1, 3, 7), Err(Refusal::Gap { next: Seq::new(6) }));
    // And one that the twin does not know attaches first.
    let mut unknown = sender("bs9", 1, 1);
    unknown.outbox = OutboxId([9; 16]);
    assert_eq!(restored(&live).event(&unknown, 1, 5), Err(Refusal::NotAttached));
}

#[test]
fn two_recoveries_in_a_row_are_two_lineages() {
    let live = Stored::registered();
    let twice = restored(&restored(&live));
    assert_eq!(twice.document().desired_version.get(), 2 * LINEAGE_SPAN + 1);
    let past = Raise::past(2).unwrap();
    let row = past.row(RowKind::Head, live.rows.get(RowKind::Head).unwrap()).unwrap();
    assert_eq!(Some(&row), twice.rows.get(RowKind::Head));
}
