//! The codec takes back what it gave, and survives everything else.

use bytes::BytesMut;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;
use twin_core::ids::TwinId;
use twin_core::numbers::{Boot, OwnerOrder, Seq, Version};
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::refusal::Refusal;
use twin_core::value::Value;
use twin_transports::codec::{
    Frame, FrameError, FrameReader, FrameWriter, decode, decode_datagram, encode, encode_datagram,
};
use twin_transports::frames::batch::{BatchAck, EventBatch, EventMessage};
use twin_transports::frames::device::{Desired, DesiredMany};
use twin_transports::frames::health::Health;
use twin_transports::frames::session::{Heartbeat, Refused};
use twin_transports::limits::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES};

pub(crate) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 52)..=1 << 52).prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        ".{0,12}".prop_map(|text| Value::from(text.as_str())),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map("[a-z]{1,6}".prop_map(String::into_boxed_str), inner, 0..6)
                .prop_map(Value::Object),
        ]
    })
}

fn twin() -> impl Strategy<Value = TwinId> {
    "[a-zA-Z0-9%#*?!(),:=@$'+_-]{1,40}".prop_map(|text| TwinId::new(&text).unwrap())
}

fn frame() -> impl Strategy<Value = Frame> {
    let event =
        (any::<u32>(), any::<u64>(), any::<u64>(), ".{0,10}", value()).prop_map(|(twin, boot, seq, name, payload)| {
            EventMessage { twin, boot: Boot::new(boot), seq: Seq::new(seq), name, payload }
        });
    let refusal = prop_oneof![
        Just(Refusal::Superseded),
        any::<u64>().prop_map(|next| Refusal::Gap { next: Seq::new(next) }),
        (".{0,20}", any::<u64>()).prop_map(|(what, retry_after_ms)| Refusal::Busy { what, retry_after_ms }),
    ];
    prop_oneof![
        (
            any::<u64>(),
            any::<bool>(),
            prop::collection::vec(twin(), 0..5),
            prop::collection::vec(event, 0..5),
            prop::option::of(".{0,60}")
        )
            .prop_map(|(batch, reset, twins, messages, trace)| EventBatch {
                batch,
                reset,
                twins,
                messages,
                trace
            }
            .into()),
        (any::<u64>(), prop::collection::vec((any::<u32>(), refusal), 0..5)).prop_map(|(batch, refused)| BatchAck {
            credit: batch / 2,
            batch,
            refused
        }
        .into()),
        (twin(), any::<[u64; 5]>(), any::<bool>(), value()).prop_map(|(twin, numbers, snapshot, value)| {
            let [site_epoch, lineage, term, from, to] = numbers;
            let ops = vec![Op::Set { path: Path::from_keys(["a", "b"]), value }, Op::Remove { path: Path::root() }];
            let owner = OwnerOrder { site_epoch, lineage, term };
            let one = Desired { twin, owner, from: Version::new(from), to: Version::new(to), snapshot, ops };
            if snapshot { one.into() } else { DesiredMany { items: vec![one.clone(), one] }.into() }
        }),
        (".{0,20}", ".{0,40}", prop::option::of(any::<u64>())).prop_map(|(code, message, retry_after_ms)| Refused {
            code,
            message,
            retry_after_ms
        }
        .into()),
    ]
}

