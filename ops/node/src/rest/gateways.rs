//! `/api/v1/sites/{id}/gateways`: making, replacing and revoking credentials.

use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use twin_cluster::{NewGateway, NewKey};
use twin_core::numbers::WallTime;
use twin_core::time_text::rfc3339;
use twin_core::value::{Number, Value};
use twin_transports::auth::{
    CertificateKey, Credentials, CredentialsFile, GatewayKey, GatewaySecret, read_certificate_pem,
};
use twin_transports::limits::PEM_BYTES_MAX;
use utoipa::ToSchema;

use super::Rest;
use super::body::{Accepts, JSON, members, read_json};
use super::guard::audit_detail;
use super::once::{keyed, keyless};
use super::problem::Problem;
use super::query::Query;
use super::segments::{gateway_name, parse_gateway, site_id};
use crate::limits::{KEY_OVERLAP_DEFAULT, KEY_OVERLAP_MAX};

/// What POST takes.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documents the shape of a body that is read by hand, to name what is wrong in it")]
#[serde(deny_unknown_fields)]
#[schema(as = GatewayPost)]
pub(crate) struct PostBody {
    /// The gateway's name in its site.
    #[schema(min_length = 1, max_length = 64, pattern = r"^(?!\.{1,2}$)[A-Za-z0-9._-]+$")]
    name: String,
    /// PEM text of a certificate of the gateway's own; with it no secret is made. What is kept is the SHA-256 of its public key: who
    /// signed it and what names it has is not looked at, and one that is renewed for the same key needs no word here. Its key is ECDSA
    /// P-256 or P-384, Ed25519, or RSA of 2048 to 8192 bits. Of several the first counts. Never send a private key.
    #[schema(max_length = 65536)]
    certificate: Option<String>,
}

/// The credentials file. A secret is shown this once and stored nowhere; a gateway with a certificate has none, and names the files of its
/// certificate and key instead.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documents the shape of what twin-transports writes")]
#[serde(rename_all = "camelCase")]
#[schema(as = Credentials)]
pub(crate) struct CredentialsBody {
    /// Version of the format: 1 with a secret, 2 with a certificate.
    version: u32,
    site: String,
    /// The gateway's name.
    name: String,
    product_key: String,
    /// Base64 of the seed of its Ed25519 key pair; absent with a certificate.
    secret: Option<String>,
    /// Where the gateway has its certificate, beside this file unless the name is absolute; absent with a secret.
    certificate_file: Option<String>,
    /// Where it has the certificate's private key, likewise.
    key_file: Option<String>,
    /// PEM text of the node's CA.
    ca: String,
    /// The name in the node's certificate.
    server_name: String,
}

#[utoipa::path(
    post, path = "/api/v1/sites/{id}/gateways", tag = "sites", operation_id = "addGateway",
    summary = "Makes a gateway's credentials, or registers its certificate",
    description = "A certificate is taken until it ends by the node's clock, and its session ends with it; one that has ended is refused here \
                   with 422 (rule `certificate-expired`). Its beginning is not looked at, neither here nor later: the clocks of stores are \
                   wrong, so one that is issued for next week may be registered today.",
    request_body(content = PostBody, content_type = "application/json"),
    responses(
        (status = 201, description = "The credentials, shown once", body = CredentialsBody),
        (status = 404, description = "There is no such site"),
        (status = 409, description = "The site has a gateway of that name, or is being deleted"),
    ),
)]
pub(crate) async fn post(request: HttpRequest, payload: Payload, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    let site = site_id(&request)?;
    let body = read_json(&request, payload, Accepts::Json).await?;
    let given = members(body.value, &["name", "certificate"], "a new gateway")?;
    let name = match given.get("name") {
        Some(Value::String(text)) => parse_gateway(text).map_err(|problem| problem.at("/name"))?,
        Some(_) => return Err(Problem::rule("not-a-string", "/name", "name is a string")),
        None => {
            return Err(Problem::rule("missing-member", "/name", "name is missing: what the gateway shall be called"));
        }
    };
    let key = new_key(given.get("certificate"), rest.clock.wall())?;
    let said = said(key);
    let once = keyed(&request, "gateway 1", &[&said])?;
    audit_detail(&request, format!("gateway {name}{said}"));
    let made = rest.cluster.add_gateway_with(&site, &name, key, once).await?;
    shown_once(&rest, made)
}

/// By a certificate, if one is given. One that has ended is refused, as no session would ever be opened with it. One that has not begun
/// is taken: that is not looked at later either, because the clocks of stores are wrong.
fn new_key(given: Option<&Value>, now: WallTime) -> Result<NewKey, Problem> {
    match given {
        None | Some(Value::Null) => Ok(NewKey::Secret),
        Some(Value::String(pem)) if pem.len() as u64 > PEM_BYTES_MAX => {
            let detail = format!("certificate has {} bytes, the limit is {PEM_BYTES_MAX}", pem.len());
            Err(Problem::rule("too-long", "/certificate", detail).with_limit(PEM_BYTES_MAX))
        }
        Some(Value::String(pem)) => match read_certificate_pem(pem) {
            Ok(CertificateKey { ends_at: Some(ends_at), .. }) if ends_at <= now => {
                let (ended, now) = (rfc3339(ends_at), rfc3339(now));
                let detail = format!(
                    "the certificate ended at {ended}, and this node's clock says {now}: issue a new one; it may be for the same key"
                );
                Err(Problem::rule("certificate-expired", "/certificate", detail))
            }
            Ok(key) => Ok(NewKey::Certificate(key.sha256)),
            Err(error) => Err(Problem::rule("not-a-certificate", "/certificate", error.to_string())),
        },
        Some(_) => Err(Problem::rule("not-a-string", "/certificate", "certificate is a string: PEM text")),
    }
}

