//! Method calls: which are carried out, and their answers on the way up.

use twin_core::ids::TwinId;
use twin_core::numbers::CallNo;
use twin_transports::codec::Frame;
use twin_transports::frames::device::{Call, CallOutcome, CallResult};

use crate::core::Core;
use crate::limits::CALL_RESULTS_MAX;

/// What to do with a call.
#[derive(Debug)]
pub(crate) enum CallStep {
    /// Carry it out.
    Run(Call),
    /// Nothing: it was answered, or must not be.
    Done,
}

impl Core {
    /// A call came. **Invariant:** a call is carried out at most once: the highest number per device is kept, and what is not
    /// above it was seen before, or comes from an owner that is none any more.
    pub(crate) fn call(&mut self, call: Call) -> CallStep {
        if call.owner < self.owner {
            self.counters.stale_owner_frames += 1;
            return CallStep::Done;
        }
        self.owner = call.owner;
        let known = self.by_id.get(&call.twin).copied();
        let Some(index) = known.filter(|index| self.twins[*index as usize].serving) else {
            self.answer_call(call.twin, call.call, CallOutcome::NotHere);
            return CallStep::Done;
        };
        let twin = self.twin_mut(index);
        if call.call <= twin.last_call {
            return CallStep::Done;
        }
        twin.last_call = call.call;
        CallStep::Run(call)
    }

    /// The answer to a call; lost with the session, as the caller's outcome is unknown then anyway.
    pub(crate) fn answer_call(&mut self, twin: TwinId, call: CallNo, outcome: CallOutcome) {
        if self.session.is_none() || self.call_results.len() >= CALL_RESULTS_MAX {
            tracing::warn!(%twin, %call, "the answer to a method call cannot be sent; its caller will see it time out");
            return;
        }
        self.counters.calls += 1;
        self.call_results.push_back(CallResult { twin, call, outcome });
        self.wakes.control = true;
    }

    /// What is to go up on the control stream, a few frames at a time; calls first, for somebody waits for them.
    pub(crate) fn take_control(&mut self, now: std::time::Duration) -> Vec<Frame> {
        let mut frames: Vec<Frame> = self.call_results.drain(..).map(Frame::from).collect();
        frames.extend(self.take_attach(now).map(Frame::from));
        frames.extend(self.take_detach().map(Frame::from));
        frames.extend(self.take_received().map(Frame::from));
        frames
    }
}
