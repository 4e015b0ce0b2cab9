//! Deltas of `desired` on their way down a session: encoded once, gathered into frames, taken by the writer.
//!
//! **Bound.** What waits is at most [`DELTAS_WAITING_BYTES`] and what one fetch brings; where that is reached a change is only
//! noted, and fetched once there is room (see [`super::downlink`]).

use std::collections::VecDeque;

use bytes::{BufMut, BytesMut};
use serde::Serialize;
use twin_core::ids::TwinId;
use twin_core::numbers::{OwnerOrder, Version};
use twin_core::op::Op;

use crate::codec::pack;
use crate::limits::{DELTA_BYTES_MAX, DELTAS_WAITING_BYTES, DESIRED_ITEMS_MAX, WRITE_BYTES};

/// Kind of [`Desired`](crate::frames::device::Desired) on the wire, see [`Frame`](crate::codec::Frame).
const DESIRED_KIND: u64 = 22;
/// Kind of [`DesiredMany`](crate::frames::device::DesiredMany).
const DESIRED_MANY_KIND: u64 = 26;

/// One delta: the fields of a [`Desired`](crate::frames::device::Desired).
#[derive(Clone, Copy)]
pub(super) struct Delta<'a> {
    pub(super) twin: &'a TwinId,
    pub(super) owner: OwnerOrder,
    pub(super) from: Version,
    pub(super) to: Version,
    pub(super) snapshot: bool,
    pub(super) ops: &'a [Op],
}

/// Deltas that go in one frame.
#[derive(Debug, Default)]
pub(super) struct DeltaFrame {
    /// Each encoded as a `Desired`.
    items: BytesMut,
    count: usize,
    is_many: bool,
}

impl DeltaFrame {
    /// Appends the frame's MessagePack.
    pub(super) fn write(&self, out: &mut BytesMut) {
        pack::array(out, 2);
        if self.is_many {
            pack::uint(out, DESIRED_MANY_KIND);
            pack::array(out, 1);
            pack::array(out, self.count);
        } else {
            pack::uint(out, DESIRED_KIND);
        }
        out.put_slice(&self.items);
    }
}

/// What waits for the writer, in the order in which it must arrive.
#[derive(Debug, Default)]
pub(super) struct Deltas {
    frames: VecDeque<DeltaFrame>,
    waiting_bytes: usize,
    /// The gateway takes many deltas in a frame.
    pub(super) is_many: bool,
}

impl Deltas {
    /// May changes be sent as they come, and further ones be fetched?
    pub(super) fn has_room(&self) -> bool {
        self.waiting_bytes < DELTAS_WAITING_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Appends a delta. `false`: it is larger than any frame should be, and nothing was appended.
    pub(super) fn push(&mut self, delta: &Delta<'_>) -> bool {
        let per_frame = if self.is_many { DESIRED_ITEMS_MAX } else { 1 };
        if self.frames.back().is_none_or(|last| last.count >= per_frame || last.items.len() >= WRITE_BYTES) {
            self.frames.push_back(DeltaFrame { is_many: self.is_many, ..DeltaFrame::default() });
        }
        let Some(frame) = self.frames.back_mut() else { return false };
        let before = frame.items.len();
        let Delta { twin, owner, from, to, snapshot, ops } = *delta;
        let encoded = (twin, owner, from, to, snapshot, ops)
            .serialize(&mut rmp_serde::Serializer::new((&mut frame.items).writer()))
            .is_ok();
        let size_bytes = frame.items.len() - before;
        if !encoded || size_bytes > DELTA_BYTES_MAX {
            frame.items.truncate(before);
            if frame.count == 0 {
                self.frames.pop_back();
            }
            return false;
        }
        frame.count += 1;
        self.waiting_bytes += size_bytes;
        true
    }

    /// The next frame to write.
    pub(super) fn take(&mut self) -> Option<DeltaFrame> {
        let frame = self.frames.pop_front()?;
        self.waiting_bytes -= frame.items.len();
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Frame, decode};
    use crate::frames::device::{Desired, DesiredMany};
    use twin_core::path::Path;
    use twin_core::value::Value;

    fn desired(number: u64) -> Desired {
        Desired {
            twin: TwinId::new(&format!("t-{number}")).unwrap(),
            owner: OwnerOrder { site_epoch: 1, lineage: 2, term: 3 },
            from: Version::new(number),
            to: Version::new(number + 1),
            snapshot: number.is_multiple_of(2),
            ops: vec![Op::Set { path: Path::from_keys(["price"]), value: Value::from(2.5) }],
        }
    }

    fn push(deltas: &mut Deltas, desired: &Desired) -> bool {
        let Desired { twin, owner, from, to, snapshot, ops } = desired;
        deltas.push(&Delta { twin, owner: *owner, from: *from, to: *to, snapshot: *snapshot, ops })
    }

    fn frames(deltas: &mut Deltas) -> Vec<Frame> {
        let read = |frame: DeltaFrame| {
            let mut out = BytesMut::new();
            frame.write(&mut out);
            decode(&out).unwrap().unwrap()
        };
        std::iter::from_fn(|| deltas.take()).map(read).collect()
    }

    #[test]
    fn many_deltas_are_few_frames_and_read_back_in_their_order() {
        let mut deltas = Deltas { is_many: true, ..Deltas::default() };
        let all: Vec<Desired> = (0..1000).map(desired).collect();
        assert!(all.iter().all(|one| push(&mut deltas, one)));
        let frames = frames(&mut deltas);
        assert!(frames.len() <= 5, "{}", frames.len());
        let read: Vec<Desired> = frames
            .into_iter()
            .flat_map(|frame| match frame {
                Frame::DesiredMany(DesiredMany { items }) => items,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(read, all);
        assert!(deltas.is_empty() && deltas.waiting_bytes == 0);
    }

    #[test]
    fn a_gateway_that_takes_one_at_a_time_gets_one_at_a_time() {
        let mut deltas = Deltas::default();
        assert!((0..3).all(|number| push(&mut deltas, &desired(number))));
        assert_eq!(frames(&mut deltas), (0..3).map(|number| desired(number).into()).collect::<Vec<Frame>>());
    }

    #[test]
    fn what_is_too_large_leaves_nothing_behind() {
        let mut deltas = Deltas { is_many: true, ..Deltas::default() };
        let text = Value::String("x".repeat(DELTA_BYTES_MAX).into());
        let large = Desired { ops: vec![Op::Set { path: Path::from_keys(["x"]), value: text }], ..desired(1) };
        assert!(!push(&mut deltas, &large));
        assert!(deltas.is_empty());
        assert!(push(&mut deltas, &desired(2)) && !push(&mut deltas, &large) && push(&mut deltas, &desired(3)));
        assert_eq!(frames(&mut deltas), [DesiredMany { items: vec![desired(2), desired(3)] }.into()]);
    }

    #[test]
    fn it_is_full_by_bytes() {
        let mut deltas = Deltas { is_many: true, ..Deltas::default() };
        let mut number = 0;
        while deltas.has_room() {
            number += 1;
            assert!(push(&mut deltas, &desired(number)));
        }
        assert!(deltas.waiting_bytes < DELTAS_WAITING_BYTES + 100);
    }
}
