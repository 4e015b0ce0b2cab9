//! Readings of twins, on a stream of their own: what is written and read by hand, because views are many and stay the bytes
//! that they are, from the twin's rows to the application's hands.

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Deserialize;
use twin_core::ids::TwinId;
use twin_core::msgpack::{Item, Malformed, Reader};
use twin_core::record;
use twin_core::refusal::Refusal;

use super::record::{BadRecord, fields, skip};
use crate::codec::{FrameError, pack};
use crate::limits::{FRAME_DEPTH_MAX, READ_TWINS_MAX};

/// Kinds of the frames here, see [`Frame`](crate::codec::Frame).
pub(crate) const GET_KIND: u64 = 26;
/// See [`GET_KIND`].
pub(crate) const VIEWS_KIND: u64 = 27;

record! {
    /// Gateway to node: read these twins. Answered by [`Views`].
    #[derive(Clone, Debug, PartialEq)]
    pub struct Get {
        /// Chosen by the gateway.
        pub request: u64,
        /// Twins of the session's site; at most [`READ_TWINS_MAX`].
        pub twins: Vec<TwinId>,
    }
}

record! {
    /// Node to gateway: linearizable readings. A request is answered by one frame or by several, in the order of its twins.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Views {
        /// The request answered.
        pub request: u64,
        /// Place in the request of the first twin answered here.
        pub first: u32,
        /// For each twin a [`TwinView`](twin_core::view::TwinView), or why there is none.
        pub results: Vec<Result<Bytes, Refusal>>,
    }
}

/// What an answer that was read stands for on the wire: `{"Ok": bytes}`, as serde writes it.
const OK: [u8; 4] = [0x81, 0xa2, b'O', b'k'];

/// Appends a [`Get`] as a frame's MessagePack.
pub fn write_get(out: &mut BytesMut, request: u64, twins: &[TwinId]) {
    pack::array(out, 2);
    pack::uint(out, GET_KIND);
    pack::array(out, 2);
    pack::uint(out, request);
    pack::array(out, twins.len());
    for twin in twins {
        pack::text(out, twin.as_str());
    }
}

/// Appends a [`Views`] as a frame's MessagePack.
pub fn write_views(out: &mut BytesMut, request: u64, first: u32, results: &[Result<Bytes, Refusal>]) {
    pack::array(out, 2);
    pack::uint(out, VIEWS_KIND);
    pack::array(out, 3);
    pack::uint(out, request);
    pack::uint(out, u64::from(first));
    pack::array(out, results.len());
    for result in results {
        match result {
            Ok(view) => {
                out.put_slice(&OK);
                pack::binary(out, view);
            }
            Err(refusal) => {
                if let Err(error) = rmp_serde::encode::write(&mut (&mut *out).writer(), &Err::<(), _>(refusal)) {
                    unreachable!("plain records always encode to memory: {error}");
                }
            }
        }
    }
}

/// About what the answer to one twin takes in a frame.
pub fn result_bytes(result: &Result<Bytes, Refusal>) -> usize {
    match result {
        Ok(view) => OK.len() + 5 + view.len(),
        // Clipped, see `server/clip.rs`: three texts at most.
        Err(_) => 4 * 1024,
    }
}

/// Reads the body of a [`Get`], without its kind; says how many bytes it took, too.
pub(crate) fn read_get(body: &[u8]) -> Result<(Get, usize), FrameError> {
    let read = || {
        let mut reader = Reader::new(body);
        let fields = fields(&mut reader, 2, "Get")?;
        let request = reader.unsigned()?;
        let count = reader.array()?;
        if count > READ_TWINS_MAX {
            return Err(Wrong::TooMany(count));
        }
        let mut twins = Vec::with_capacity(count);
        for _ in 0..count {
            let text = std::str::from_utf8(reader.text()?).map_err(|_| Malformed::Expected("a twin id in UTF-8"))?;
            twins.push(TwinId::new(text)?);
        }
        skip(&mut reader, fields - 2)?;
        Ok((Get { request, twins }, reader.at()))
    };
    read().map_err(|wrong: Wrong| FrameError::malformed(format!("body of kind {GET_KIND}: {wrong}")))
}

