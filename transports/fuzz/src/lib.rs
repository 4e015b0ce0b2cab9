//! What the fuzzer calls with any bytes, and `cargo test` with those of the corpus: no input may panic, and what can be said in two
//! ways comes out the same.

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use rustls_pki_types::CertificateDer;
use twin_transports::auth::{Credentials, read_certificate, read_certificate_pem};
use twin_transports::codec::{
    Frame, FrameReader, UplinkFrame, decode, decode_datagram, decode_reading, decode_uplink, encode,
};
use twin_transports::intern::{InternReceiver, Received};
use twin_transports::limits::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES};

/// Takes any bytes.
pub type Body = fn(&[u8]);

/// All targets, by the names of their corpora.
pub const TARGETS: [(&str, Body); 6] = [
    ("frame", frame),
    ("stream", stream),
    ("uplink", uplink),
    ("reading", reading),
    ("credentials", credentials),
    ("certificate", certificate),
];

/// Runs one target.
pub fn run(target: &str, bytes: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    body(bytes);
}

/// One frame: what is read is written and read again as the same.
fn frame(bytes: &[u8]) {
    let _any = decode_datagram(bytes);
    if let Ok(Some(frame)) = decode(bytes) {
        stays_the_same(&frame);
    }
}

/// Compared as bytes, in which a number that is none equals itself.
fn stays_the_same(frame: &Frame) {
    let written = written(frame);
    let read = decode(&written[FRAME_HEADER_BYTES..]).expect("our own frame").expect("of a known kind");
    assert_eq!(self::written(&read), written);
}

fn written(frame: &Frame) -> BytesMut {
    let mut out = BytesMut::new();
    // Floats of four bytes become eight, and what was as long as may be is twice that.
    encode(frame, 2 * FRAME_BYTES_MAX, &mut out).expect("what is read can be written");
    out
}

/// A stream of frames with their lengths, as anybody may send it.
fn stream(bytes: &[u8]) {
    let mut reader = FrameReader::new(bytes, FRAME_BYTES_MAX);
    while let Ok(Some(_frame)) = reader.next().now_or_never().expect("bytes in memory do not keep waiting") {}
    assert!(reader.bytes() <= bytes.len() as u64);
}

/// A stream of batches with their lengths: ids, paths and reports are resolved as the node does it.
fn uplink(bytes: &[u8]) {
    let mut left = Bytes::copy_from_slice(bytes);
    let mut tables = InternReceiver::new();
    while left.len() >= FRAME_HEADER_BYTES {
        let header = left.split_to(FRAME_HEADER_BYTES);
        let length = u32::from_be_bytes(header[..].try_into().expect("four bytes")) as usize;
        let frame = left.split_to(length.min(left.len()));
        match decode_uplink(&frame) {
            Ok(Some(UplinkFrame::State(batch))) => {
                let Ok(messages) = tables.receive(batch) else { return };
                for message in messages {
                    assert!(message.first <= message.last);
                    if let Received::Report(report) = message.body {
                        assert!(report.unpack().len() <= report.size_bytes());
                    }
                }
            }
            Ok(Some(UplinkFrame::Other(frame))) => stays_the_same(&frame),
            Ok(None) => {}
            Err(_) => return,
        }
    }
}

/// A frame on the stream of readings, and the views in it.
fn reading(bytes: &[u8]) {
    if let Ok(Some(frame)) = decode_reading(&Bytes::copy_from_slice(bytes)) {
        stays_the_same(&frame);
    }
}

/// A certificate as anybody may show it, or as an operator registers it.
fn certificate(bytes: &[u8]) {
    let _shown = read_certificate(&CertificateDer::from(bytes));
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _registered = read_certificate_pem(text);
    }
}

/// A credentials file.
fn credentials(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(credentials) = Credentials::from_json(text) {
        let written = credentials.to_json();
        assert_eq!(Credentials::from_json(&written).expect("our own text").to_json(), written);
    }
}
