//! Direct method calls: numbered and committed before they are sent, sent once, never again.

use super::Effect;
use super::life::Life;
use crate::command::{Answer, CallEnd};
use crate::limits::OPEN_CALLS_MAX;
use crate::numbers::CallNo;
use crate::refusal::Refusal;
use crate::rows::{OpenCall, RowKind};
use crate::rules::{check_name, check_payload};
use crate::value::Value;

/// When a caller may hope for an open call to have ended.
const CALLS_RETRY_AFTER_MS: u64 = 1000;

impl Life {
    pub(super) fn call(&mut self, method: String, payload: &Value) -> Result<Effect, Refusal> {
        check_name(&method, "method")?;
        check_payload(payload, "method call")?;
        let Some(gateway) = self.gateway().cloned() else {
            return Err(Refusal::NotConnected { message: "no gateway serves it now".to_owned() });
        };
        if self.head.open_calls.len() >= OPEN_CALLS_MAX {
            return Err(Refusal::Busy {
                what: format!("the twin's {OPEN_CALLS_MAX} open method calls"),
                retry_after_ms: CALLS_RETRY_AFTER_MS,
            });
        }
        let call = self.head.last_call.next();
        self.head.last_call = call;
        self.head.open_calls.push(OpenCall { call, method, gateway: gateway.clone() });
        Ok(Effect { answer: Answer::CallOpened { call, gateway }, ..Effect::done(RowKind::Head) })
    }

    pub(super) fn close_call(&mut self, call: CallNo, end: CallEnd) -> Effect {
        let open = self.head.open_calls.len();
        self.head.open_calls.retain(|open| open.call != call);
        // Also of a call that is no longer open here: a grain that was loaded again takes open calls for stale.
        let is_news = self.call_ended(call, end);
        if self.head.open_calls.len() == open && !is_news {
            return Effect::unchanged(Answer::Duplicate);
        }
        Effect::done(RowKind::Head)
    }
}
