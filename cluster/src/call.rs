//! A method call from its opening to its end.

use std::time::Duration;

use twin_core::command::{Answer, CallEnd, Command};
use twin_core::grain::Reply;
use twin_core::ids::{GatewayId, TwinId};
use twin_core::json::compact_len;
use twin_core::numbers::CallNo;
use twin_core::once::{CallAnswer, Once};
use twin_core::refusal::Refusal;
use twin_core::used_keys::KeyedChange;
use twin_core::value::Value;
use twin_transports::frames::device::{Call, CallOutcome};

use crate::cluster::Cluster;
use crate::methods::{Joined, Outcome};
use crate::stats::Counters;
use crate::view::{KeyedAnswer, MethodAnswer};

/// What is asked of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodCall {
    /// Which method.
    pub method: String,
    /// Given to its handler.
    pub payload: Value,
    /// How long the device has to answer.
    pub timeout: Duration,
}

impl MethodCall {
    fn timeout_ms(&self) -> u64 {
        self.timeout.as_millis() as u64
    }

    fn command(&self) -> Command {
        let (method, payload) = (self.method.clone(), self.payload.clone());
        Command::CallMethod { method, payload, timeout_ms: self.timeout_ms() }
    }
}

impl Cluster {
    /// Calls a method of a device, at most once. The call's number is committed before it is sent; nothing sends it again.
    pub async fn call_method(&self, twin: &TwinId, call: MethodCall) -> Result<MethodAnswer, Refusal> {
        Counters::count(&self.inner.counters.method_calls);
        match self.call(twin, call.command(), compact_len(&call.payload)).await? {
            Answer::CallOpened { call: number, gateway } => self.send(twin, call, number, gateway).await.0,
            other => Err(unexpected(&other)),
        }
    }

    /// The same with an idempotency key: however often it is asked for, there is one call. A repeat waits for a call that is under
    /// way, and otherwise is told how it ended, as far as that is known; it is never sent again. A call that reached no device is
    /// not remembered.
    ///
    /// The call goes on when its caller goes, since the repeat will ask for its answer; and with a key the answer is committed
    /// before it is given, so that every repeat hears the same.
    pub async fn call_method_once(
        &self,
        twin: &TwinId,
        call: MethodCall,
        once: KeyedChange,
    ) -> Result<KeyedAnswer, Refusal> {
        let (mut outcome, joined) = match self.inner.methods.join(twin, &once)? {
            Joined::UnderWay(outcome) => (outcome, true),
            Joined::First(place) => {
                let outcome = place.outcome();
                let (cluster, twin) = (self.clone(), twin.clone());
                self.inner.tasks.spawn(async move {
                    let ended = cluster.carry_out_once(&twin, call, once).await;
                    place.tell(ended);
                });
                (outcome, false)
            }
        };
        let ended = outcome.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        // The task ends without an outcome only if it panicked.
        let answer = ended.unwrap_or(Err(Refusal::OutcomeUnknown))?;
        Ok(KeyedAnswer { replayed: answer.replayed || joined, ..answer })
    }

