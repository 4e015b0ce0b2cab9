//! Batches of messages that nobody kept: each body is translated to the stream's own table, as a gateway does it with paths
//! that its dictionary has no room for.

use std::collections::HashMap;

use bytes::BytesMut;
use twin_core::command::StateBody;
use twin_core::ids::TwinId;
use twin_core::numbers::{Boot, Seq, Stay};
use twin_core::value::Value;
use twin_transports::codec::{Frame, decode};
use twin_transports::frames::batch::{EventBatch, StateBatch};
use twin_transports::frames::session::StreamClass;
use twin_transports::intern::{PushError, Splicer, Stamp};

struct Batcher {
    splicer: Splicer,
    twins: HashMap<TwinId, u32>,
}

impl Batcher {
    fn new(class: StreamClass) -> Self {
        Self { splicer: Splicer::new(class), twins: HashMap::new() }
    }

    fn slot(&mut self, twin: &TwinId) -> u32 {
        let next = self.twins.len() as u32;
        *self.twins.entry(twin.clone()).or_insert(next)
    }

    fn take(&mut self, trace: Option<&str>) -> Option<Frame> {
        let mut bytes = BytesMut::new();
        self.splicer.take(trace)?.write(&mut bytes);
        decode(&bytes).unwrap()
    }
}

pub(crate) struct StateBatcher(Batcher);

impl StateBatcher {
    pub(crate) fn new() -> Self {
        Self(Batcher::new(StreamClass::State))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.splicer.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.splicer.is_empty()
    }

    pub(crate) fn push(
        &mut self,
        twin: &TwinId,
        stay: Stay,
        first: Seq,
        last: Seq,
        body: &StateBody,
    ) -> Result<(), PushError> {
        let slot = self.0.slot(twin);
        self.0.splicer.push_translated(&Stamp { slot, twin, stay, first, last }, body, &[])
    }

    pub(crate) fn take(&mut self, trace: Option<String>) -> Option<StateBatch> {
        match self.0.take(trace.as_deref())? {
            Frame::StateBatch(batch) => Some(batch),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) struct EventBatcher(Batcher);

impl EventBatcher {
    pub(crate) fn new() -> Self {
        Self(Batcher::new(StreamClass::Telemetry))
    }

    pub(crate) fn push(
        &mut self,
        twin: &TwinId,
        boot: Boot,
        seq: Seq,
        name: &str,
        payload: &Value,
    ) -> Result<(), PushError> {
        let slot = self.0.slot(twin);
        let stamp = Stamp { slot, twin, stay: Stay { boot, counter: 0 }, first: seq, last: seq };
        let body = [rmp_serde::to_vec(name).unwrap(), rmp_serde::to_vec(payload).unwrap()].concat();
        self.0.splicer.push(&stamp, &body, &[])
    }

    pub(crate) fn take(&mut self, trace: Option<String>) -> Option<EventBatch> {
        match self.0.take(trace.as_deref())? {
            Frame::EventBatch(batch) => Some(batch),
            other => panic!("{other:?}"),
        }
    }
}
