//! Both ends of interning agree, whatever is sent.

use proptest::prelude::*;
use twin_core::command::StateBody;
use twin_core::ids::TwinId;
use twin_core::numbers::{Boot, Seq, Stay, Version};
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::value::Value;
use twin_transports::codec::{UplinkFrame, decode, decode_uplink, encode};
use twin_transports::frames::batch::StateBatch;
use twin_transports::frames::incoming::IncomingBatch;
use twin_transports::intern::{InternError, InternReceiver, PushError, Received, ReceivedState, StateBatcher};
use twin_transports::limits::{
    FRAME_BYTES_MAX, FRAME_HEADER_BYTES, INTERNED_BYTES_MAX, INTERNED_PATHS_MAX, INTERNED_TWINS_MAX,
};

use crate::codec::value;

fn path() -> impl Strategy<Value = Path> {
    prop::collection::vec("[a-c]{1,3}", 0..4).prop_map(Path::from_keys)
}

fn body() -> impl Strategy<Value = StateBody> {
    let op = prop_oneof![
        (path(), value()).prop_map(|(path, value)| Op::Set { path, value }),
        path().prop_map(|path| Op::Remove { path }),
        (path(), value()).prop_map(|(path, value)| Op::Replace { path, value }),
    ];
    prop_oneof![
        prop::collection::vec(op, 0..4).prop_map(StateBody::Report),
        any::<u64>().prop_map(|version| StateBody::DesiredApplied(Version::new(version))),
        (path(), any::<u64>(), ".{0,20}").prop_map(|(path, version, reason)| StateBody::DesiredRejected {
            path,
            version: Version::new(version),
            reason,
        }),
        Just(StateBody::Lost),
    ]
}

fn message() -> impl Strategy<Value = ReceivedState> {
    ("[a-z]{1,2}", any::<u64>(), any::<u32>(), 1_u64..1 << 60, 0_u64..1000, body()).prop_map(
        |(twin, boot, counter, first, more, body)| ReceivedState {
            twin: TwinId::new(&twin).unwrap(),
            stay: Stay { boot: Boot::new(boot), counter },
            first: Seq::new(first),
            last: Seq::new(first + more),
            body: body.into(),
        },
    )
}

/// Over the wire and back.
fn transferred(batch: StateBatch) -> IncomingBatch {
    let mut bytes = bytes::BytesMut::new();
    let frame = batch.clone().into();
    encode(&frame, FRAME_BYTES_MAX, &mut bytes).unwrap();
    let bytes = bytes.freeze().slice(FRAME_HEADER_BYTES..);
    // Both readers of a batch take it.
    assert_eq!(decode(&bytes).unwrap(), Some(frame));
    match decode_uplink(&bytes).unwrap() {
        Some(UplinkFrame::State(batch)) => batch,
        other => panic!("{other:?}"),
    }
}

/// With the reports taken apart, to compare them with what was sent.
fn receive(receiver: &mut InternReceiver, batch: IncomingBatch) -> Vec<ReceivedState> {
    let mut messages = receiver.receive(batch).unwrap();
    for message in &mut messages {
        if let Received::Report(report) = &message.body {
            message.body = StateBody::Report(report.unpack()).into();
        }
    }
    messages
}

fn push(batcher: &mut StateBatcher, message: &ReceivedState) -> Result<(), PushError> {
    let Received::Other(body) = &message.body else { panic!("taken apart") };
    batcher.push(&message.twin, message.stay, message.first, message.last, body)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_pushed_arrives(messages in prop::collection::vec(message(), 1..400), every in 1_usize..300) {
        let (mut batcher, mut receiver) = (StateBatcher::new(), InternReceiver::new());
        let mut arrived = Vec::new();
        for message in &messages {
            if batcher.len() == every {
                arrived.extend(receive(&mut receiver, transferred(batcher.take(None).unwrap())));
            }
            if push(&mut batcher, message) == Err(PushError::Full) {
                arrived.extend(receive(&mut receiver, transferred(batcher.take(None).unwrap())));
                push(&mut batcher, message).unwrap();
            }
        }
        if let Some(batch) = batcher.take(None) {
            arrived.extend(receive(&mut receiver, transferred(batch)));
        }
        prop_assert_eq!(arrived, messages);
    }
}

