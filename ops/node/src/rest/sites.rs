//! `/api/v1/sites` and `/api/v1/sites/{id}`.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use tokio::time::{Instant, sleep_until};
use twin_cluster::{ConflictPolicy, Enrolment, GatewayStatus, GatewayView, SiteChange, SiteMade, SiteView};
use twin_core::ids::SiteId;
use twin_core::value::{Members, Value};
use utoipa::ToSchema;

use super::Rest;
use super::body::{Accepts, members, read_json};
use super::conditional::unconditional;
use super::document::{json, time};
use super::guard::audit_detail;
use super::once::{keyed, keyless, tell_outcome};
use super::problem::Problem;
use super::query::Query;
use super::segments::site_id;
use crate::limits::SITE_REMOVAL_WAIT;

/// Who may have a twin in a site.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Enrolment)]
pub(crate) enum EnrolmentBody {
    /// Only devices that were registered by PUT.
    Registered,
    /// Any device: the first attach registers it.
    Open,
    /// Devices that were registered by PUT, and those whose ids are on the site's list: their first attach registers them.
    List,
}

/// What becomes of two gateways that come with one credential, which have different outboxes. A gateway that comes back with its own
/// outbox always takes the place of its older session at once. Both sides are told, and the audit log.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = CredentialConflict)]
pub(crate) enum ConflictBody {
    /// The newer one is let in, and the older session ends.
    Replace,
    /// The newer one is refused while the older has a session.
    DenyNew,
}

impl From<ConflictPolicy> for ConflictBody {
    fn from(policy: ConflictPolicy) -> Self {
        match policy {
            ConflictPolicy::Replace => Self::Replace,
            ConflictPolicy::DenyNew => Self::DenyNew,
        }
    }
}

/// What PUT takes.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documents the shape of a body that is read by hand, to name what is wrong in it")]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = SitePut)]
pub(crate) struct PutBody {
    /// As it was unless given; of a new site `registered`.
    enrolment: Option<EnrolmentBody>,
    /// As it was unless given; of a new site `replace`.
    credential_conflict: Option<ConflictBody>,
}

/// A site.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Site)]
pub(crate) struct SiteBody {
    id: String,
    enrolment: EnrolmentBody,
    credential_conflict: ConflictBody,
    /// The Raft group that stores its twins.
    cell: u32,
    /// Rises with each move of the site.
    epoch: u64,
    /// It is being deleted, with all that hangs on it: nothing new comes into it.
    deleting: bool,
    /// By name.
    gateways: Vec<GatewayBody>,
}

/// A gateway of a site.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Gateway)]
pub(crate) struct GatewayBody {
    name: String,
    /// When its credentials were made.
    #[schema(format = DateTime)]
    created_at: Option<String>,
    /// Has it a session now?
    connected: bool,
    /// Address that it connects from.
    peer: Option<String>,
    /// Its software.
    agent: Option<String>,
    /// When its session was opened.
    #[schema(format = DateTime)]
    connected_at: Option<String>,
    /// Until when its old credentials work, too; null: they do not.
    #[schema(format = DateTime)]
    old_key_until: Option<String>,
    /// When it was last heard, in this run of the node.
    #[schema(format = DateTime)]
    last_seen: Option<String>,
    /// Its last heartbeat.
    status: Option<StatusBody>,
    /// SHA-256 of its certificate's public key (SubjectPublicKeyInfo) in hexadecimal; null: it proves itself by a secret.
    certificate_sha256: Option<String>,
    /// When the certificate ends that it showed for its session; null: it has none now, or no end.
    #[schema(format = DateTime)]
    certificate_ends_at: Option<String>,
}

/// What a gateway says of itself.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GatewayStatus)]
pub(crate) struct StatusBody {
    /// Since its boot.
    uptime_ms: u64,
    /// Messages in its outbox.
    backlog_messages: u64,
    /// Bytes in its outbox.
    backlog_bytes: u64,
    /// Cap of its outbox.
    backlog_bytes_max: u64,
    /// Messages that were refused for good.
    dead_letters: u64,
    /// Devices attached.
    devices: u64,
    /// For how long the oldest message has been in its outbox, in this run of it; null: there is none.
    oldest_message_ms: Option<u64>,
    /// Load average of the last minute; null: its system does not tell.
    load_average: Option<f64>,
    /// CPUs that it may use.
    cpus: Option<u16>,
    /// Round trip to the node as QUIC measures it.
    round_trip_ms: Option<f64>,
    /// Packets that it sent on this session's connection...
    packets_sent: Option<u64>,
    /// ...and those of them that were lost.
    packets_lost: Option<u64>,
    /// Signal of its own uplink in dBm, as its software says.
    #[schema(minimum = -200, maximum = 50)]
    rssi_dbm: Option<i16>,
    /// Charge of its battery or UPS, likewise.
    #[schema(maximum = 100)]
    battery_percent: Option<u8>,
    /// Does it run on it?
    on_battery: Option<bool>,
}

