//! Alarms: numbered per stay, taken whoever serves the device, kept for reading.

use twin_core::alarm::{Alarm, Severity, TakenAlarm};
use twin_core::command::{Answer, Command, Precondition, Sender};
use twin_core::event::OutboundKind;
use twin_core::limits::{ALARM_PAYLOAD_BYTES_MAX, ALARMS_BYTES_MAX, ALARMS_MAX};
use twin_core::numbers::{AlarmNo, Seq, WallTime};
use twin_core::recovery::{LINEAGE_SPAN, Raise};
use twin_core::refusal::Refusal;
use twin_core::rows::RowKind;
use twin_core::twin::{Step, Twin};
use twin_core::value::Value;

use super::{Stored, gateway, sender, set};

fn warm(payload: Value) -> Alarm {
    Alarm { name: "freezer-too-warm".into(), severity: Severity::Critical, raised_at: WallTime::new(7), payload }
}

impl Stored {
    fn raise(&mut self, sender: &Sender, number: u64, alarm: Alarm) -> Step {
        let number = Seq::new(number);
        let alarm = Some(Box::new(alarm));
        self.step(Command::Alarm { sender: sender.clone(), first: number, last: number, alarm })
    }

    fn lose(&mut self, sender: &Sender, first: u64, last: u64) -> Result<Answer, Refusal> {
        let (first, last) = (Seq::new(first), Seq::new(last));
        self.step(Command::Alarm { sender: sender.clone(), first, last, alarm: None }).answer
    }

