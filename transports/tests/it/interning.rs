//! Both ends of interning agree, whatever is sent.

use proptest::prelude::*;
use twin_core::command::StateBody;
use twin_core::ids::TwinId;
use twin_core::numbers::{Boot, Seq, Stay, Version};
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::value::Value;
use twin_transports::codec::{Frame, FrameWriter, UplinkFrame, decode, decode_uplink, encode};
use twin_transports::frames::batch::{StateBatch, WireBody, WireOp};
use twin_transports::frames::incoming::IncomingBatch;
use twin_transports::frames::session::StreamClass;
use twin_transports::intern::{InternError, InternReceiver, PushError, Received, ReceivedState, Splicer, Stamp};
use twin_transports::limits::{
    FRAME_BYTES_MAX, FRAME_HEADER_BYTES, INTERNED_BYTES_MAX, INTERNED_PATHS_MAX, INTERNED_TWINS_MAX,
};

use crate::batcher::StateBatcher;
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

/// What a [`Splicer`] has written, as the receiver reads it.
fn spliced(splicer: &mut Splicer) -> IncomingBatch {
    let mut writer = FrameWriter::new(std::io::Cursor::new(Vec::new()), FRAME_BYTES_MAX);
    let taken = splicer.take(None).unwrap();
    let mut bytes = bytes::BytesMut::new();
    taken.write(&mut bytes);
    writer.put_encoded(|out| taken.write(out)).unwrap();
    assert_eq!(writer.pending_bytes(), bytes.len() + FRAME_HEADER_BYTES);
    match decode(&bytes).unwrap() {
        Some(Frame::StateBatch(batch)) => {
            assert_eq!(batch.batch, taken.number());
            let mut again = bytes::BytesMut::new();
            encode(&batch.clone().into(), FRAME_BYTES_MAX, &mut again).unwrap();
            assert_eq!(again[FRAME_HEADER_BYTES..], bytes, "as serde writes it");
        }
        other => panic!("{other:?}"),
    }
    match decode_uplink(&bytes.freeze()).unwrap() {
        Some(UplinkFrame::State(batch)) => batch,
        other => panic!("{other:?}"),
    }
}

/// A sender that keeps bodies encoded, with a dictionary of its own that has room for so many paths.
struct Keeper {
    splicer: Splicer,
    dictionary: Vec<Path>,
    room: usize,
    twins: Vec<TwinId>,
}

impl Keeper {
    fn new(room: usize) -> Self {
        Self { splicer: Splicer::new(StreamClass::State), dictionary: Vec::new(), room, twins: Vec::new() }
    }

    fn index(&mut self, path: &Path) -> Option<u32> {
        let known = self.dictionary.iter().position(|known| known == path);
        if known.is_none() && self.dictionary.len() < self.room {
            self.dictionary.push(path.clone());
            return Some(self.dictionary.len() as u32 - 1);
        }
        known.map(|index| index as u32)
    }

    /// The body with the dictionary's indexes, and how much of it that needs; `None`: it has no room for a path.
    fn keep(&mut self, body: &StateBody) -> Option<(WireBody, usize)> {
        let body = match body {
            StateBody::Report(ops) => {
                let mut kept = Vec::new();
                for op in ops {
                    let index = self.index(op.path())?;
                    let wire = match op {
                        Op::Set { value, .. } => WireOp::Set(value.clone()),
                        Op::Remove { .. } => WireOp::Remove,
                        Op::Replace { value, .. } => WireOp::Replace(value.clone()),
                    };
                    kept.push((index, wire));
                }
                WireBody::Report(kept)
            }
            StateBody::DesiredApplied(version) => WireBody::DesiredApplied(*version),
            StateBody::DesiredRejected { path, version, reason } => {
                WireBody::DesiredRejected(self.index(path)?, *version, reason.clone())
            }
            StateBody::Lost => WireBody::Lost,
        };
        let needed = match &body {
            WireBody::Report(ops) => ops.iter().map(|(index, _)| *index as usize + 1).max().unwrap_or(0),
            WireBody::DesiredRejected(index, ..) => *index as usize + 1,
            WireBody::DesiredApplied(_) | WireBody::Lost | WireBody::Alarm(_) => 0,
        };
        Some((body, needed))
    }