/// All sites.
#[derive(Serialize, ToSchema)]
#[schema(as = Sites)]
pub(crate) struct SitesBody {
    sites: Vec<SiteBody>,
}

impl From<GatewayStatus> for StatusBody {
    fn from(status: GatewayStatus) -> Self {
        Self {
            uptime_ms: status.uptime_ms,
            backlog_messages: status.backlog_messages,
            backlog_bytes: status.backlog_bytes,
            backlog_bytes_max: status.backlog_bytes_max,
            dead_letters: status.dead_letters,
            devices: status.devices,
            oldest_message_ms: status.health.oldest_message_ms,
            load_average: status.health.load_hundredths.map(|load| f64::from(load) / 100.0),
            cpus: status.health.cpus,
            round_trip_ms: status.health.round_trip_us.map(|us| f64::from(us) / 1000.0),
            packets_sent: status.health.packets_sent,
            packets_lost: status.health.packets_lost,
            rssi_dbm: status.health.rssi_dbm,
            battery_percent: status.health.battery_percent,
            on_battery: status.health.on_battery,
        }
    }
}

impl From<GatewayView> for GatewayBody {
    fn from(gateway: GatewayView) -> Self {
        Self {
            name: gateway.name.to_string(),
            created_at: time(gateway.created_at),
            connected: gateway.connected,
            peer: gateway.peer,
            agent: gateway.agent,
            connected_at: gateway.connected_at.and_then(time),
            old_key_until: gateway.old_key_until.and_then(time),
            last_seen: gateway.last_seen.and_then(time),
            status: gateway.status.map(Into::into),
            certificate_sha256: gateway.certificate_sha256,
            certificate_ends_at: gateway.certificate_ends_at.and_then(time),
        }
    }
}

impl From<SiteView> for SiteBody {
    fn from(site: SiteView) -> Self {
        Self {
            id: site.id.to_string(),
            enrolment: match site.enrolment {
                Enrolment::Registered => EnrolmentBody::Registered,
                Enrolment::Open => EnrolmentBody::Open,
                Enrolment::List => EnrolmentBody::List,
            },
            credential_conflict: site.conflict.into(),
            cell: site.cell.get(),
            epoch: site.epoch,
            deleting: site.deleting,
            gateways: site.gateways.into_iter().map(Into::into).collect(),
        }
    }
}

#[utoipa::path(
    get, path = "/api/v1/sites", tag = "sites", operation_id = "listSites", summary = "All sites with their gateways",
    responses((status = 200, description = "The sites", body = SitesBody)),
)]
pub(crate) async fn list(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    let sites = rest.cluster.sites().await?.into_iter().map(Into::into).collect();
    json(StatusCode::OK, &SitesBody { sites })
}

#[utoipa::path(
    get, path = "/api/v1/sites/{id}", tag = "sites", operation_id = "getSite",
    summary = "The site: its gateways, their status, backlog and when they were last seen",
    responses((status = 200, description = "The site", body = SiteBody), (status = 404, description = "There is no such site")),
)]
pub(crate) async fn get(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    let site = rest.cluster.site(&site_id(&request)?).await?;
    json(StatusCode::OK, &SiteBody::from(site))
}

