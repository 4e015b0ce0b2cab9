//! A method call from its opening to its end.

use std::time::Duration;

use twin_core::command::{Answer, Command};
use twin_core::grain::Reply;
use twin_core::ids::TwinId;
use twin_core::numbers::CallNo;
use twin_core::refusal::Refusal;
use twin_core::value::Value;
use twin_transports::frames::device::{Call, CallOutcome};

use crate::cluster::Cluster;
use crate::stats::Counters;
use crate::view::MethodAnswer;

impl Cluster {
    /// Calls a method of a device, at most once. The call's number is committed before it is sent; nothing sends it again.
    pub async fn call_method(
        &self,
        twin: &TwinId,
        method: String,
        payload: Value,
        timeout: Duration,
    ) -> Result<MethodAnswer, Refusal> {
        let timeout_ms = timeout.as_millis() as u64;
        Counters::count(&self.inner.counters.method_calls);
        let bytes = twin_core::json::compact_len(&payload);
        let open = Command::CallMethod { method: method.clone(), payload: payload.clone(), timeout_ms };
        let (call, gateway) = match self.call(twin, open, bytes).await? {
            Answer::CallOpened { call, gateway } => (call, gateway),
            other => return Err(Refusal::Invalid { message: format!("unexpected answer {other:?} to a call") }),
        };
        // From here the call is open in the twin: it is closed whatever happens, even if this future is dropped.
        let closing = CloseOnDrop { cluster: self.clone(), twin: twin.clone(), call };
        let owner = self.owner_order(&gateway.site)?;
        let answer = self.inner.methods.register(twin, call, gateway.clone())?;
        let sent = self
            .inner
            .sessions
            .call(&gateway, Call { twin: twin.clone(), owner, call, method: method.clone(), payload, timeout_ms });
        if !sent {
            return Err(Refusal::NotConnected {
                message: format!("gateway {gateway} has no session, or too many calls"),
            });
        }
        let outcome = tokio::time::timeout(timeout, answer).await;
        drop(closing);
        match outcome {
            Ok(Ok(CallOutcome::Answered { status, payload })) => Ok(MethodAnswer { status, payload }),
            Ok(Ok(CallOutcome::NoSuchMethod)) => Err(Refusal::MethodNotFound { method }),
            Ok(Ok(CallOutcome::NotHere)) => {
                Err(Refusal::NotConnected { message: format!("gateway {gateway} no longer serves the device") })
            }
            Ok(Err(_)) => Err(Refusal::OutcomeUnknown),
            Err(_) => Err(Refusal::TimedOut { timeout_ms }),
        }
    }
}

/// Closes an open call when the caller is done with it or gone.
struct CloseOnDrop {
    cluster: Cluster,
    twin: TwinId,
    call: CallNo,
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.cluster.inner.methods.forget(&self.twin, self.call);
        // Nobody waits for it: an open call that is not closed now is stale, and goes when the twin's next call needs room.
        self.cluster.inner.cell.submit(&self.twin, Command::CloseCall { call: self.call }, 0, Reply::once(|_| ()));
    }
}
