//! RFC 9457 problem bodies: the only shape in which this REST says no.

use std::fmt;
use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use twin_cluster::tokens::{Admin, Scope};
use twin_core::refusal::Refusal;
use utoipa::ToSchema;

use crate::limits::ITEM_TEXT_BYTES_MAX;

/// Content type of every error.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// A refusal as HTTP sees it. Boxed: it is the rare side of every result.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    status: StatusCode,
    code: &'static str,
    detail: String,
    rule: Option<String>,
    pointer: Option<String>,
    limit: Option<u64>,
    retry_after: Option<Duration>,
    allow: Option<String>,
    scope: Option<&'static str>,
}

/// What went wrong (RFC 9457).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub(crate) struct ProblemBody<'a> {
    /// URN of the kind of problem; ends with `code`.
    #[schema(example = "urn:twinmesh:problem:twin-not-found")]
    r#type: String,
    /// The kind of problem, for people.
    title: String,
    /// The HTTP status again.
    status: u16,
    /// What exactly was wrong, and what to do.
    detail: &'a str,
    /// Stable name of the kind of problem, for programs.
    #[schema(example = "twin-not-found")]
    code: &'a str,
    /// Which document rule was broken, where `code` is `document-rule`.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    /// JSON pointer to what is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'a str>,
    /// The limit that was broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    /// When trying again makes sense, in milliseconds. The `Retry-After` header says the same in seconds, rounded up.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    /// The scope that is needed, where `code` is `insufficient-scope`.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
}

/// What went wrong with one item of a stream: [`ProblemBody`] without what its `code` gives away.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ItemProblem<'a> {
    /// The HTTP status that the item would have had as a request of its own.
    status: u16,
    /// Stable name of the kind of problem, for programs.
    #[schema(example = "twin-not-found")]
    code: &'a str,
    /// What exactly was wrong, and what to do.
    detail: &'a str,
    /// Which document rule was broken, where `code` is `document-rule`.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    /// JSON pointer to what is wrong in the item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'a str>,
    /// The limit that was broken.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    /// When trying again makes sense, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

/// Keeps the beginning of a text that may repeat a long input.
fn shorten(text: &mut String) {
    if text.len() > ITEM_TEXT_BYTES_MAX {
        let end = (0..=ITEM_TEXT_BYTES_MAX).rev().find(|&end| text.is_char_boundary(end));
        text.truncate(end.unwrap_or(0));
        text.shrink_to_fit();
    }
}

impl Problem {
    /// With texts that are not long, whatever the input that they repeat.
    pub(crate) fn shortened(mut self) -> Self {
        shorten(&mut self.0.detail);
        if let Some(pointer) = &mut self.0.pointer {
            shorten(pointer);
        }
        self
    }

    /// As one item of a stream has it.
    pub(crate) fn of_item(&self) -> ItemProblem<'_> {
        let Parts { status, code, detail, rule, pointer, limit, retry_after, .. } = &*self.0;
        ItemProblem {
            status: status.as_u16(),
            code,
            detail,
            rule: rule.as_deref(),
            pointer: pointer.as_deref(),
            limit: *limit,
            retry_after_ms: retry_after.map(|after| after.as_millis() as u64),
        }
    }

    pub(crate) fn code(&self) -> &'static str {
        self.0.code
    }

    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let (rule, pointer, limit, retry_after, allow, scope) = (None, None, None, None, None, None);
        Self(Box::new(Parts { status, code, detail, rule, pointer, limit, retry_after, allow, scope }))
    }

    /// The token holds, but may not do this.
    pub(crate) fn scope(admin: &Admin, needed: Scope) -> Self {
        let (has, needed) = (admin.scope.as_str(), needed.as_str());
        let detail = format!("this needs a token of scope {needed}, and {} has scope {has}", admin.name);
        let mut problem = Self::new(StatusCode::FORBIDDEN, "insufficient-scope", detail);
        problem.0.scope = Some(needed);
        problem
    }

    /// Malformed path, query, header or body.
    pub(crate) fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// A well-formed body that breaks a rule of its shape.
    pub(crate) fn rule(rule: &str, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "document-rule", detail).at(pointer);
        problem.0.rule = Some(rule.to_owned());
        problem
    }

    /// Something of ours that should not be possible; never caused by input.
    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    pub(crate) fn at(mut self, pointer: impl Into<String>) -> Self {
        self.0.pointer = Some(pointer.into());
        self
    }

    /// The pointer, if there is one, is meant from `prefix` on.
    pub(crate) fn below(mut self, prefix: &str) -> Self {
        if let Some(pointer) = &mut self.0.pointer {
            pointer.insert_str(0, prefix);
        }
        self
    }

    pub(crate) fn with_limit(mut self, limit: u64) -> Self {
        self.0.limit = Some(limit);
        self
    }

    pub(crate) fn retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    pub(crate) fn allowing(mut self, methods: &str) -> Self {
        self.0.allow = Some(methods.to_owned());
        self
    }

    /// The response that carries it.
    pub(crate) fn response(&self) -> HttpResponse {
        let Parts { status, code, detail, rule, pointer, limit, retry_after, allow, scope } = &*self.0;
        let mut response = HttpResponse::build(*status);
        response.content_type(PROBLEM_JSON);
        if let Some(after) = retry_after {
            // Whole seconds, and never 0, which would mean "at once".
            response.insert_header((header::RETRY_AFTER, after.as_millis().div_ceil(1000).max(1).to_string()));
        }
        if let Some(allow) = allow {
            response.insert_header((header::ALLOW, allow.as_str()));
        }
        if *status == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"twinmesh\""));
        }
        if let Some(scope) = scope {
            let challenge = format!("Bearer realm=\"twinmesh\", error=\"insufficient_scope\", scope=\"{scope}\"");
            response.insert_header((header::WWW_AUTHENTICATE, challenge));
        }
        let body = ProblemBody {
            r#type: format!("urn:twinmesh:problem:{code}"),
            title: title(code),
            status: status.as_u16(),
            detail,
            code,
            rule: rule.as_deref(),
            pointer: pointer.as_deref(),
            limit: *limit,
            retry_after_ms: retry_after.map(|after| after.as_millis() as u64),
            scope: *scope,
        };
        response.body(serde_json::to_vec(&body).unwrap_or_default())
    }
}