    async fn carry_out_once(&self, twin: &TwinId, call: MethodCall, once: KeyedChange) -> Outcome {
        Counters::count(&self.inner.counters.method_calls);
        let KeyedChange { key, fingerprint } = once;
        let open = Command::Once(Box::new(Once { key, fingerprint, change: call.command() }));
        match self.call(twin, open, compact_len(&call.payload)).await? {
            Answer::CallOpened { call: number, gateway } => {
                let (answer, mut closing) = tokio::select! {
                    ended = self.send(twin, call, number, gateway) => ended,
                    // Nobody hears of its end any more, and the record stays without one, which says so.
                    () = self.inner.stop.cancelled() => return Err(Refusal::OutcomeUnknown),
                };
                closing.closed().await;
                let MethodAnswer { status, payload } = answer?;
                let answer = CallAnswer { status, payload, is_cut: false };
                Ok(KeyedAnswer { call: number, replayed: false, answer })
            }
            Answer::CallKnown { call, answer: Some(answer) } => Ok(KeyedAnswer { call, replayed: true, answer }),
            // It is not under way here: whoever knew its end is gone.
            Answer::CallKnown { answer: None, .. } => Err(Refusal::OutcomeUnknown),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends an open call and waits for its end. What is given besides closes it, now or when it is dropped.
    async fn send(
        &self,
        twin: &TwinId,
        call: MethodCall,
        number: CallNo,
        gateway: GatewayId,
    ) -> (Result<MethodAnswer, Refusal>, CloseOnDrop) {
        // From here the call is open in the twin: it is closed whatever happens, even if this future is dropped.
        let mut closing =
            CloseOnDrop { cluster: self.clone(), twin: twin.clone(), call: number, end: Some(CallEnd::NotDone) };
        let answer = self.sent(twin, call, number, gateway, &mut closing).await;
        (answer, closing)
    }

    async fn sent(
        &self,
        twin: &TwinId,
        call: MethodCall,
        number: CallNo,
        gateway: GatewayId,
        closing: &mut CloseOnDrop,
    ) -> Result<MethodAnswer, Refusal> {
        let timeout_ms = call.timeout_ms();
        let MethodCall { method, payload, timeout } = call;
        let owner = self.owner_order(&gateway.site)?;
        let answer = self.inner.methods.register(twin, number, gateway.clone())?;
        let down = Call { twin: twin.clone(), owner, call: number, method: method.clone(), payload, timeout_ms };
        if !self.inner.sessions.call(&gateway, down) {
            return Err(Refusal::NotConnected {
                message: format!("gateway {gateway} has no session, or too many calls"),
            });
        }
        closing.end = Some(CallEnd::Unknown);
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(CallOutcome::Answered { status, payload })) => {
                closing.end = Some(CallEnd::Answered { status, payload: payload.clone() });
                Ok(MethodAnswer { status, payload })
            }
            Ok(Ok(CallOutcome::NoSuchMethod)) => {
                closing.end = Some(CallEnd::NotDone);
                Err(Refusal::MethodNotFound { method })
            }
            Ok(Ok(CallOutcome::NotHere)) => {
                closing.end = Some(CallEnd::NotDone);
                Err(Refusal::NotConnected { message: format!("gateway {gateway} no longer serves the device") })
            }
            Ok(Err(_)) => Err(Refusal::OutcomeUnknown),
            Err(_) => Err(Refusal::TimedOut { timeout_ms }),
        }
    }
}

fn unexpected(answer: &Answer) -> Refusal {
    Refusal::Invalid { message: format!("unexpected answer {answer:?} to a call") }
}

/// Closes an open call when the caller is done with it or gone.
struct CloseOnDrop {
    cluster: Cluster,
    twin: TwinId,
    call: CallNo,
    /// `None`: it is closed.
    end: Option<CallEnd>,
}

impl CloseOnDrop {
    /// Closes it now, and waits until that is committed.
    async fn closed(&mut self) {
        let Some(end) = self.end.take() else { return };
        self.cluster.inner.methods.forget(&self.twin, self.call);
        let bytes = if let CallEnd::Answered { payload, .. } = &end { compact_len(payload) } else { 0 };
        let close = Command::CloseCall { call: self.call, end };
        if let Err(refusal) = self.cluster.call(&self.twin, close, bytes).await {
            // What the device did it did: its answer is given all the same, and a repeat will hear that it is unknown.
            tracing::warn!(twin = %self.twin, call = %self.call, %refusal, "how a method call ended was not remembered");
        }
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        let Some(end) = self.end.take() else { return };
        self.cluster.inner.methods.forget(&self.twin, self.call);
        // Nobody waits for it: an open call that is not closed now is stale, and goes when the twin is loaded next.
        self.cluster.inner.cell.submit(&self.twin, Command::CloseCall { call: self.call, end }, 0, Reply::once(|_| ()));
    }
}