/// Reads the body of a [`Views`], whose views stay the frame's bytes; says how many bytes it took, too.
pub(crate) fn read_views(body: &Bytes) -> Result<(Views, usize), FrameError> {
    let read = || {
        let mut reader = Reader::new(body);
        let fields = fields(&mut reader, 3, "Views")?;
        let request = reader.unsigned()?;
        let first = u32::try_from(reader.unsigned()?).map_err(|_| Malformed::Expected("a number of 32 bits"))?;
        let count = reader.array()?;
        if count > READ_TWINS_MAX {
            return Err(Wrong::TooMany(count));
        }
        let mut results = Vec::with_capacity(count);
        for _ in 0..count {
            results.push(if reader.pass(&OK) {
                match reader.next_item()? {
                    Item::Binary(view) => Ok(body.slice_ref(view)),
                    _ => return Err(Malformed::Expected("the bytes of a view").into()),
                }
            } else {
                let mut deserializer = rmp_serde::Deserializer::from_read_ref(reader.raw()?);
                deserializer.set_max_depth(FRAME_DEPTH_MAX + 1);
                Result::<Bytes, Refusal>::deserialize(&mut deserializer)?
            });
        }
        skip(&mut reader, fields - 3)?;
        Ok((Views { request, first, results }, reader.at()))
    };
    read().map_err(|wrong: Wrong| FrameError::malformed(format!("body of kind {VIEWS_KIND}: {wrong}")))
}

#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("{0}")]
    Id(#[from] twin_core::ids::IdError),
    #[error("{0}")]
    Serde(#[from] rmp_serde::decode::Error),
    #[error(transparent)]
    Record(#[from] BadRecord),
    #[error("{0} twins, the limit is {READ_TWINS_MAX}")]
    TooMany(usize),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Frame, decode, decode_reading, encode};
    use crate::limits::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES};

    fn by_serde(frame: impl Into<Frame>) -> Bytes {
        let mut out = BytesMut::new();
        encode(&frame.into(), FRAME_BYTES_MAX, &mut out).unwrap();
        out.freeze().slice(FRAME_HEADER_BYTES..)
    }

    fn get(twins: usize) -> Get {
        Get { request: 300, twins: (0..twins).map(|n| TwinId::new(&format!("esl-{n}")).unwrap()).collect() }
    }

    fn views() -> Views {
        let refusal = Refusal::Busy { what: "the memory for readings".into(), retry_after_ms: 10 };
        let results = [0, 1, 300, 70_000].map(|length| Ok(Bytes::from(vec![7; length])));
        let results = results.into_iter().chain([Err(refusal), Err(Refusal::NotAttached)]).collect();
        Views { request: 1, first: 200, results }
    }

    #[test]
    fn what_is_written_and_read_by_hand_is_what_serde_writes_and_reads() {
        let (get, views) = (get(20), views());
        let mut out = BytesMut::new();
        write_get(&mut out, get.request, &get.twins);
        assert_eq!(out, by_serde(get.clone()));
        assert_eq!(decode(&out).unwrap(), Some(Frame::Get(get.clone())));
        assert_eq!(decode_reading(&out.freeze()).unwrap(), Some(Frame::Get(get)));
        let mut out = BytesMut::new();
        write_views(&mut out, views.request, views.first, &views.results);
        assert_eq!(out, by_serde(views.clone()));
        assert_eq!(decode(&out).unwrap(), Some(Frame::Views(views.clone())));
        assert_eq!(decode_reading(&out.freeze()).unwrap(), Some(Frame::Views(views)));
    }

    #[test]
    fn views_are_the_bytes_of_the_frame_not_copies() {
        let frame = by_serde(views());
        let Some(Frame::Views(read)) = decode_reading(&frame).unwrap() else { panic!("no views") };
        let inside = frame.as_ptr_range();
        assert!(read.results.iter().flatten().skip(1).all(|view| inside.contains(&view.as_ptr())));
    }

    #[test]
    fn too_many_twins_and_what_is_no_id_are_refused() {
        let mut out = BytesMut::new();
        write_get(&mut out, 1, &get(READ_TWINS_MAX + 1).twins);
        assert!(decode_reading(&out.freeze()).unwrap_err().to_string().contains("257 twins"));
        for (what, id) in [("not allowed", &b"a b"[..]), ("UTF-8", b"\xff"), ("1 to 128", b"")] {
            let bytes = [&[0x92, 26, 0x92, 1, 0x91, 0xa0 | id.len() as u8][..], id].concat();
            let error = decode_reading(&bytes.into()).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn what_a_newer_release_adds_is_skipped_and_what_is_cut_is_refused() {
        let frame = by_serde(views());
        let mut more = frame.to_vec();
        more[2] += 1;
        more.extend_from_slice(&[0x91, 0xc0]);
        assert_eq!(decode_reading(&more.into()).unwrap(), Some(Frame::Views(views())));
        for length in 0..frame.len() {
            if length < 50 || length + 50 > frame.len() {
                assert!(decode_reading(&frame.slice(..length)).is_err(), "{length}");
            }
        }
        assert_eq!(decode_reading(&Bytes::from_static(&[0x92, 0x7f, 0x90])).unwrap(), None);
    }
}
