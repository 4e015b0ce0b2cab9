//! The fuzzer's corpus goes through the fuzzer's functions, without the fuzzer.

use bytes::BytesMut;
use twin_core::command::StateBody;
use twin_core::ids::{GatewayName, SiteId, TwinId};
use twin_core::numbers::{AttachmentNo, Boot, CallNo, OwnerOrder, Seq, Stay, Version};
use twin_core::op::Op;
use twin_core::refusal::Refusal;
use twin_core::value::Value;
use twin_fuzz_corpus::Corpus;
use twin_transports::auth::{Credentials, GatewaySecret, Identity};
use twin_transports::codec::{Frame, encode, encode_datagram};
use twin_transports::frames::batch::{BatchAck, EventBatch, EventMessage};
use twin_transports::frames::device::{Attach, AttachItem, Call, CallOutcome, CallResult, Desired, DesiredMany};
use twin_transports::frames::readings::{Get, Views};
use twin_transports::frames::session::{Challenge, Credit, Heartbeat, Open, Proof, StreamClass};
use twin_transports::limits::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES};
use twin_transports::refuse::SessionRefusal;
use twin_transports::tls::{NodeCertificates, SERVER_NAME};

use crate::batcher::StateBatcher;
use crate::gateway::hello;

#[path = "../../fuzz/src/lib.rs"]
#[allow(dead_code, unreachable_pub, reason = "a crate of its own to the fuzzer, which calls by name")]
mod fuzz;

fn corpus() -> Corpus {
    Corpus::of(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_file_of_the_corpus_passes_its_target() {
    corpus().pass(&fuzz::TARGETS);
}

fn credentials() -> Credentials {
    let dir = tempfile::tempdir().unwrap();
    Credentials {
        site: SiteId::new("store-1").unwrap(),
        name: GatewayName::new("gw-1").unwrap(),
        product_key: "label".into(),
        identity: Identity::Secret(GatewaySecret::from_bytes(&[7; 32]).unwrap()),
        ca: NodeCertificates::load_or_create(dir.path(), SERVER_NAME, &[]).unwrap().ca_pem(),
        server_name: SERVER_NAME.to_owned(),
        file: None,
    }
}

fn frames() -> Vec<Frame> {
    let twin = TwinId::new("label-7").unwrap();
    let (owner, call) = (OwnerOrder { site_epoch: 1, lineage: 2, term: 3 }, CallNo::new(9));
    let payload = Value::Array(vec![Value::Null, 2.5.into(), "text".into(), Value::empty_object()]);
    let path = twin_core::path::Path::from_keys(["show", "price"]);
    let ops = vec![Op::Set { path: path.clone(), value: 1.5.into() }, Op::Remove { path }];
    let desired =
        Desired { twin: twin.clone(), owner, from: Version::new(1), to: Version::new(2), snapshot: false, ops };
    let stay = Stay { boot: Boot::new(1), counter: 2 };
    let item = AttachItem { twin: twin.clone(), stay, saw: AttachmentNo::new(0), knows: Version::new(0) };
    let (boot, seq) = (Boot::new(1), Seq::new(1));
    let event = EventMessage { twin: 0, boot, seq, name: "button".into(), payload: payload.clone() };
    let answered = CallOutcome::Answered { status: 200, payload: payload.clone() };
    vec![
        Open { class: StreamClass::State }.into(),
        hello(&credentials()).into(),
        Challenge { nonce: [3; 32] }.into(),
        Proof { signature: vec![4; 64] }.into(),
        SessionRefusal::bad_credential().to_frame().into(),
        Attach { request: 1, items: vec![item], urgent: false }.into(),
        DesiredMany { items: vec![desired.clone(), desired.clone()] }.into(),
        desired.into(),
        Call { twin: twin.clone(), owner, call, method: "blink".into(), payload, timeout_ms: 1 }.into(),
        CallResult { twin: twin.clone(), call, outcome: answered }.into(),
        EventBatch { batch: 1, reset: true, twins: vec![twin.clone()], messages: vec![event], trace: None }.into(),
        BatchAck { batch: 1, refused: vec![(0, Refusal::Superseded), (1, Refusal::Gap { next: seq })], credit: 9 }
            .into(),
        Credit { total: 10 }.into(),
        Get { request: 1, twins: vec![twin] }.into(),
        Views { request: 1, first: 0, results: vec![Ok("view".into()), Err(Refusal::Superseded)] }.into(),
    ]
}

#[test]
#[ignore = "writes the corpus, from frames as both sides send them"]
fn the_corpus_is_written() {
    let write = |target: &str, name: &str, bytes: &[u8]| corpus().write(target, name, bytes);
    let mut stream = BytesMut::new();
    for frame in frames() {
        let from = stream.len();
        encode(&frame, FRAME_BYTES_MAX, &mut stream).unwrap();
        let bytes = &stream[from + FRAME_HEADER_BYTES..];
        let name = frame.kind_name().to_lowercase();
        write("frame", &name, bytes);
        if matches!(frame, Frame::Get(_) | Frame::Views(_)) {
            write("reading", &name, bytes);
        }
    }
    write("stream", "conversation", &stream);
    write("stream", "claims-4-gb", &[0xff, 0xff, 0xff, 0xff, 0x92]);
    write("frame", "heartbeat", &encode_datagram(&Heartbeat { number: 1, uptime_ms: 2, ..Heartbeat::default() }));
    write("frame", "future-kind", &[0x93, 99, 0xa1, b'x', 0xc0]);
    write("frame", "claims-4-g-elements", &[0x92, 32, 0xdd, 0xff, 0xff, 0xff, 0xff]);
    let mut batcher = StateBatcher::new();
    let mut uplink = BytesMut::new();
    for round in 1..4 {
        for device in 0..3 {
            let twin = TwinId::new(&format!("label-{device}")).unwrap();
            let path = twin_core::path::Path::from_keys(["environment", "temperature"]);
            let body = match round {
                3 => StateBody::DesiredApplied(Version::new(2)),
                _ => StateBody::Report(vec![Op::Set { path, value: (round * 10).into() }]),
            };
            let stay = Stay { boot: Boot::new(1), counter: 1 };
            batcher.push(&twin, stay, Seq::new(round as u64), Seq::new(round as u64), &body).unwrap();
        }
        encode(&batcher.take(None).unwrap().into(), FRAME_BYTES_MAX, &mut uplink).unwrap();
        write("uplink", &format!("batches-{round}"), &uplink);
    }
    for (name, algorithm) in [("p-256", &rcgen::PKCS_ECDSA_P256_SHA256), ("ed25519", &rcgen::PKCS_ED25519)] {
        let mut params = rcgen::CertificateParams::new(vec!["gateway".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2030, 5, 6);
        let made = params.self_signed(&rcgen::KeyPair::generate_for(algorithm).unwrap()).unwrap();
        write("certificate", name, made.der());
        write("certificate", &format!("{name}.pem"), made.pem().as_bytes());
    }
    write("credentials", "gateway", credentials().to_json().as_bytes());
}
