//! Batches of bodies that are encoded already.
//!
//! Whoever keeps messages for long keeps their bodies in the form that goes on the wire, and only copies them into a batch. For
//! that a body's path indexes must mean the same on every stream: the sender has a dictionary of paths that only grows, and a
//! stream's table of paths begins with as much of it as the stream's bodies use, in its order. Bodies with paths that the
//! dictionary has no room for are translated, with entries after all of the dictionary's ([`Splicer::push_translated`]).

use std::collections::HashMap;

use bytes::BufMut;
use twin_core::command::StateBody;
use twin_core::ids::TwinId;
use twin_core::numbers::{Seq, Stay};
use twin_core::path::Path;

use super::size::{BATCH_BYTES, MESSAGE_BYTES, path_weight_bytes, twin_weight_bytes};
use crate::codec::pack;
use crate::frames::batch::{WireBody, WireOp};
use crate::frames::session::StreamClass;
use crate::limits::{BATCH_MESSAGES_MAX, FRAME_BYTES_MAX, INTERNED_BYTES_MAX, INTERNED_PATHS_MAX, INTERNED_TWINS_MAX};

/// Why a message is not in the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The batch is full: take it, send it, and push the message again.
    #[error("the batch is full: take it and push the message again")]
    Full,
    /// The message fits no frame, even alone.
    #[error("the message needs more than a frame's {FRAME_BYTES_MAX} bytes; split it")]
    TooLarge,
    /// `last` is before `first`, or `first` is 0.
    #[error("numbers begin at 1 and a range does not end before it begins")]
    BadRange,
}

/// Whose message it is, and its numbers.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// The sender's own number for the twin: small, dense, the same for as long as the stream lives.
    pub slot: u32,
    /// The twin.
    pub twin: &'a TwinId,
    /// The stay that stamped it; of an event only the boot counts.
    pub stay: Stay,
    /// First number covered.
    pub first: Seq,
    /// Last number covered; of an event the same.
    pub last: Seq,
}

/// Makes the batches of one stream. A new stream needs a new one: tables and batch numbers begin anew.
#[derive(Debug)]
pub struct Splicer {
    class: StreamClass,
    sent: u64,
    count: usize,
    /// The batch's messages, encoded.
    messages: Vec<u8>,
    /// Index + 1 of a slot's twin in the stream's table.
    slots: Vec<u32>,
    twins: usize,
    /// How much of the dictionary the stream's table of paths begins with.
    defined: usize,
    /// Paths after those. **Invariant:** while there are any, no more of the dictionary can be defined.
    extra: HashMap<Path, u32>,
    weight_bytes: usize,
    reset: bool,
    added_twins: Vec<TwinId>,
    added_paths: Vec<Path>,
    added_bytes: usize,
}

/// What must be added to the tables for a message.
struct Additions {
    new_twin: bool,
    weight_bytes: usize,
}

impl Splicer {
    /// For a new stream of this class: [`StreamClass::State`], [`StreamClass::Alarms`] or [`StreamClass::Telemetry`].
    pub fn new(class: StreamClass) -> Self {
        Self {
            class,
            sent: 0,
            count: 0,
            messages: Vec::new(),
            slots: Vec::new(),
            twins: 0,
            defined: 0,
            extra: HashMap::new(),
            weight_bytes: 0,
            reset: false,
            added_twins: Vec::new(),
            added_paths: Vec::new(),
            added_bytes: 0,
        }
    }

    /// Messages in the batch so far.
    pub fn len(&self) -> usize {
        self.count
    }

    /// No messages yet?
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a message whose body is encoded: a [`WireBody`], or an event's name and payload one after the other. `dictionary`
    /// is the beginning of the sender's dictionary that the body's indexes point into.
    pub fn push(&mut self, stamp: &Stamp<'_>, body: &[u8], dictionary: &[Path]) -> Result<(), PushError> {
        check_range(stamp)?;
        let additions = self.make_room(stamp, dictionary, &[], MESSAGE_BYTES + body.len())?;
        self.add(stamp, dictionary, &additions);
        self.write(stamp, body);
        Ok(())
    }

