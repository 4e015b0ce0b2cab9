//! Direct method calls that wait for their device: at most once, and never without an end.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use twin_core::ids::{GatewayId, TwinId};
use twin_core::numbers::CallNo;
use twin_core::refusal::Refusal;
use twin_transports::frames::device::CallOutcome;

use crate::limits::{METHOD_CALLS_MAX, RETRY_BUSY_MS};

struct Waiting {
    gateway: GatewayId,
    answer: oneshot::Sender<CallOutcome>,
}

/// Calls sent down and not yet answered.
#[derive(Default)]
pub struct MethodCalls {
    waiting: Mutex<HashMap<(TwinId, CallNo), Waiting>>,
}

impl MethodCalls {
    /// Registers a call before it is sent. The receiver ends without an answer when the gateway's link is lost.
    pub fn register(
        &self,
        twin: &TwinId,
        call: CallNo,
        gateway: GatewayId,
    ) -> Result<oneshot::Receiver<CallOutcome>, Refusal> {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= METHOD_CALLS_MAX {
            return Err(Refusal::Busy { what: "the number of method calls".into(), retry_after_ms: RETRY_BUSY_MS });
        }
        let (answer, receiver) = oneshot::channel();
        waiting.insert((twin.clone(), call), Waiting { gateway, answer });
        Ok(receiver)
    }

    /// A gateway answered. Answers of a gateway that the call was not sent to, and late ones, are ignored.
    pub fn answered(&self, gateway: &GatewayId, twin: &TwinId, call: CallNo, outcome: CallOutcome) {
        let mut waiting = self.waiting.lock();
        let key = (twin.clone(), call);
        if waiting.get(&key).is_some_and(|waiting| waiting.gateway == *gateway)
            && let Some(waiting) = waiting.remove(&key)
        {
            // The caller may have given up in this moment.
            let _ = waiting.answer.send(outcome);
        }
    }

    /// The caller no longer waits.
    pub fn forget(&self, twin: &TwinId, call: CallNo) {
        self.waiting.lock().remove(&(twin.clone(), call));
    }

    /// The gateway's link is gone: whether its devices acted is unknown, and nothing is sent again.
    pub fn link_lost(&self, gateway: &GatewayId) {
        self.waiting.lock().retain(|_, waiting| waiting.gateway != *gateway);
    }
}