/// For the audit log.
fn said(key: NewKey) -> String {
    match key {
        NewKey::Secret => String::new(),
        NewKey::Certificate(sha256) => {
            let sha256 = GatewayKey::Certificate(sha256).certificate_sha256().unwrap_or_default();
            format!(", by a certificate with public key SHA-256 {sha256}")
        }
    }
}

/// The credentials file.
fn shown_once(rest: &Rest, made: NewGateway) -> Result<HttpResponse, Problem> {
    let (ca, server_name) = (rest.certificates.ca_pem(), rest.certificates.server_name().to_owned());
    let NewGateway { site, name, product_key, secret } = made;
    let file = match secret {
        Some(secret) => {
            let secret = GatewaySecret::from_bytes(&secret).map_err(|error| Problem::internal(error.to_string()))?;
            Credentials { site, name, product_key, identity: secret.into(), ca, server_name, file: None }.to_json()
        }
        None => CredentialsFile::of_certificate(site, name, product_key, ca, server_name).to_json(),
    };
    Ok(HttpResponse::build(StatusCode::CREATED)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .content_type(JSON)
        .body(file))
}

#[utoipa::path(
    delete, path = "/api/v1/sites/{id}/gateways/{name}", tag = "sites", operation_id = "removeGateway",
    summary = "Revokes a gateway's credentials; its session ends at once",
    params(("name" = String, Path, description = "The gateway's name", min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$")),
    responses((status = 204, description = "Revoked"), (status = 404, description = "There is no such site, or no such gateway in it")),
)]
pub(crate) async fn delete(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    keyless(&request, "revoking credentials (a repeat is 404 once they are gone)")?;
    rest.cluster.remove_gateway(&site_id(&request)?, &gateway_name(&request)?).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// What POST of a key takes.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documents the shape of a body that is read by hand, to name what is wrong in it")]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = GatewayRotation)]
pub(crate) struct RotateBody {
    /// How long the old credentials still work; a day unless given, 0 for not at all.
    #[schema(minimum = 0, maximum = 31_622_400)]
    overlap_seconds: Option<u64>,
    /// PEM text of the gateway's new certificate, as in the POST that makes a gateway; without it a secret is made, whatever there was before.
    #[schema(max_length = 65536)]
    certificate: Option<String>,
}

#[utoipa::path(
    post, path = "/api/v1/sites/{id}/gateways/{name}/keys", tag = "sites", operation_id = "rotateGateway",
    summary = "Makes new credentials for a gateway, or registers its new certificate; the old ones work a while longer",
    description = "A gateway has at most two keys: where old credentials still work from an earlier call, those end now. A session that \
                   was opened with credentials that have ended is closed. A certificate for the key that is registered changes nothing; \
                   one that has ended is refused with 422 (rule `certificate-expired`).",
    params(("name" = String, Path, description = "The gateway's name", min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$")),
    request_body(content = RotateBody, content_type = "application/json"),
    responses(
        (status = 201, description = "The new credentials, shown once", body = CredentialsBody),
        (status = 404, description = "There is no such site, or no such gateway in it"),
        (status = 409, description = "The idempotency key made credentials before"),
    ),
)]
pub(crate) async fn rotate(request: HttpRequest, payload: Payload, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    let (site, name) = (site_id(&request)?, gateway_name(&request)?);
    let body = read_json(&request, payload, Accepts::Json).await?;
    let given = members(body.value, &["overlapSeconds", "certificate"], "a new key")?;
    let overlap = overlap(given.get("overlapSeconds"))?;
    let key = new_key(given.get("certificate"), rest.clock.wall())?;
    let said = said(key);
    let once = keyed(&request, "rotate 1", &[&overlap.as_secs().to_string(), &said])?;
    audit_detail(&request, format!("the old key works for {} s{said}", overlap.as_secs()));
    let (made, _) = rest.cluster.rotate_gateway(&site, &name, key, overlap, once).await?;
    shown_once(&rest, made)
}

#[utoipa::path(
    delete, path = "/api/v1/sites/{id}/gateways/{name}/keys/old", tag = "sites", operation_id = "endOldGatewayKey",
    summary = "Ends a gateway's old credentials before their time; a session that was opened with them is closed",
    params(("name" = String, Path, description = "The gateway's name", min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$")),
    responses(
        (status = 204, description = "They do not work, whether they did before or not"),
        (status = 404, description = "There is no such site, or no such gateway in it"),
    ),
)]
pub(crate) async fn end_old_key(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    keyless(&request, "ending old credentials (which may be asked for again)")?;
    rest.cluster.end_old_key(&site_id(&request)?, &gateway_name(&request)?).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn overlap(given: Option<&Value>) -> Result<Duration, Problem> {
    let longest = KEY_OVERLAP_MAX.as_secs();
    match given {
        None | Some(Value::Null) => Ok(KEY_OVERLAP_DEFAULT),
        Some(Value::Number(Number::Integer(seconds))) if (0..=longest.cast_signed()).contains(seconds) => {
            Ok(Duration::from_secs(seconds.cast_unsigned()))
        }
        Some(_) => {
            let detail = format!("overlapSeconds is a whole number from 0 to {longest}");
            Err(Problem::rule("out-of-range", "/overlapSeconds", detail).with_limit(longest))
        }
    }
}