    /// Adds a message whose body has paths that are not in the dictionary. `dictionary` is all of it.
    pub fn push_translated(
        &mut self,
        stamp: &Stamp<'_>,
        body: &StateBody,
        dictionary: &[Path],
    ) -> Result<(), PushError> {
        check_range(stamp)?;
        let paths = paths_of(body);
        // An upper bound: the largest index takes five bytes.
        let bytes = MESSAGE_BYTES + encoded(body, |_| u32::MAX).len();
        let additions = self.make_room(stamp, dictionary, &paths, bytes)?;
        self.add(stamp, dictionary, &additions);
        for path in paths {
            let next = (self.defined + self.extra.len()) as u32;
            if !self.extra.contains_key(path) {
                self.extra.insert(path.clone(), next);
                self.added_paths.push(path.clone());
            }
        }
        let body = encoded(body, |path| self.extra[path]);
        self.write(stamp, &body);
        Ok(())
    }

    /// Writes the batch as a frame's MessagePack, if it has any message; returns its number. Acks name the number; refusals
    /// name messages by the order of their pushes.
    pub fn take(&mut self, trace: Option<&str>) -> Option<Taken<'_>> {
        if self.count == 0 {
            return None;
        }
        self.sent += 1;
        Some(Taken { trace: trace.map(str::to_owned), splicer: self })
    }

    /// Is there room for the message with all that it adds? Resets the tables for it at the beginning of a batch.
    fn make_room(
        &mut self,
        stamp: &Stamp<'_>,
        dictionary: &[Path],
        extra: &[&Path],
        bytes: usize,
    ) -> Result<Additions, PushError> {
        if self.count == BATCH_MESSAGES_MAX {
            return Err(PushError::Full);
        }
        let mut additions = self.additions(stamp, dictionary, extra);
        if additions.is_none() && self.count == 0 && (self.twins > 0 || self.defined > 0 || !self.extra.is_empty()) {
            self.reset();
            additions = self.additions(stamp, dictionary, extra);
        }
        let fits = |additions: &Additions| {
            BATCH_BYTES + self.messages.len() + bytes + self.added_bytes + additions.weight_bytes <= FRAME_BYTES_MAX
        };
        match additions {
            Some(additions) if fits(&additions) => Ok(additions),
            _ if self.count == 0 => Err(PushError::TooLarge),
            _ => Err(PushError::Full),
        }
    }

    /// `None`: the tables have no room for it.
    fn additions(&self, stamp: &Stamp<'_>, dictionary: &[Path], extra: &[&Path]) -> Option<Additions> {
        let new_twin = self.slots.get(stamp.slot as usize).is_none_or(|index| *index == 0);
        let mut weight_bytes = if new_twin { twin_weight_bytes(stamp.twin) } else { 0 };
        let new_paths = dictionary.get(self.defined..).unwrap_or_default();
        if !new_paths.is_empty() && !self.extra.is_empty() {
            return None;
        }
        let new_extra: Vec<&&Path> = extra.iter().filter(|path| !self.extra.contains_key(**path)).collect();
        weight_bytes += new_paths.iter().map(path_weight_bytes).sum::<usize>();
        weight_bytes += new_extra.iter().map(|path| path_weight_bytes(path)).sum::<usize>();
        let paths = self.defined + self.extra.len() + new_paths.len() + new_extra.len();
        let fits = self.twins + usize::from(new_twin) <= INTERNED_TWINS_MAX
            && paths <= INTERNED_PATHS_MAX
            && self.weight_bytes + weight_bytes <= INTERNED_BYTES_MAX;
        fits.then_some(Additions { new_twin, weight_bytes })
    }

    fn add(&mut self, stamp: &Stamp<'_>, dictionary: &[Path], additions: &Additions) {
        if additions.new_twin {
            let slot = stamp.slot as usize;
            if self.slots.len() <= slot {
                self.slots.resize(slot + 1, 0);
            }
            self.twins += 1;
            self.slots[slot] = self.twins as u32;
            self.added_twins.push(stamp.twin.clone());
        }
        if let Some(new @ [_, ..]) = dictionary.get(self.defined..) {
            self.added_paths.extend_from_slice(new);
            self.defined = dictionary.len();
        }
        self.weight_bytes += additions.weight_bytes;
        self.added_bytes += additions.weight_bytes;
    }

    fn write(&mut self, stamp: &Stamp<'_>, body: &[u8]) {
        let out = &mut self.messages;
        pack::array(out, 5);
        pack::uint(out, u64::from(self.slots[stamp.slot as usize] - 1));
        if self.class == StreamClass::Telemetry {
            pack::uint(out, stamp.stay.boot.get());
            pack::uint(out, stamp.first.get());
        } else {
            pack::array(out, 2);
            pack::uint(out, stamp.stay.boot.get());
            pack::uint(out, u64::from(stamp.stay.counter));
            pack::uint(out, stamp.first.get());
            pack::uint(out, stamp.last.get() - stamp.first.get());
        }
        out.extend_from_slice(body);
        self.count += 1;
    }

    /// Empties the tables, on the other side too when the batch arrives. Only at the beginning of a batch.
    fn reset(&mut self) {
        self.slots.clear();
        self.twins = 0;
        self.defined = 0;
        self.extra.clear();
        self.weight_bytes = 0;
        self.added_twins.clear();
        self.added_paths.clear();
        self.added_bytes = 0;
        self.reset = true;
    }
}