#[test]
fn a_sender_resets_before_a_table_passes_its_bound() {
    let (mut batcher, mut receiver) = (StateBatcher::new(), InternReceiver::new());
    let mut resets = 0;
    // Three times the table in twins, with long paths now and then.
    for index in 0..3 * INTERNED_TWINS_MAX {
        let path = Path::from_keys([format!("{index}-{}", "k".repeat(index % 200)), "leaf".into()]);
        let message = ReceivedState {
            twin: TwinId::new(&format!("device-{index}")).unwrap(),
            stay: Stay::default(),
            first: Seq::new(1),
            last: Seq::new(1),
            body: StateBody::Report(vec![Op::Set { path, value: Value::from(1) }]).into(),
        };
        if push(&mut batcher, &message) == Err(PushError::Full) {
            let batch = batcher.take(None).unwrap();
            resets += usize::from(batch.reset);
            drop(receive(&mut receiver, transferred(batch)));
            push(&mut batcher, &message).unwrap();
        }
    }
    assert!(resets >= 2, "{resets}");
}

#[test]
fn batches_of_large_messages_stay_below_the_frame_limit() {
    let mut batcher = StateBatcher::new();
    let text = "x".repeat(30_000);
    let mut batches = 0;
    for index in 0..200 {
        let body = StateBody::Report(vec![Op::Set { path: Path::from_keys(["t"]), value: text.as_str().into() }]);
        let twin = TwinId::new(&format!("d{index}")).unwrap();
        if batcher.push(&twin, Stay::default(), Seq::new(1), Seq::new(1), &body) == Err(PushError::Full) {
            drop(transferred(batcher.take(None).unwrap()));
            batches += 1;
            batcher.push(&twin, Stay::default(), Seq::new(1), Seq::new(1), &body).unwrap();
        }
    }
    assert!((5..=7).contains(&batches), "{batches}");
}

#[test]
fn a_message_that_fits_no_frame_is_told_and_the_batcher_goes_on() {
    let (mut batcher, mut receiver) = (StateBatcher::new(), InternReceiver::new());
    let huge = "x".repeat(FRAME_BYTES_MAX);
    let twin = TwinId::new("d").unwrap();
    let (one, path) = (Seq::new(1), Path::from_keys(["t"]));
    let body = StateBody::Report(vec![Op::Set { path: path.clone(), value: huge.as_str().into() }]);
    assert_eq!(batcher.push(&twin, Stay::default(), one, one, &body), Err(PushError::TooLarge));
    let body = StateBody::Report(vec![Op::Set { path, value: Value::from(1) }]);
    assert_eq!(batcher.push(&twin, Stay::default(), Seq::new(0), one, &body), Err(PushError::BadRange));
    batcher.push(&twin, Stay::default(), one, one, &body).unwrap();
    let arrived = receive(&mut receiver, transferred(batcher.take(None).unwrap()));
    assert_eq!(arrived[0].body, body.into());
}

#[test]
fn a_receiver_refuses_what_passes_a_bound_and_keeps_what_it_had() {
    let twin = |index: usize| TwinId::new(&format!("d{index}")).unwrap();
    let mut receiver = InternReceiver::new();
    receiver.add(false, (0..INTERNED_TWINS_MAX).map(twin).collect(), vec![]).unwrap();
    let error = receiver.add(false, vec![twin(0)], vec![]).unwrap_err();
    assert_eq!(error, InternError::TooManyTwins(INTERNED_TWINS_MAX + 1));
    assert_eq!(receiver.twin(5).unwrap(), &twin(5));
    let paths = (0..=INTERNED_PATHS_MAX).map(|index| Path::from_keys([index.to_string()])).collect();
    assert!(matches!(receiver.add(true, vec![], paths), Err(InternError::TooManyPaths(_))));
    let long = vec![Path::from_keys(["x".repeat(1024)]); INTERNED_BYTES_MAX / 1024];
    assert!(matches!(receiver.add(true, vec![], long), Err(InternError::TooManyBytes(_))));
    assert_eq!(receiver.twin(0).unwrap_err(), InternError::UnknownTwin { index: 0, known: 0 });
}
