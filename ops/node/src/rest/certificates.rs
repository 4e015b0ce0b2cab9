//! `/api/v1/certificates:reload`: new certificates without a restart.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

use super::Rest;
use super::body::bodiless;
use super::document::json;
use super::guard::audit_detail;
use super::once::keyless;
use super::problem::Problem;
use super::query::Query;

/// The certificates that new connections are shown.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Certificates)]
pub(crate) struct CertificatesBody {
    /// The CA is another one than before: gateways need credentials that carry it.
    ca_changed: bool,
    /// SHA-256 of the certificate that gateways see, in hexadecimal.
    quic_sha256: String,
    /// SHA-256 of the certificate that REST clients see where the REST is TLS.
    rest_sha256: String,
}

#[utoipa::path(
    post, path = "/api/v1/certificates:reload", tag = "nodes", operation_id = "reloadCertificates",
    summary = "Reads the certificate files of this node again",
    description = "New connections are shown the new certificates, open ones go on. All of it or nothing: where a file is missing or a \
                   pair does not fit, the certificates in use stay. Where nothing changed they stay as well.",
    responses(
        (status = 200, description = "Reloaded", body = CertificatesBody),
        (status = 409, description = "A file is missing, or is not what it should be; nothing was changed"),
    ),
)]
pub(crate) async fn reload(request: HttpRequest, payload: Payload, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    keyless(&request, "reloading certificates (which may be asked for again)")?;
    bodiless(payload, "reloading certificates").await?;
    let certificates = rest.certificates.clone();
    let reloaded = rest.runtime.spawn_blocking(move || certificates.reload()).await;
    let reloaded = reloaded.map_err(|error| Problem::internal(error.to_string()))?;
    let reloaded =
        reloaded.map_err(|error| Problem::new(StatusCode::CONFLICT, "bad-certificate", error.to_string()))?;
    audit_detail(&request, format!("gateways see {}, REST clients {}", reloaded.quic_sha256, reloaded.rest_sha256));
    let (quic_sha256, rest_sha256) = (reloaded.quic_sha256, reloaded.rest_sha256);
    json(StatusCode::OK, &CertificatesBody { ca_changed: reloaded.ca_changed, quic_sha256, rest_sha256 })
}
