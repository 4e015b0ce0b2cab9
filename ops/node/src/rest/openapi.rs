//! `/openapi.json`, made from the code, and `/docs`, a page to try it.

use std::sync::{Arc, LazyLock};

use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Ref, RefOr, Required, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi};
use utoipa_swagger_ui::Config;

use super::body::JSON;
use super::once::Keys;
use super::problem::{PROBLEM_JSON, Problem, ProblemBody};
use super::query::Query;
use super::section_schema::{SECTION_INPUT, SectionInput, ValueInput};
use super::segments::percent_decode;
use super::wait::Waits;
use super::{
    alarms, audit, backup, batch, certificates, delta, devices, document, events, exports, gateways, health, methods,
    metrics, nodes, routes, sections, sites, tokens, twins,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Twinmesh admin REST",
        description = "Read and steer device twins. Everything under /api/v1 needs an admin token of a scope: `read`, `steer` (which \
                       includes `read`) or `operate` (which includes both). Errors are RFC 9457 problems with a stable `code`."
    ),
    paths(
        twins::list, batch::update, batch::get, batch::import, exports::get, twins::get, twins::put, twins::patch, twins::delete,
        sections::get, sections::put, sections::patch, sections::delete,
        delta::get, alarms::get, methods::call, events::all, events::of_twin,
        sites::list, sites::get, sites::put, sites::delete, gateways::post, gateways::delete, nodes::list,
        gateways::rotate, gateways::end_old_key, devices::list, devices::post,
        tokens::list, tokens::post, tokens::delete, audit::list, certificates::reload, backup::post,
        health::healthz, health::readyz, metrics::metrics, openapi_json,
    ),
    components(schemas(ProblemBody<'_>, events::EventBody<'_>, document::ConvergenceBody, SectionInput, ValueInput)),
    modifiers(&Sections, &Parameters, &Keys, &Waits, &Problems, &Token, &Scopes),
)]
struct Description;

static DOCUMENT: LazyLock<String> = LazyLock::new(|| serde_json::to_string(&description()).unwrap_or_default());

/// The description of this REST.
pub(crate) fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

#[utoipa::path(
    get, path = "/openapi.json", tag = "health", operation_id = "openapi", summary = "This description",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)), security(()),
)]
pub(crate) async fn openapi_json(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    Ok(HttpResponse::Ok().content_type(JSON).body(DOCUMENT.as_str()))
}

/// Relative addresses in the page need the slash.
pub(crate) async fn docs_root() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((header::LOCATION, "/docs/")).finish()
}

/// A file of the vendored page.
pub(crate) async fn docs(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let file = percent_decode(request.uri().path().trim_start_matches("/docs/"))?;
    let config = Arc::new(Config::new(["/openapi.json"]));
    match utoipa_swagger_ui::serve(&file, config) {
        Ok(Some(file)) => Ok(HttpResponse::Ok().content_type(file.content_type).body(file.bytes.into_owned())),
        Ok(None) => {
            Err(Problem::new(StatusCode::NOT_FOUND, "route-not-found", format!("the page has no file {file:?}")))
        }
        Err(error) => Err(Problem::internal(format!("the page cannot be shown: {error}"))),
    }
}

fn operations(item: &mut PathItem) -> Vec<&mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten().collect()
}

/// The sections share their handlers, but each has its own paths: OpenAPI has no parameter that spans segments, and a
/// `{section}` would also match `delta`.
struct Sections;

impl Modify for Sections {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let Some(template) = openapi.paths.paths.remove("/api/v1/twins/{id}/{section}") else { return };
        for (section, name) in [("tags", "Tags"), ("desired", "Desired"), ("reported", "Reported")] {
            for (suffix, property) in [("", ""), ("/{pointer}", "Property")] {
                let mut item = template.clone();
                if section == "reported" {
                    (item.put, item.patch, item.delete) = (None, None, None);
                }
                for operation in operations(&mut item) {
                    if suffix.is_empty() {
                        takes_section(operation);
                    }
                    operation.operation_id =
                        operation.operation_id.take().map(|verb| format!("{verb}{name}{property}"));
                }
                openapi.paths.paths.insert(format!("/api/v1/twins/{{id}}/{section}{suffix}"), item);
            }
        }
    }
}

/// A whole section is an object; a property in it may be any value.
fn takes_section(operation: &mut Operation) {
    let Some(RefOr::T(body)) = &mut operation.request_body else { return };
    for content in body.content.values_mut() {
        if let RefOr::T(content) = content {
            content.schema = Some(Ref::from_schema_name(SECTION_INPUT).into());
        }
    }
}

/// Parameters that many operations share.
struct Parameters;

impl Modify for Parameters {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        for (path, item) in &mut openapi.paths.paths {
            let conditional = path.starts_with("/api/v1/twins/{id}")
                && !path.contains("/methods/")
                && !path.ends_with("/events")
                && !path.ends_with("/delta")
                && !path.ends_with("/alarms");
            let (reads, mut writes) = (item.get.is_some(), operations(item));
            for (at, operation) in writes.iter_mut().enumerate() {
                let is_read = reads && at == 0;
                let shared = shared_parameters(path, conditional, is_read);
                operation.parameters.get_or_insert_default().extend(shared.into_iter().map(RefOr::T));
            }
        }
    }
}