#[utoipa::path(
    put, path = "/api/v1/sites/{id}", tag = "sites", operation_id = "putSite",
    summary = "Creates the site, or changes it",
    request_body(content = PutBody, content_type = "application/json"),
    responses(
        (status = 200, description = "Changed", body = SiteBody),
        (status = 201, description = "Created", body = SiteBody),
        (status = 409, description = "It is being deleted"),
    ),
)]
pub(crate) async fn put(request: HttpRequest, payload: Payload, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    let id = site_id(&request)?;
    unconditional(&request, "a site")?;
    let body = read_json(&request, payload, Accepts::Json).await?;
    let given = members(body.value, &["enrolment", "credentialConflict"], "a site")?;
    let enrolment = one_of(
        given.get("enrolment"),
        ("not-an-enrolment", "enrolment"),
        &[("registered", Enrolment::Registered), ("open", Enrolment::Open), ("list", Enrolment::List)],
    )?;
    let conflict = one_of(
        given.get("credentialConflict"),
        ("not-a-policy", "credentialConflict"),
        &[("replace", ConflictPolicy::Replace), ("deny-new", ConflictPolicy::DenyNew)],
    )?;
    let asked = format!("enrolment {enrolment:?}, credential conflict {conflict:?}");
    let once = keyed(&request, "site 1", &[&asked])?;
    audit_detail(&request, asked_in_words(&given));
    let SiteMade { created, replayed } =
        rest.cluster.put_site_once(&id, SiteChange { enrolment, conflict }, once.clone()).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = json(status, &SiteBody::from(rest.cluster.site(&id).await?))?;
    if once.is_some() {
        tell_outcome(&mut response, &format!("created={}", if created { "?1" } else { "?0" }), replayed);
    }
    Ok(response)
}

/// What a change of a site asks for, for the audit log.
fn asked_in_words(given: &Members) -> String {
    let word = |name: &str| given.get(name).and_then(Value::as_str);
    let asked = [("enrolment", "enrolment"), ("credentialConflict", "credential conflict")]
        .into_iter()
        .filter_map(|(name, called)| Some(format!("{called} {}", word(name)?)))
        .collect::<Vec<_>>();
    if asked.is_empty() { "no setting given".to_owned() } else { asked.join(", ") }
}

/// What is answered while a site is being deleted.
#[derive(Serialize, ToSchema)]
#[schema(as = SiteRemoval)]
pub(crate) struct RemovalBody<'a> {
    id: &'a str,
    /// Always true.
    deleting: bool,
}

#[utoipa::path(
    delete, path = "/api/v1/sites/{id}", tag = "sites", operation_id = "deleteSite",
    summary = "Deletes the site; with `cascade`, all that hangs on it as well",
    description = "With `cascade=true` the site is marked first, which nothing takes back: no new twin or gateway comes into it any more. \
                   Then its gateways are revoked, its twins deleted, and the site goes last. That goes on whether anybody waits or \
                   not, also across restarts; where it takes longer than 20 s the answer is 202, and asking again goes on waiting. \
                   While it lasts, twins that are not deleted yet can be read.",
    params(("cascade" = Option<bool>, Query, description = "Also delete its twins and gateways; without it, a site that has any is refused")),
    responses(
        (status = 202, description = "It is being deleted; ask again to wait for the end", body = RemovalBody<'_>),
        (status = 204, description = "It is gone, and all that hung on it"),
        (status = 404, description = "There is no such site"),
        (status = 409, description = "It has twins or gateways (`site-not-empty`), or always exists (`site-needed`)"),
    ),
)]
pub(crate) async fn delete(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    let query = Query::read(&request, &["cascade"])?;
    let id = site_id(&request)?;
    unconditional(&request, "a site")?;
    // It would have to be remembered by what it deletes, and its repeat could delete a later site of that name.
    keyless(&request, "deleting a site (a repeat is 404 once it is gone)")?;
    let cascade = query.flag("cascade")?.unwrap_or(false);
    let removal = rest.cluster.remove_site(&id, cascade).await?;
    tokio::select! {
        () = removal.done() => Ok(HttpResponse::NoContent().finish()),
        () = sleep_until(Instant::now() + SITE_REMOVAL_WAIT) => still_deleting(&id),
        () = rest.closing.cancelled() => still_deleting(&id),
    }
}

fn still_deleting(site: &SiteId) -> Result<HttpResponse, Problem> {
    json(StatusCode::ACCEPTED, &RemovalBody { id: site.as_str(), deleting: true })
}

/// The meaning of a word, if one is given.
fn one_of<T: Copy>(
    given: Option<&Value>,
    (rule, name): (&str, &str),
    words: &[(&str, T)],
) -> Result<Option<T>, Problem> {
    let value = match given {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value,
    };
    if let Some((_, meaning)) = words.iter().find(|(word, _)| value.as_str() == Some(word)) {
        return Ok(Some(*meaning));
    }
    let mut found = twin_core::json::to_compact(value);
    if found.chars().count() > 40 {
        found = format!("{}...", found.chars().take(40).collect::<String>());
    }
    let known: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
    Err(Problem::rule(rule, format!("/{name}"), format!("{name} is {}, not {found}", known.join(" or "))))
}