proptest! {
    #[test]
    fn a_frame_is_read_back_as_it_was_written(frame in frame()) {
        let mut bytes = BytesMut::new();
        encode(&frame, FRAME_BYTES_MAX, &mut bytes).unwrap();
        prop_assert_eq!(decode(&bytes[FRAME_HEADER_BYTES..]).unwrap(), Some(frame));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _any = decode(&bytes);
        let _any = decode_datagram(&bytes);
    }

    #[test]
    fn a_damaged_frame_never_panics(frame in frame(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = BytesMut::new();
        encode(&frame, FRAME_BYTES_MAX, &mut bytes).unwrap();
        let mut body = bytes.split_off(FRAME_HEADER_BYTES);
        let at = at.index(body.len());
        body[at] = byte;
        if cut {
            body.truncate(at);
        }
        let _any = decode(&body);
    }

    #[test]
    fn a_truncated_frame_is_an_error(frame in frame(), at in any::<prop::sample::Index>()) {
        let mut bytes = BytesMut::new();
        encode(&frame, FRAME_BYTES_MAX, &mut bytes).unwrap();
        let body = &bytes[FRAME_HEADER_BYTES..];
        prop_assert!(decode(&body[..at.index(body.len())]).is_err());
    }

    #[test]
    fn frames_survive_any_cut_of_the_stream(frames in prop::collection::vec(frame(), 1..6), piece in 1_usize..64) {
        let mut bytes = BytesMut::new();
        for frame in &frames {
            encode(frame, FRAME_BYTES_MAX, &mut bytes).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let read = runtime.block_on(async {
            let (mut far, near) = tokio::io::duplex(piece);
            let writing = tokio::spawn(async move { far.write_all(&bytes).await });
            let mut reader = FrameReader::new(near, FRAME_BYTES_MAX);
            let mut read = Vec::new();
            while let Some(frame) = reader.next().await.unwrap() {
                read.push(frame);
            }
            writing.await.unwrap().unwrap();
            read
        });
        prop_assert_eq!(read, frames);
    }
}

#[tokio::test]
async fn a_reader_dropped_half_way_through_a_frame_loses_nothing() {
    let (far, near) = tokio::io::duplex(1024);
    let mut reader = FrameReader::new(near, FRAME_BYTES_MAX);
    let frame = Frame::from(BatchAck { batch: 7, refused: vec![], credit: 0 });
    let mut bytes = BytesMut::new();
    encode(&frame, FRAME_BYTES_MAX, &mut bytes).unwrap();
    let mut far = far;
    for byte in &bytes[..bytes.len() - 1] {
        far.write_all(&[*byte]).await.unwrap();
        let read = tokio::time::timeout(std::time::Duration::from_millis(1), reader.next()).await;
        assert!(read.is_err());
    }
    far.write_all(&bytes[bytes.len() - 1..]).await.unwrap();
    assert_eq!(reader.next().await.unwrap(), Some(frame));
}

#[tokio::test]
async fn a_claim_is_refused_before_anything_is_read_for_it() {
    let (mut far, near) = tokio::io::duplex(64);
    far.write_all(&[0xff, 0xff, 0xff, 0xff]).await.unwrap();
    let error = FrameReader::new(near, FRAME_BYTES_MAX).next().await.unwrap_err();
    assert!(
        matches!(error, FrameError::TooLong { claimed_bytes: 0xffff_ffff, limit_bytes: FRAME_BYTES_MAX }),
        "{error}"
    );
}

#[tokio::test]
async fn a_frame_longer_than_the_limit_is_not_written_and_the_writer_goes_on() {
    let (far, near) = tokio::io::duplex(4096);
    let mut writer = FrameWriter::new(far, 200);
    let long = Refused { code: "x".repeat(300), message: String::new(), retry_after_ms: None };
    let short = Frame::from(BatchAck { batch: 1, refused: vec![], credit: 0 });
    writer.put(&short).unwrap();
    assert!(matches!(writer.put(&long.into()), Err(FrameError::TooLong { .. })));
    writer.put(&short).unwrap();
    writer.flush().await.unwrap();
    drop(writer);
    let mut reader = FrameReader::new(near, 200);
    assert_eq!(reader.next().await.unwrap(), Some(short.clone()));
    assert_eq!(reader.next().await.unwrap(), Some(short));
    assert_eq!(reader.next().await.unwrap(), None);
}

#[test]
fn a_heartbeat_is_one_small_datagram() {
    let heartbeat = Heartbeat {
        number: u64::MAX,
        uptime_ms: u64::MAX,
        backlog_messages: u64::MAX,
        backlog_bytes: u64::MAX,
        backlog_bytes_max: u64::MAX,
        dead_letters: u64::MAX,
        devices: u64::MAX,
        health: Health {
            oldest_message_ms: Some(u64::MAX),
            load_hundredths: Some(u32::MAX),
            cpus: Some(u16::MAX),
            round_trip_us: Some(u32::MAX),
            packets_sent: Some(u64::MAX),
            packets_lost: Some(u64::MAX),
            rssi_dbm: Some(i16::MIN),
            battery_percent: Some(u8::MAX),
            on_battery: Some(true),
        },
    };
    let bytes = encode_datagram(&heartbeat);
    assert!(bytes.len() <= 128, "{}", bytes.len());
    assert_eq!(decode_datagram(&bytes).unwrap(), Some(heartbeat));
}