/// `twin-not-found` -> `Twin not found`.
fn title(code: &str) -> String {
    let mut title = code.replace('-', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}

fn status_of(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Rule(_) | Refusal::KeyReused { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::NotFound { .. }
        | Refusal::PathNotFound { .. }
        | Refusal::SiteNotFound { .. }
        | Refusal::GatewayNotFound { .. }
        | Refusal::MethodNotFound { .. } => StatusCode::NOT_FOUND,
        Refusal::OtherSite { .. }
        | Refusal::SiteNotEmpty { .. }
        | Refusal::SiteDeleting { .. }
        | Refusal::SiteNeeded { .. }
        | Refusal::GatewayExists { .. }
        | Refusal::KeySpent { .. }
        | Refusal::NotConnected { .. }
        | Refusal::StaleBoot { .. }
        | Refusal::CredentialInUse { .. }
        | Refusal::NotAttached
        | Refusal::Superseded
        | Refusal::Gap { .. }
        | Refusal::Conflict { .. } => StatusCode::CONFLICT,
        Refusal::PreconditionFailed { .. } => StatusCode::PRECONDITION_FAILED,
        Refusal::Busy { .. } | Refusal::KeysUsedUp { .. } => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::TimedOut { .. } | Refusal::OutcomeUnknown => StatusCode::GATEWAY_TIMEOUT,
        Refusal::Invalid { .. } => StatusCode::BAD_REQUEST,
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let mut problem = Self::new(status_of(&refusal), refusal.code(), refusal.to_string());
        problem.0.retry_after = refusal.retry_after();
        match refusal {
            Refusal::Rule(violation) => {
                problem.0.rule = Some(violation.code);
                problem.0.limit = violation.limit;
                problem.at(violation.pointer)
            }
            Refusal::TooLarge { pointer, limit_bytes, .. } => problem.at(pointer).with_limit(limit_bytes),
            Refusal::PathNotFound { pointer } => problem.at(pointer),
            Refusal::KeysUsedUp { keys, .. } => problem.with_limit(keys),
            _ => problem,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.0.status
    }

    fn error_response(&self) -> HttpResponse {
        self.response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::MessageBody as _;
    use twin_core::refusal::RuleViolation;

    fn body(problem: &Problem) -> serde_json::Value {
        let response = problem.response();
        serde_json::from_slice(&response.into_body().try_into_bytes().ok().unwrap()).unwrap()
    }

    #[test]
    fn a_broken_rule_names_pointer_limit_and_rule() {
        let problem = Problem::from(Refusal::Rule(RuleViolation {
            code: "depth".into(),
            pointer: "/desired/a".into(),
            message: "too deep".into(),
            limit: Some(10),
        }));
        let body = body(&problem);
        assert_eq!(problem.response().status(), 422);
        assert_eq!(body["code"], "document-rule");
        assert_eq!(body["rule"], "depth");
        assert_eq!(body["pointer"], "/desired/a");
        assert_eq!(body["limit"], 10);
        assert_eq!(body["status"], 422);
        assert_eq!(body["type"], "urn:twinmesh:problem:document-rule");
        assert_eq!(body["title"], "Document rule");
    }

    #[test]
    fn busy_and_unavailable_say_when_to_come_back() {
        for (refusal, status) in [
            (Refusal::Busy { what: "the budget".into(), retry_after_ms: 1500 }, 429),
            (Refusal::Unavailable { message: "no leader".into(), retry_after_ms: 20 }, 503),
        ] {
            let ms = refusal.retry_after().unwrap().as_millis() as u64;
            let problem = Problem::from(refusal);
            let response = problem.response();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers().get("retry-after").unwrap(), ms.div_ceil(1000).to_string().as_str());
            assert_eq!(body(&problem)["retryAfterMs"], ms);
        }
    }

    #[test]
    fn a_long_text_is_cut_for_an_item_and_never_within_a_character() {
        let problem = Problem::bad_request("bad-id", "\u{20ac}".repeat(1000)).at("/a".repeat(1000)).shortened();
        let item = problem.of_item();
        assert_eq!((item.detail.len(), item.detail.len() % 3, item.pointer.unwrap().len()), (510, 0, 512));
    }

    #[test]
    fn problems_have_the_content_type_of_rfc_9457() {
        let response = Problem::from(Refusal::OutcomeUnknown).response();
        assert_eq!(response.status(), 504);
        assert_eq!(response.headers().get("content-type").unwrap(), PROBLEM_JSON);
    }
}
