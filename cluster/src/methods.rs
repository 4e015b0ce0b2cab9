//! Direct method calls that wait for their device: at most once, and never without an end.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use twin_core::ids::{GatewayId, IdempotencyKey, TwinId};
use twin_core::numbers::CallNo;
use twin_core::once::Fingerprint;
use twin_core::refusal::Refusal;
use twin_core::used_keys::KeyedChange;
use twin_transports::frames::device::CallOutcome;

use crate::limits::{METHOD_CALLS_MAX, RETRY_BUSY_MS};
use crate::view::KeyedAnswer;

struct Waiting {
    gateway: GatewayId,
    answer: oneshot::Sender<CallOutcome>,
}

/// How a call with an idempotency key ended.
pub type Outcome = Result<KeyedAnswer, Refusal>;

/// A call with a key that is under way.
struct UnderWay {
    fingerprint: Fingerprint,
    outcome: watch::Receiver<Option<Outcome>>,
}

type Keyed = Arc<Mutex<HashMap<(TwinId, IdempotencyKey), UnderWay>>>;

/// Calls sent down and not yet answered.
#[derive(Default)]
pub struct MethodCalls {
    waiting: Mutex<HashMap<(TwinId, CallNo), Waiting>>,
    /// From before they are opened until their end is committed.
    keyed: Keyed,
}

/// The part that a caller with a key has in its call.
pub enum Joined {
    /// It is to make the call.
    First(Place),
    /// Somebody else makes it.
    UnderWay(watch::Receiver<Option<Outcome>>),
}

/// The place of a call with a key, which others find until it is dropped.
pub struct Place {
    keyed: Keyed,
    at: (TwinId, IdempotencyKey),
    tell: watch::Sender<Option<Outcome>>,
}

impl Place {
    /// Where the outcome will be told.
    pub fn outcome(&self) -> watch::Receiver<Option<Outcome>> {
        self.tell.subscribe()
    }

    /// Tells it to all who wait.
    pub fn tell(self, outcome: Outcome) {
        self.tell.send_replace(Some(outcome));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.keyed.lock().remove(&self.at);
    }
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
            return Err(too_many());
        }
        let (answer, receiver) = oneshot::channel();
        waiting.insert((twin.clone(), call), Waiting { gateway, answer });
        Ok(receiver)
    }

    /// Finds the call with this key, or takes its place.
    pub fn join(&self, twin: &TwinId, once: &KeyedChange) -> Result<Joined, Refusal> {
        let at = (twin.clone(), once.key.clone());
        let mut keyed = self.keyed.lock();
        if let Some(UnderWay { fingerprint, outcome }) = keyed.get(&at) {
            if *fingerprint != once.fingerprint {
                let used_for = format!("a method call of twin {twin} that is under way");
                return Err(Refusal::KeyReused { key: once.key.to_string(), used_for });
            }
            return Ok(Joined::UnderWay(outcome.clone()));
        }
        if keyed.len() >= METHOD_CALLS_MAX {
            return Err(too_many());
        }
        let (tell, outcome) = watch::channel(None);
        keyed.insert(at.clone(), UnderWay { fingerprint: once.fingerprint, outcome });
        Ok(Joined::First(Place { keyed: self.keyed.clone(), at, tell }))
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

fn too_many() -> Refusal {
    Refusal::Busy { what: "the number of method calls".into(), retry_after_ms: RETRY_BUSY_MS }
}