/// A batch that is ready to be written. It is over when this goes.
#[derive(Debug)]
pub struct Taken<'a> {
    splicer: &'a mut Splicer,
    trace: Option<String>,
}

impl Taken<'_> {
    /// Messages in it.
    pub fn len(&self) -> usize {
        self.splicer.count
    }

    /// Never: one without messages is not taken.
    pub fn is_empty(&self) -> bool {
        self.splicer.count == 0
    }

    /// The batch's number.
    pub fn number(&self) -> u64 {
        self.splicer.sent
    }

    /// Appends the frame's MessagePack, for [`crate::codec::FrameWriter::put_encoded`].
    pub fn write(&self, out: &mut impl BufMut) {
        let splicer = &*self.splicer;
        let state = splicer.class != StreamClass::Telemetry;
        pack::array(out, 2);
        pack::uint(out, if state { 32 } else { 33 });
        pack::array(out, if state { 6 } else { 5 });
        pack::uint(out, splicer.sent);
        pack::boolean(out, splicer.reset);
        pack::array(out, splicer.added_twins.len());
        for twin in &splicer.added_twins {
            pack::text(out, twin.as_str());
        }
        if state {
            pack::array(out, splicer.added_paths.len());
            for path in &splicer.added_paths {
                pack::array(out, path.keys().len());
                for key in path.keys() {
                    pack::text(out, key);
                }
            }
        }
        pack::array(out, splicer.count);
        out.put_slice(&splicer.messages);
        match &self.trace {
            Some(trace) => pack::text(out, trace),
            None => pack::nil(out),
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let splicer = &mut *self.splicer;
        splicer.count = 0;
        splicer.messages.clear();
        if splicer.messages.capacity() > crate::limits::KEPT_BUFFER_BYTES * 2 {
            splicer.messages = Vec::new();
        }
        splicer.reset = false;
        splicer.added_twins.clear();
        splicer.added_paths.clear();
        splicer.added_bytes = 0;
    }
}

fn check_range(stamp: &Stamp<'_>) -> Result<(), PushError> {
    if stamp.first.get() == 0 || stamp.last < stamp.first { Err(PushError::BadRange) } else { Ok(()) }
}

/// A body's paths, each once.
fn paths_of(body: &StateBody) -> Vec<&Path> {
    let mut paths: Vec<&Path> = match body {
        StateBody::Report(ops) => ops.iter().map(twin_core::op::Op::path).collect(),
        StateBody::DesiredRejected { path, .. } => vec![path],
        StateBody::DesiredApplied(_) | StateBody::Lost => Vec::new(),
    };
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// A body with these indexes for its paths.
fn encoded(body: &StateBody, index: impl Fn(&Path) -> u32) -> Vec<u8> {
    use twin_core::op::Op;
    let wire = match body {
        StateBody::Report(ops) => WireBody::Report(
            ops.iter()
                .map(|op| {
                    let wire = match op {
                        Op::Set { value, .. } => WireOp::Set(value.clone()),
                        Op::Remove { .. } => WireOp::Remove,
                        Op::Replace { value, .. } => WireOp::Replace(value.clone()),
                    };
                    (index(op.path()), wire)
                })
                .collect(),
        ),
        StateBody::DesiredApplied(version) => WireBody::DesiredApplied(*version),
        StateBody::DesiredRejected { path, version, reason } => {
            WireBody::DesiredRejected(index(path), *version, reason.clone())
        }
        StateBody::Lost => WireBody::Lost,
    };
    // Writing MessagePack into a Vec fails for none of our types.
    rmp_serde::to_vec(&wire).unwrap_or_else(|error| unreachable!("a body always encodes: {error}"))
}
