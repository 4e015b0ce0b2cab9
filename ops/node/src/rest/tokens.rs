//! `/api/v1/tokens`: making, listing and revoking admin tokens.

use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use twin_cluster::tokens::{Scope, TokenError, TokenView};
use twin_core::value::{Members, Number, Value};
use utoipa::ToSchema;

use super::Rest;
use super::body::{Accepts, members, read_json};
use super::document::{json, render, time};
use super::guard::audit_detail;
use super::once::{keyed, keyless};
use super::problem::Problem;
use super::query::Query;
use super::segments::{parse_token, token_name};
use crate::limits::TOKEN_LIFE_MAX;

/// What a token may do. Each includes those before it.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Scope)]
pub(crate) enum ScopeBody {
    /// Look at twins and sites.
    Read,
    /// Also change twins and call their devices.
    Steer,
    /// Also change sites, gateways and tokens, and look at nodes and the audit log.
    Operate,
}

impl From<Scope> for ScopeBody {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Read => Self::Read,
            Scope::Steer => Self::Steer,
            Scope::Operate => Self::Operate,
        }
    }
}

/// What POST takes.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documents the shape of a body that is read by hand, to name what is wrong in it")]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = TokenPost)]
pub(crate) struct PostBody {
    /// For people: in listings and in the audit log.
    #[schema(min_length = 1, max_length = 64, pattern = r"^(?!\.{1,2}$)[A-Za-z0-9._-]+$")]
    name: String,
    /// What it may do.
    scope: ScopeBody,
    /// It ends so many seconds from now, by the node's clock; never unless given.
    #[schema(minimum = 1, maximum = 316_224_000)]
    expires_in_seconds: Option<u64>,
}

/// A token, without the token.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Token)]
pub(crate) struct TokenBody {
    name: String,
    scope: ScopeBody,
    #[schema(format = DateTime)]
    created_at: Option<String>,
    /// When it ends; null: never.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// It has ended.
    expired: bool,
}

/// A new token.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewToken)]
pub(crate) struct NewTokenBody {
    #[serde(flatten)]
    about: TokenBody,
    /// The token. It is shown this once and stored nowhere.
    token: String,
}

/// All tokens.
#[derive(Serialize, ToSchema)]
#[schema(as = Tokens)]
pub(crate) struct TokensBody {
    /// By name.
    tokens: Vec<TokenBody>,
}

impl From<TokenView> for TokenBody {
    fn from(token: TokenView) -> Self {
        Self {
            name: token.name.to_string(),
            scope: token.scope.into(),
            created_at: time(token.created_at),
            expires_at: token.expires_at.and_then(time),
            expired: token.expired,
        }
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        let detail = error.to_string();
        match error {
            TokenError::Exists { .. } => Self::new(StatusCode::CONFLICT, "token-exists", detail),
            TokenError::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, "token-not-found", detail),
            TokenError::Last { .. } => Self::new(StatusCode::CONFLICT, "last-token", detail),
            TokenError::TooMany => Self::new(StatusCode::CONFLICT, "too-many-tokens", detail),
            TokenError::Refused(refusal) => refusal.into(),
        }
    }
}

#[utoipa::path(
    get, path = "/api/v1/tokens", tag = "access", operation_id = "listTokens", summary = "All admin tokens, without the tokens",
    responses((status = 200, description = "The tokens", body = TokensBody)),
)]
pub(crate) async fn list(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    let tokens = rest.cluster.tokens().await?.into_iter().map(Into::into).collect();
    json(StatusCode::OK, &TokensBody { tokens })
}

#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "access", operation_id = "addToken", summary = "Makes an admin token",
    request_body(content = PostBody, content_type = "application/json"),
    responses(
        (status = 201, description = "The token, shown once", body = NewTokenBody),
        (status = 409, description = "The name is taken, or there are as many tokens as there may be"),
    ),
)]
pub(crate) async fn post(request: HttpRequest, payload: Payload, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    let body = read_json(&request, payload, Accepts::Json).await?;
    let given = members(body.value, &["name", "scope", "expiresInSeconds"], "a new token")?;
    let name = parse_token(text(&given, "name", "what the token shall be called")?).map_err(|p| p.at("/name"))?;
    let scope = text(&given, "scope", "what it may do: \"read\", \"steer\" or \"operate\"")?;
    let scope = Scope::from_text(scope)
        .ok_or_else(|| Problem::rule("not-a-scope", "/scope", "scope is \"read\", \"steer\" or \"operate\""))?;
    let lives_for = life(given.get("expiresInSeconds"))?;
    let ends = lives_for.map_or_else(|| "never ends".to_owned(), |life| format!("ends in {} s", life.as_secs()));
    let once = keyed(&request, "token 1", &[name.as_str(), scope.as_str(), &ends])?;
    audit_detail(&request, format!("token {name}, scope {}, {ends}", scope.as_str()));
    let made = rest.cluster.add_token(name, scope, lives_for, once).await?;
    let body = NewTokenBody { about: made.view.into(), token: made.text };
    Ok(HttpResponse::build(StatusCode::CREATED)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .content_type(super::body::JSON)
        .body(render(&body)?))
}

#[utoipa::path(
    delete, path = "/api/v1/tokens/{name}", tag = "access", operation_id = "revokeToken",
    summary = "Revokes an admin token; whoever shows it is refused from then on, and streams opened with it end",
    params(("name" = String, Path, description = "The token's name", min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$")),
    responses(
        (status = 204, description = "Revoked"),
        (status = 404, description = "There is no such token"),
        (status = 409, description = "Nobody could make tokens any more"),
    ),
)]
pub(crate) async fn delete(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    keyless(&request, "revoking a token (a repeat is 404 once it is gone)")?;
    rest.cluster.revoke_token(&token_name(&request)?).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn text<'a>(given: &'a Members, name: &str, what: &str) -> Result<&'a str, Problem> {
    match given.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(Problem::rule("not-a-string", format!("/{name}"), format!("{name} is a string"))),
        None => Err(Problem::rule("missing-member", format!("/{name}"), format!("{name} is missing: {what}"))),
    }
}

fn life(given: Option<&Value>) -> Result<Option<Duration>, Problem> {
    let longest = TOKEN_LIFE_MAX.as_secs();
    match given {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(Number::Integer(seconds))) if (1..=longest.cast_signed()).contains(seconds) => {
            Ok(Some(Duration::from_secs(seconds.cast_unsigned())))
        }
        Some(_) => {
            let detail = format!("expiresInSeconds is a whole number from 1 to {longest}");
            Err(Problem::rule("out-of-range", "/expiresInSeconds", detail).with_limit(longest))
        }
    }
}
