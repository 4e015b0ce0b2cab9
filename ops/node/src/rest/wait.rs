//! `?wait=delivered|applied&timeout=`: a change is answered once it has come that far.
//!
//! Whoever waits follows the twin: it is woken by what is committed for this one twin, and then reads it. Reports of other devices cost
//! what they always do.

use std::time::Duration;

use actix_web::http::StatusCode;
use tokio::time::{Instant, timeout_at};
use twin_cluster::followers::Follower;
use twin_core::command::{Answer, Command};
use twin_core::document::TwinDocument;
use twin_core::ids::TwinId;
use twin_core::numbers::Version;
use twin_core::refusal::Refusal;
use twin_core::value::{Number, Value};
use utoipa::Modify;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Required};

use super::Rest;
use super::problem::Problem;
use super::query::Query;
use super::steer::steered;
use crate::limits::{REQUEST_BYTES, WAIT_DEFAULT, WAIT_READ_RETRY, WAIT_RETRY_AFTER, WAIT_SECONDS_MAX};

/// How far a change is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Delivered,
    Applied,
}

/// What the caller asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    goal: Goal,
    timeout: Duration,
}

/// How far it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// Not as far as was asked for.
    Pending,
    Delivered,
    Applied,
    /// The device refused some of it.
    Rejected,
    /// Other values were desired before it came that far.
    Superseded,
}

impl Reached {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Applied => "applied",
            Self::Rejected => "rejected",
            Self::Superseded => "superseded",
        }
    }
}

impl Wait {
    /// From a request's query.
    pub(crate) fn read(query: &Query) -> Result<Option<Self>, Problem> {
        let seconds = query.number("timeout", 1..=WAIT_SECONDS_MAX)?;
        let timeout = seconds.map_or(WAIT_DEFAULT, Duration::from_secs);
        let goal = match (query.get("wait"), seconds) {
            (Some("delivered"), _) => Goal::Delivered,
            (Some("applied"), _) => Goal::Applied,
            (Some(other), _) => {
                let detail = format!("query parameter \"wait\" is `delivered` or `applied`, not {other:?}");
                return Err(Problem::bad_request("bad-parameter", detail));
            }
            (None, None) => return Ok(None),
            (None, Some(_)) => {
                let detail = "query parameter \"timeout\" says how long to wait, but \"wait\" does not say for what";
                return Err(Problem::bad_request("missing-parameter", detail));
            }
        };
        Ok(Some(Self { goal, timeout }))
    }

    /// Takes a place among those that wait, before the change is made.
    pub(crate) fn begin(self, rest: &Rest, twin: &TwinId) -> Result<Waiting, Problem> {
        let Some(follower) = rest.cluster.follow(twin) else {
            let limit = twin_cluster::limits::FOLLOWERS_MAX;
            let detail = format!("{limit} changes wait for their devices, which is the limit; nothing was changed");
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail).with_limit(limit as u64);
            return Err(problem.retry_after(WAIT_RETRY_AFTER));
        };
        Ok(Waiting { wait: self, twin: twin.clone(), follower })
    }
}

/// A place among those that wait.
pub(crate) struct Waiting {
    wait: Wait,
    twin: TwinId,
    follower: Follower,
}

impl Waiting {
    /// Waits from the change's own document on. Returns at the timeout, or when the node stops, with the twin as last read.
    pub(crate) async fn until(
        mut self,
        rest: &Rest,
        mut document: Box<TwinDocument>,
        version: Version,
    ) -> Result<(Reached, Box<TwinDocument>), Problem> {
        let deadline = Instant::now() + self.wait.timeout;
        let incarnation = document.incarnation;
        let had_some = !states_at(&document.convergence, version).is_empty();
        loop {
            let reached = reached(&document, version, had_some, self.wait.goal);
            if reached != Reached::Pending {
                return Ok((reached, document));
            }
            tokio::select! {
                stirred = timeout_at(deadline, self.follower.stirred()) => if stirred.is_err() {
                    return Ok((Reached::Pending, document));
                },
                () = rest.closing.cancelled() => return Ok((Reached::Pending, document)),
            }
            match self.read(rest, deadline).await {
                Some(now) if now.as_ref().is_ok_and(|now| now.incarnation == incarnation) => document = now?,
                Some(Ok(_) | Err(Refusal::NotFound { .. })) => {
                    let detail =
                        format!("the change was made, but twin {} was deleted while it was waited for", self.twin);
                    return Err(Problem::new(StatusCode::GONE, "twin-deleted", detail));
                }
                // The change is committed whatever a reading says: at the deadline the answer is what was last known.
                Some(Err(_)) | None => return Ok((Reached::Pending, document)),
            }
        }
    }

