//! Changes with an idempotency key.

use super::life::Life;
use super::{Effect, Step, StepContext, Twin};
use crate::command::{Answer, CallEnd, Command};
use crate::ids::{IdempotencyKey, TwinId};
use crate::json::compact_len_at_most;
use crate::limits::{CALL_ANSWER_KEPT_BYTES_MAX, IDEMPOTENCY_KEPT_MIN, IDEMPOTENCY_KEYS_MAX};
use crate::numbers::CallNo;
use crate::once::{CallAnswer, Fingerprint, KeyRecord, KnownCall, Once, OnceAnswer, OnceOutcome, OwnerTime};
use crate::refusal::Refusal;
use crate::rows::RowKind;
use crate::value::Value;

impl Twin {
    /// Carries out a change that has a key, unless this life of the twin remembers the key: then the answer is that of the first
    /// time.
    ///
    /// **Invariant:** a change that is accepted is remembered in the same step, also where it changed nothing: its repeat must not
    /// undo what others wrote meanwhile.
    pub fn step_once(&mut self, once: Once, time: OwnerTime, context: StepContext) -> Step {
        let effect = self.once(once, time, context);
        self.step_of(effect, context)
    }

    fn once(&mut self, once: Once, time: OwnerTime, context: StepContext) -> Result<Effect, Refusal> {
        let Once { key, fingerprint, change } = once;
        let is_call = matches!(change, Command::CallMethod { .. });
        if !is_call && !matches!(change, Command::Put { .. } | Command::Steer { .. } | Command::SteerBriefly { .. }) {
            let message = "only a change of tags and desired, or a method call, takes an idempotency key".to_owned();
            return Err(Refusal::Invalid { message });
        }
        if let Some(life) = self.life.as_deref() {
            // Before the condition: the first time may be what made it fail.
            if let Some(record) = life.remembered(&self.id, &key, fingerprint)? {
                if let Some(KnownCall { call, answer }) = record.call.clone() {
                    return Ok(Effect::unchanged(Answer::CallKnown { call, answer }));
                }
                let is_brief = matches!(change, Command::SteerBriefly { .. });
                let document = if is_brief { None } else { Some(Box::new(self.document()?)) };
                let outcome = record.outcome(life.head.incarnation);
                let answer = OnceAnswer { replayed: true, outcome, document };
                return Ok(Effect::unchanged(Answer::Once(Box::new(answer))));
            }
            // Before the change: what is refused changes nothing.
            life.check_room_for_key(&self.id, is_call, time)?;
        }
        let effect = self.effect_of(change, context)?;
        if let Answer::CallOpened { call, .. } = effect.answer {
            let life = self.life_mut()?;
            life.remember(key, fingerprint, false, Some(KnownCall { call, answer: None }), time);
            return Ok(Effect { changed: effect.changed.with(RowKind::Head), ..effect });
        }
        let (document, created) = match effect.answer {
            Answer::Document { document, created } => (Some(document), created),
            _ => (None, false),
        };
        let life = self.life_mut()?;
        let outcome = life.remember(key, fingerprint, created, None, time);
        let answer = Answer::Once(Box::new(OnceAnswer { replayed: false, outcome, document }));
        Ok(Effect { answer, changed: effect.changed.with(RowKind::Head), events: effect.events })
    }
}

impl Life {
    fn remembered(
        &self,
        twin: &TwinId,
        key: &IdempotencyKey,
        fingerprint: Fingerprint,
    ) -> Result<Option<&KeyRecord>, Refusal> {
        let record = self.head.keys.iter().find(|record| record.key == *key);
        match record {
            Some(record) if record.fingerprint != fingerprint => {
                let used_for = match &record.call {
                    Some(KnownCall { call, .. }) => format!("method call {call} of twin {twin}"),
                    None => format!("the change that made version {} of twin {twin}", record.version),
                };
                Err(Refusal::KeyReused { key: key.to_string(), used_for })
            }
            record => Ok(record),
        }
    }

    /// Changes and method calls each have a bound of their own: who steers a twin much can still call its device, and the other way
    /// round.
    fn check_room_for_key(&self, twin: &TwinId, is_call: bool, time: OwnerTime) -> Result<(), Refusal> {
        let mut alike = self.head.keys.iter().filter(|record| record.call.is_some() == is_call);
        let Some(oldest) = alike.next().filter(|_| 1 + alike.count() >= IDEMPOTENCY_KEYS_MAX) else {
            return Ok(());
        };
        let left = IDEMPOTENCY_KEPT_MIN.saturating_sub(oldest.age(time));
        if left.is_zero() {
            return Ok(());
        }
        let retry_after_ms = left.as_nanos().div_ceil(1_000_000) as u64;
        let of = format!("{} of twin {twin}", if is_call { "method calls" } else { "changes" });
        Err(Refusal::KeysUsedUp { keys: IDEMPOTENCY_KEYS_MAX as u64, of, retry_after_ms })
    }

    /// In place of the oldest if there are too many, which [`Life::check_room_for_key`] allowed.
    fn remember(
        &mut self,
        key: IdempotencyKey,
        fingerprint: Fingerprint,
        created: bool,
        call: Option<KnownCall>,
        time: OwnerTime,
    ) -> OnceOutcome {
        let record = KeyRecord {
            key,
            fingerprint,
            created,
            version: self.version(),
            tags_version: self.head.tags.version(),
            desired_version: self.desired.section().version(),
            owner: time.owner,
            made_at_ms: time.now.as_millis() as u64,
            call,
        };
        let outcome = record.outcome(self.head.incarnation);
        let keys = &mut self.head.keys;
        let is_like = |other: &KeyRecord| other.call.is_some() == record.call.is_some();
        if keys.iter().filter(|other| is_like(other)).count() >= IDEMPOTENCY_KEYS_MAX
            && let Some(oldest) = keys.iter().position(is_like)
        {
            keys.remove(oldest);
        }
        keys.push(record);
        outcome
    }

    /// Remembers how a call with a key ended. `false`: it had none, or that is known already.
    pub(super) fn call_ended(&mut self, call: CallNo, end: CallEnd) -> bool {
        let keys = &mut self.head.keys;
        let of_call = |record: &KeyRecord| record.call.as_ref().is_some_and(|known| known.call == call);
        match end {
            CallEnd::Unknown => false,
            CallEnd::NotDone => {
                let before = keys.len();
                keys.retain(|record| !of_call(record));
                keys.len() != before
            }
            CallEnd::Answered { status, payload } => {
                let known = keys.iter_mut().find(|record| of_call(record)).and_then(|record| record.call.as_mut());
                let Some(known) = known.filter(|known| known.answer.is_none()) else { return false };
                let is_cut = compact_len_at_most(&payload) > CALL_ANSWER_KEPT_BYTES_MAX;
                let payload = if is_cut { Value::Null } else { payload };
                known.answer = Some(CallAnswer { status, payload, is_cut });
                true
            }
        }
    }
}