fn shared_parameters(path: &str, conditional: bool, is_read: bool) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    if path.starts_with("/api/v1/twins/{id}") {
        let ids = r"^(?!\.{1,2}$)[A-Za-z0-9\-._%#*?!(),:=@$'+]+$";
        parameters.push(text_parameter("id", ParameterIn::Path, "The twin's id, percent-encoded", (1, 128, ids)));
    }
    if path.starts_with("/api/v1/sites/{id}") {
        let ids = r"^(?!\.{1,2}$)[A-Za-z0-9._-]+$";
        parameters.push(text_parameter("id", ParameterIn::Path, "The site's id", (1, 64, ids)));
    }
    if path.ends_with("/{pointer}") {
        let what = "The rest of a JSON pointer (RFC 6901): the keys, each percent-encoded, separated by slashes";
        let keys = r"^([^\u0000-\u001f\u007f-\u009f.$ ~]|~[01])*$";
        parameters.push(text_parameter("pointer", ParameterIn::Path, what, (0, POINTER_CHARACTERS_MAX, keys)));
    }
    if conditional {
        // The last alternative is what the body shows as `etag`, sent back as it is.
        let any_or_tags = r#"^(\*|(W/)?"[!#-~]*"(, *(W/)?"[!#-~]*")*|[!#-)+\--~]+)$"#;
        let (matching, none, none_pattern) = if is_read {
            // Whatever else it may be, it is no current etag.
            ("Etags: 412 unless one is current", "Etags: 304 if one is current", "^[!-~]([ -~]*[!-~])?$")
        } else {
            ("Etags, or `*` for any: 412 unless one is current", "`*`: 412 if the twin exists", r"^\*$")
        };
        let bounds = |pattern| (1, UNBOUNDED, pattern);
        parameters.push(text_parameter("If-Match", ParameterIn::Header, matching, bounds(any_or_tags)));
        parameters.push(text_parameter("If-None-Match", ParameterIn::Header, none, bounds(none_pattern)));
    }
    parameters
}

/// Longest pointer that is described as possible; more may work.
const POINTER_CHARACTERS_MAX: usize = 4096;
/// A text that only the size of a request's head bounds.
const UNBOUNDED: usize = usize::MAX;

pub(crate) fn text_parameter(
    name: &str,
    place: ParameterIn,
    description: &str,
    (length_min, length_max, pattern): (usize, usize, &str),
) -> Parameter {
    let required = if place == ParameterIn::Path { Required::True } else { Required::False };
    let schema = ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .min_length(Some(length_min))
        .max_length((length_max != UNBOUNDED).then_some(length_max))
        .pattern(Some(pattern));
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(description))
        .schema(Some(schema.build()))
        .build()
}

/// Every error is a problem body, and some can befall any operation.
struct Problems;

impl Modify for Problems {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        for (path, item) in &mut openapi.paths.paths {
            for operation in operations(item) {
                let mut befall = vec![
                    ("400", "Malformed path, query, header or body"),
                    ("405", "The resource has no such method; Allow names those that it has"),
                ];
                if path.starts_with("/api/v1") {
                    befall.extend([
                        ("401", "The token is missing or wrong, or has ended"),
                        ("403", "The token's scope is not enough"),
                        ("429", "A budget is used up; try again as Retry-After says"),
                        ("503", "No leader at the moment; try again as Retry-After says"),
                    ]);
                }
                if operation.request_body.is_some() {
                    befall.extend([
                        ("408", "The body did not arrive in time"),
                        ("413", "The body, or a section, is larger than its limit"),
                        ("415", "The body has another content type"),
                        ("422", "The body breaks a document rule"),
                    ]);
                }
                if path.ends_with("/{pointer}") && operation.request_body.is_none() {
                    befall.push(("422", "The pointer breaks a document rule"));
                }
                let responses = &mut operation.responses.responses;
                for (status, description) in befall {
                    let new = || RefOr::T(ResponseBuilder::new().description(description).build());
                    responses.entry(status.to_owned()).or_insert_with(new);
                }
                for (status, response) in responses.iter_mut() {
                    if let RefOr::T(response) = response
                        && status.as_str() >= "400"
                    {
                        carry_problem(response);
                    }
                }
            }
        }
    }
}

fn carry_problem(response: &mut Response) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    response.content.insert(PROBLEM_JSON.to_owned(), content.into());
}

/// The bearer token, needed unless an operation says otherwise.
struct Token;

impl Modify for Token {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        openapi.components.get_or_insert_default().add_security_scheme("token", scheme);
        let required = utoipa::openapi::SecurityRequirement::new("token", Vec::<String>::new());
        openapi.security = Some(vec![required]);
    }
}

/// The scope that each operation needs, as the table of routes has it.
struct Scopes;

impl Modify for Scopes {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let endpoints = routes::api();
        for (path, item) in &mut openapi.paths.paths {
            let methods = [
                (Method::GET, &mut item.get),
                (Method::PUT, &mut item.put),
                (Method::POST, &mut item.post),
                (Method::PATCH, &mut item.patch),
                (Method::DELETE, &mut item.delete),
            ];
            for (method, operation) in methods {
                if let (Some(operation), Some(scope)) = (operation, routes::scope_of(&endpoints, path, &method)) {
                    let needs = utoipa::openapi::SecurityRequirement::new("token", [scope.as_str()]);
                    operation.security = Some(vec![needs]);
                }
            }
        }
    }
}
