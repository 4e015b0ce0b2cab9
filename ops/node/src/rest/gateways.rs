//! `/api/v1/sites/{id}/gateways`: making and revoking credentials.

use actix_web::http::{StatusCode, header};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use twin_core::value::Value;
use twin_transports::auth::{Credentials, GatewaySecret};
use utoipa::ToSchema;

use super::Rest;
use super::body::{Accepts, JSON, members, read_json};
use super::problem::Problem;
use super::query::Query;
use super::segments::{gateway_name, parse_gateway, site_id};

/// What POST takes.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documents the shape of a body that is read by hand, to name what is wrong in it")]
#[serde(deny_unknown_fields)]
#[schema(as = GatewayPost)]
pub(crate) struct PostBody {
    /// The gateway's name in its site.
    #[schema(min_length = 1, max_length = 64, pattern = r"^(?!\.{1,2}$)[A-Za-z0-9._-]+$")]
    name: String,
}

/// The credentials file. The secret is shown this once and stored nowhere.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documents the shape of what twin-transports writes")]
#[serde(rename_all = "camelCase")]
#[schema(as = Credentials)]
pub(crate) struct CredentialsBody {
    /// Version of the format.
    version: u32,
    site: String,
    /// The gateway's name.
    name: String,
    product_key: String,
    /// Base64 of the seed of its Ed25519 key pair.
    secret: String,
    /// PEM text of the node's CA.
    ca: String,
    /// The name in the node's certificate.
    server_name: String,
}

#[utoipa::path(
    post, path = "/api/v1/sites/{id}/gateways", tag = "sites", operation_id = "addGateway",
    summary = "Makes a gateway's credentials",
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
    let given = members(body.value, &["name"], "a new gateway")?;
    let name = match given.get("name") {
        Some(Value::String(text)) => parse_gateway(text).map_err(|problem| problem.at("/name"))?,
        Some(_) => return Err(Problem::rule("not-a-string", "/name", "name is a string")),
        None => {
            return Err(Problem::rule("missing-member", "/name", "name is missing: what the gateway shall be called"));
        }
    };
    let made = rest.cluster.add_gateway(&site, &name).await?;
    let credentials = Credentials {
        site: made.site,
        name: made.name,
        product_key: made.product_key,
        secret: GatewaySecret::from_bytes(&made.secret).map_err(|error| Problem::internal(error.to_string()))?,
        ca: rest.ca_pem.clone(),
        server_name: rest.server_name.clone(),
    };
    Ok(HttpResponse::build(StatusCode::CREATED)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .content_type(JSON)
        .body(credentials.to_json()))
}

#[utoipa::path(
    delete, path = "/api/v1/sites/{id}/gateways/{name}", tag = "sites", operation_id = "removeGateway",
    summary = "Revokes a gateway's credentials; its session ends at once",
    params(("name" = String, Path, description = "The gateway's name", min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$")),
    responses((status = 204, description = "Revoked"), (status = 404, description = "There is no such site, or no such gateway in it")),
)]
pub(crate) async fn delete(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    rest.cluster.remove_gateway(&site_id(&request)?, &gateway_name(&request)?).await?;
    Ok(HttpResponse::NoContent().finish())
}