    /// Reads the twin; again where the node has no room or no leader at the moment. `None`: not before the deadline.
    async fn read(&self, rest: &Rest, deadline: Instant) -> Option<Result<Box<TwinDocument>, Refusal>> {
        loop {
            let read = rest.cluster.call(&self.twin, Command::Read, REQUEST_BYTES);
            match timeout_at(deadline, read).await.ok()? {
                Ok(Answer::Document { document, .. }) => return Some(Ok(document)),
                Ok(other) => {
                    let message = format!("the twin answered {other:?} where a document was due");
                    return Some(Err(Refusal::Invalid { message }));
                }
                Err(refusal) if refusal.retry_after().is_some() => {
                    let again = Instant::now() + WAIT_READ_RETRY;
                    if again >= deadline {
                        return None;
                    }
                    tokio::time::sleep_until(again).await;
                }
                Err(refusal) => return Some(Err(refusal)),
            }
        }
    }
}

/// How far a version of desired has come: its own properties where some stand, or the version as a whole.
fn reached(document: &TwinDocument, version: Version, had_some: bool, goal: Goal) -> Reached {
    let states = states_at(&document.convergence, version);
    let all = |among: &[&str]| !states.is_empty() && states.iter().all(|state| among.contains(state));
    if states.contains(&"rejected") {
        Reached::Rejected
    } else if document.acked >= version || all(&["applied"]) {
        Reached::Applied
    } else if had_some && states.is_empty() {
        Reached::Superseded
    } else if goal == Goal::Delivered && (document.delivered >= version || all(&["applied", "delivered"])) {
        Reached::Delivered
    } else {
        Reached::Pending
    }
}

/// States of the properties that this version set.
fn states_at(convergence: &Value, version: Version) -> Vec<&str> {
    let wanted = i64::try_from(version.get()).unwrap_or(i64::MAX);
    let properties = convergence.as_object().into_iter().flat_map(|properties| properties.values());
    properties
        .filter_map(Value::as_object)
        .filter(|property| matches!(property.get("version"), Some(Value::Number(Number::Integer(at))) if *at == wanted))
        .filter_map(|property| property.get("state").and_then(Value::as_str))
        .collect()
}

/// What the description says of waiting.
pub(crate) struct Waits;

impl Modify for Waits {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        steered(openapi).for_each(describe);
    }
}

fn describe(operation: &mut utoipa::openapi::path::Operation) {
    let text = "Answer only once the version of desired that the change made was delivered to the device's gateway, or applied by the \
                device; or once the device rejected it or other values superseded it. The header `Wait-Outcome` says which: \
                `delivered`, `applied`, `rejected`, `superseded`; or `pending` with status 202 at the timeout";
    let goals = ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .enum_values(Some(["delivered", "applied"]))
        .build();
    let seconds = ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::Integer))
        .minimum(Some(1))
        .maximum(Some(WAIT_SECONDS_MAX as usize))
        .build();
    let parameters = operation.parameters.get_or_insert_default();
    for (name, text, schema) in
        [("wait", text, goals), ("timeout", "With `wait`: for how many seconds at most; 30 unless given", seconds)]
    {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(text))
            .schema(Some(schema))
            .build();
        parameters.push(RefOr::T(parameter));
    }
    let responses = &mut operation.responses.responses;
    if let Some(RefOr::T(done)) = responses.get("200") {
        let mut pending = done.clone();
        "The change is committed, but had not come as far as `wait` asked at the timeout; `convergence` says how far"
            .clone_into(&mut pending.description);
        responses.insert("202".to_owned(), RefOr::T(pending));
    }
    let gone = utoipa::openapi::ResponseBuilder::new()
        .description("The change was committed, but the twin was deleted while it was waited for");
    responses.insert("410".to_owned(), RefOr::T(gone.build()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn read(query: &str) -> Result<Option<Wait>, &'static str> {
        let request = TestRequest::with_uri(&format!("/x?{query}")).to_http_request();
        let query = Query::read(&request, &["wait", "timeout"]).map_err(|problem| problem.code())?;
        Wait::read(&query).map_err(|problem| problem.code())
    }

    #[test]
    fn a_wait_names_its_goal_and_is_bounded() {
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("wait=applied"), Ok(Some(Wait { goal: Goal::Applied, timeout: WAIT_DEFAULT })));
        let delivered = Wait { goal: Goal::Delivered, timeout: Duration::from_secs(120) };
        assert_eq!(read("wait=delivered&timeout=120"), Ok(Some(delivered)));
        for bad in ["wait=reported", "wait=applied&timeout=121", "wait=applied&timeout=0", "timeout=3"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
