//! Deletes and stored rows.

use twin_core::command::{Answer, Command, Precondition};
use twin_core::event::OutboundKind;
use twin_core::numbers::{Floor, Incarnation, Version};
use twin_core::refusal::Refusal;
use twin_core::rows::{RowKind, Rows};
use twin_core::twin::Twin;

use super::{Stored, sender, set};

#[test]
fn a_re_created_twin_starts_above_everything_of_its_earlier_life() {
    let mut twin = Stored::registered();
    let bs1 = sender("bs1", 1, 1);
    twin.attach(&bs1, 0).unwrap();
    for seq in 1..=20 {
        twin.report(&bs1, seq, vec![set("/a", seq.cast_signed())]).unwrap();
    }
    let old = twin.document();
    let step = twin.step(Command::Delete { precondition: Precondition::None });
    assert_eq!(step.delete_floor, Some(Floor::new(21)));
    assert_eq!(step.events[0].kind, OutboundKind::Deleted);
    assert_eq!(twin.rows, Rows::default());
    twin.put("{}", r#"{"x": 1}"#).answer.unwrap();
    let new = twin.document();
    assert_eq!(new.incarnation, Incarnation::new(22));
    assert!(
        new.version > old.version
            && new.reported_version > old.reported_version
            && new.desired_version > old.desired_version
    );
    // What the gateway knew is no use, in numbers or in desired.
    assert_eq!(twin.report(&bs1, 21, vec![]), Err(Refusal::NotAttached));
    let Ok(Answer::Delta(delta)) = twin.step(Command::ReadDelta { since: Version::new(1) }).answer else { panic!() };
    assert!(delta.snapshot);
    // It attaches anew whatever it saw, as nobody else did.
    assert_eq!(twin.attach(&sender("bs1", 1, 2), 1), Ok(22));
}

#[test]
fn a_delete_never_lowers_the_floor_that_others_raised() {
    let mut twin = Stored::registered();
    twin.floor = Floor::new(1000);
    let step = twin.step(Command::Delete { precondition: Precondition::None });
    assert_eq!(step.delete_floor, Some(Floor::new(1000)));
}

#[test]
fn rows_of_another_format_or_damaged_or_missing_are_refused_by_name() {
    let twin = Stored::registered();
    let load = |change: &dyn Fn(&mut Rows)| {
        let mut rows = twin.rows.clone();
        change(&mut rows);
        Twin::load(twin.twin.id().clone(), rows).unwrap_err().to_string()
    };
    assert!(
        load(&|rows| {
            let mut head = rows.head.take().unwrap().to_vec();
            head[0] = 9;
            rows.head = Some(head.into());
        })
        .contains("the head row has format 9, this release reads 1: upgrade")
    );
    assert!(load(&|rows| rows.hot = None).contains("the hot row is missing"));
    assert!(load(&|rows| rows.desired = Some(bytes::Bytes::new())).contains("the desired row is empty"));
    assert!(
        load(&|rows| {
            let hot = rows.hot.as_mut().unwrap();
            hot.truncate(hot.len() - 1);
        })
        .contains("the hot row is damaged")
    );
    for kind in RowKind::ALL {
        let Some(row) = twin.rows.get(kind) else { continue };
        for at in 0..row.len() {
            for value in [0u8, 0x7f, 0x90, 0xc1, 0xdd, 0xff] {
                let mut rows = twin.rows.clone();
                let mut bytes = row.to_vec();
                bytes[at] = value;
                rows.set(kind, Some(bytes.into()));
                let _ = Twin::load(twin.twin.id().clone(), rows);
            }
        }
    }
}