    fn push(&mut self, message: &ReceivedState) -> Result<(), PushError> {
        let slot = self.twins.iter().position(|twin| *twin == message.twin).unwrap_or_else(|| {
            self.twins.push(message.twin.clone());
            self.twins.len() - 1
        });
        let Received::Other(said) = &message.body else { panic!("taken apart") };
        let kept = self.keep(said);
        let ReceivedState { twin, stay, first, last, .. } = message;
        let stamp = Stamp { slot: slot as u32, twin, stay: *stay, first: *first, last: *last };
        match kept {
            Some((kept, needed)) => {
                self.splicer.push(&stamp, &rmp_serde::to_vec(&kept).unwrap(), &self.dictionary[..needed])
            }
            None => self.splicer.push_translated(&stamp, said, &self.dictionary),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_spliced_arrives_with_room_in_the_dictionary_and_without(
        messages in prop::collection::vec(message(), 1..400),
        every in 1_usize..300,
        room in 0_usize..60,
    ) {
        let (mut keeper, mut receiver) = (Keeper::new(room), InternReceiver::new());
        let mut arrived = Vec::new();
        for message in &messages {
            if keeper.splicer.len() == every {
                arrived.extend(receive(&mut receiver, spliced(&mut keeper.splicer)));
            }
            if keeper.push(message) == Err(PushError::Full) {
                arrived.extend(receive(&mut receiver, spliced(&mut keeper.splicer)));
                keeper.push(message).unwrap();
            }
        }
        if !keeper.splicer.is_empty() {
            arrived.extend(receive(&mut receiver, spliced(&mut keeper.splicer)));
        }
        prop_assert_eq!(arrived, messages);
    }
}

#[test]
fn a_splicer_resets_before_a_table_passes_its_bound() {
    let (mut splicer, mut receiver) = (Splicer::new(StreamClass::State), InternReceiver::new());
    let dictionary: Vec<Path> =
        (0..1000).map(|index| Path::from_keys([format!("{index}-{}", "k".repeat(90))])).collect();
    let body = rmp_serde::to_vec(&WireBody::Report(vec![(999, WireOp::Remove)])).unwrap();
    let (mut resets, mut messages) = (0, 0);
    for index in 0..3 * INTERNED_TWINS_MAX {
        let twin = TwinId::new(&format!("device-{index}-{}", "x".repeat(index % 100))).unwrap();
        let one = Seq::new(1);
        let stamp = Stamp { slot: index as u32, twin: &twin, stay: Stay::default(), first: one, last: one };
        // Now and then one whose path the dictionary has no room for.
        let extra = Path::from_keys([index.to_string()]);
        let other = StateBody::Report(vec![Op::Remove { path: extra.clone() }]);
        let push = |splicer: &mut Splicer| {
            if index % 3 == 0 {
                splicer.push_translated(&stamp, &other, &dictionary)
            } else {
                splicer.push(&stamp, &body, &dictionary)
            }
        };
        if push(&mut splicer) == Err(PushError::Full) {
            let batch = spliced(&mut splicer);
            resets += usize::from(batch.reset);
            messages += receive(&mut receiver, batch).len();
            push(&mut splicer).unwrap();
        }
    }
    assert!(resets >= 2, "{resets}");
    assert_eq!(messages + splicer.len(), 3 * INTERNED_TWINS_MAX);
}

#[test]
fn a_spliced_message_that_fits_no_frame_is_told_and_a_batch_stays_below_the_limit() {
    let (mut splicer, mut receiver) = (Splicer::new(StreamClass::State), InternReceiver::new());
    let twin = TwinId::new("d").unwrap();
    let stamp =
        |first| Stamp { slot: 0, twin: &twin, stay: Stay::default(), first: Seq::new(first), last: Seq::new(1) };
    let path = [Path::from_keys(["t"])];
    let body = |bytes: usize| {
        let text = Value::from("x".repeat(bytes).as_str());
        rmp_serde::to_vec(&WireBody::Report(vec![(0, WireOp::Set(text))])).unwrap()
    };
    assert_eq!(splicer.push(&stamp(1), &body(FRAME_BYTES_MAX), &path), Err(PushError::TooLarge));
    assert_eq!(splicer.push(&stamp(0), &body(1), &path), Err(PushError::BadRange));
    assert_eq!(splicer.push(&stamp(2), &body(1), &path), Err(PushError::BadRange));
    let large = body(30_000);
    let mut batches = 0;
    for _ in 0..200 {
        if splicer.push(&stamp(1), &large, &path) == Err(PushError::Full) {
            drop(receive(&mut receiver, spliced(&mut splicer)));
            batches += 1;
            splicer.push(&stamp(1), &large, &path).unwrap();
        }
    }
    assert!((5..=7).contains(&batches), "{batches}");
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