    fn alarms(&mut self) -> Vec<TakenAlarm> {
        match self.step(Command::ReadAlarms).answer {
            Ok(Answer::Alarms(alarms)) => alarms,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_alarm_takes_effect_once_in_order_and_beside_state() {
    let mut twin = Stored::registered();
    let bs1 = sender("bs1", 1, 1);
    assert_eq!(twin.raise(&bs1, 1, warm(1.into())).answer, Err(Refusal::NotAttached));
    twin.attach(&bs1, 0).unwrap();
    twin.report(&bs1, 1, vec![set("/a", 1)]).unwrap();
    let before = twin.document();
    let step = twin.raise(&bs1, 1, warm(4.into()));
    assert_eq!(step.answer, Ok(Answer::Done));
    assert_eq!(step.changed.iter().collect::<Vec<_>>(), [RowKind::Hot, RowKind::Alarms]);
    let [OutboundKind::Alarm { alarm }] = &step.events.iter().map(|event| event.kind.clone()).collect::<Vec<_>>()[..]
    else {
        panic!("{step:?}")
    };
    assert_eq!((alarm.number, &alarm.gateway, &alarm.alarm), (AlarmNo::new(1), &gateway("bs1"), &warm(4.into())));
    assert_eq!(alarm.taken_at, WallTime::new(twin.now));
    assert_eq!(twin.raise(&bs1, 1, warm(4.into())).answer, Ok(Answer::Duplicate));
    assert_eq!(twin.raise(&bs1, 3, warm(4.into())).answer, Err(Refusal::Gap { next: Seq::new(2) }));
    // Nothing of the document changed, so no ETag did.
    let after = twin.document();
    assert_eq!(
        (after.version, after.steering_etag, after.reported),
        (before.version, before.steering_etag, before.reported)
    );
    // State has its own numbers, and writes no row of alarms.
    let step = twin.state(&bs1, 2, 2, twin_core::command::StateBody::Report(vec![set("/a", 2)]));
    assert_eq!(step.changed.iter().collect::<Vec<_>>(), [RowKind::Hot]);
    // What the gateway lost holds up nothing.
    assert_eq!(twin.lose(&bs1, 2, 4), Ok(Answer::Done));
    assert_eq!(twin.raise(&bs1, 5, warm(5.into())).answer, Ok(Answer::Done));
    assert_eq!(twin.alarms().iter().map(|taken| taken.number.get()).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn an_alarm_of_the_gateway_that_the_device_left_is_still_an_alarm() {
    let mut twin = Stored::registered();
    let (bs1, bs2) = (sender("bs1", 1, 1), sender("bs2", 1, 1));
    twin.attach(&bs1, 0).unwrap();
    twin.attach(&bs2, 1).unwrap();
    let step = twin.raise(&bs1, 1, warm(1.into()));
    assert_eq!(step.answer, Ok(Answer::Done));
    assert_eq!(step.changed.iter().collect::<Vec<_>>(), [RowKind::Marks, RowKind::Alarms]);
    assert_eq!(twin.raise(&bs1, 1, warm(1.into())).answer, Ok(Answer::Duplicate));
    assert_eq!(twin.report(&bs1, 1, vec![]), Err(Refusal::Superseded), "state is another matter");
    assert_eq!(twin.raise(&bs2, 1, warm(2.into())).answer, Ok(Answer::Done));
    let raised = twin.alarms().into_iter().map(|taken| (taken.number.get(), taken.gateway)).collect::<Vec<_>>();
    assert_eq!(raised, [(1, gateway("bs1")), (2, gateway("bs2"))]);
    // A newer stay of the same gateway ends the older one, for alarms too.
    twin.attach(&sender("bs1", 1, 2), 2).unwrap();
    assert_eq!(twin.raise(&bs1, 2, warm(3.into())).answer, Err(Refusal::Superseded));
}

#[test]
fn the_latest_are_kept_within_a_number_and_bytes() {
    let mut twin = Stored::registered();
    let bs1 = sender("bs1", 1, 1);
    twin.attach(&bs1, 0).unwrap();
    for number in 1..=20 {
        twin.raise(&bs1, number, warm(Value::Null)).answer.unwrap();
    }
    let numbers = |twin: &mut Stored| twin.alarms().iter().map(|taken| taken.number.get()).collect::<Vec<_>>();
    assert_eq!(numbers(&mut twin), (21 - ALARMS_MAX as u64..=20).collect::<Vec<_>>());
    let large = |bytes: usize| Value::String("x".repeat(bytes).into());
    for number in 21..=30 {
        twin.raise(&bs1, number, warm(large(ALARM_PAYLOAD_BYTES_MAX - 2))).answer.unwrap();
    }
    let fit = (ALARMS_BYTES_MAX / (ALARM_PAYLOAD_BYTES_MAX + "freezer-too-warm".len())) as u64;
    assert_eq!(numbers(&mut twin), (31 - fit..=30).collect::<Vec<_>>());
    assert!(twin.rows.alarms.as_ref().unwrap().len() < ALARMS_BYTES_MAX + 2048);
}

#[test]
fn what_is_no_alarm_changes_nothing_and_says_why() {
    let mut twin = Stored::registered();
    let bs1 = sender("bs1", 1, 1);
    twin.attach(&bs1, 0).unwrap();
    let large = warm(Value::String("x".repeat(ALARM_PAYLOAD_BYTES_MAX).into()));
    let Err(Refusal::TooLarge { limit_bytes, .. }) = twin.raise(&bs1, 1, large).answer else {
        panic!("it is too large")
    };
    assert_eq!(limit_bytes, ALARM_PAYLOAD_BYTES_MAX as u64);
    let nameless = Alarm { name: String::new(), ..warm(Value::Null) };
    assert!(matches!(twin.raise(&bs1, 1, nameless).answer, Err(Refusal::Invalid { .. })));
    assert!(matches!(twin.lose(&bs1, 0, 1), Err(Refusal::Invalid { .. })));
    let two = Command::Alarm {
        sender: bs1.clone(),
        first: Seq::new(1),
        last: Seq::new(2),
        alarm: Some(Box::new(warm(Value::Null))),
    };
    assert!(matches!(twin.step(two).answer, Err(Refusal::Invalid { .. })));
    assert!(twin.alarms().is_empty() && twin.rows.alarms.is_none());
}

#[test]
fn numbers_of_alarms_never_come_again_in_a_later_life_or_lineage() {
    let mut twin = Stored::registered();
    let bs1 = sender("bs1", 1, 1);
    twin.attach(&bs1, 0).unwrap();
    for number in 1..=9 {
        twin.raise(&bs1, number, warm(Value::Null)).answer.unwrap();
    }
    // Restored: what is kept has the numbers that it was told under, what comes is above.
    let raise = Raise::past(1).unwrap();
    let mut rows = twin.rows.clone();
    for kind in RowKind::ALL {
        rows.set(kind, twin.rows.get(kind).map(|row| raise.row(kind, row).unwrap()));
    }
    let restored = Twin::load(twin.twin.id().clone(), rows.clone()).unwrap();
    let mut restored = Stored { twin: restored, rows, floor: raise.floor(twin.floor), now: twin.now };
    restored.raise(&bs1, 10, warm(Value::Null)).answer.unwrap();
    let numbers = restored.alarms().iter().map(|taken| taken.number.get()).collect::<Vec<_>>();
    assert_eq!((numbers[0], numbers[9]), (1, LINEAGE_SPAN + 10));
    // Deleted and made again.
    twin.step(Command::Delete { precondition: Precondition::None }).answer.unwrap();
    assert_eq!(twin.rows.alarms, None);
    twin.put("{}", "{}").answer.unwrap();
    assert!(twin.alarms().is_empty(), "they were of another life");
    twin.attach(&sender("bs1", 1, 2), 0).unwrap();
    twin.raise(&sender("bs1", 1, 2), 1, warm(Value::Null)).answer.unwrap();
    assert!(twin.alarms()[0].number > AlarmNo::new(9));
}
