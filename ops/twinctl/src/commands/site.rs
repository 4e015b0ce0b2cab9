//! `twinctl site`: sites, and the state of their gateways.

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use ureq::http::Method;

use super::devices::devices;
use crate::api_path::ApiPath;
use crate::cli::{Enrolment, OnConflict, Site};
use crate::client::{Ask, Client};
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::table::{Table, printable};

/// All sites, each as it was sent.
#[derive(Deserialize)]
struct Sites {
    sites: Vec<Box<RawValue>>,
}

/// What the tables show of a site.
#[derive(Debug, Deserialize)]
pub(crate) struct SiteView {
    id: String,
    enrolment: String,
    #[serde(default)]
    deleting: bool,
    cell: serde_json::Value,
    epoch: u64,
    gateways: Vec<GatewayView>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GatewayView {
    name: String,
    connected: bool,
    peer: Option<String>,
    agent: Option<String>,
    last_seen: Option<String>,
    status: Option<GatewayStatus>,
    certificate_sha256: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GatewayStatus {
    backlog_messages: u64,
    backlog_bytes: u64,
    backlog_bytes_max: u64,
    dead_letters: u64,
    devices: u64,
    oldest_message_ms: Option<u64>,
    load_average: Option<f64>,
    round_trip_ms: Option<f64>,
    rssi_dbm: Option<i16>,
    battery_percent: Option<u8>,
    on_battery: Option<bool>,
}

impl GatewayStatus {
    /// Charge, and whether it goes down.
    fn battery(&self) -> String {
        let charge = self.battery_percent.map_or_else(String::new, |percent| format!("{percent}%"));
        let word = if self.on_battery == Some(true) { "on battery" } else { "" };
        let text = [charge.as_str(), word].join(" ").trim().to_owned();
        if text.is_empty() { "-".to_owned() } else { text }
    }
}

impl SiteView {
    /// Who may have a twin in it; nobody new once it is being deleted.
    fn state(&self) -> &str {
        if self.deleting { "being deleted" } else { &self.enrolment }
    }
}

/// Carries out `twinctl site ...`.
pub(crate) fn run(client: &Client, output: Output, command: Site) -> Result<(), Failure> {
    match command {
        Site::Ls => {
            let answer = client.get(ApiPath::new("sites"))?;
            let list: Sites = answer.read()?;
            if output.json {
                return list.sites.iter().try_for_each(|site| output::line(site.get()));
            }
            let mut table = Table::new(&["SITE", "ENROLMENT", "CELL", "EPOCH", "GATEWAYS", "CONNECTED"]);
            for site in &list.sites {
                let site: SiteView =
                    serde_json::from_str(site.get()).map_err(|error| answer.not_understood(error.to_string()))?;
                let connected = site.gateways.iter().filter(|gateway| gateway.connected).count();
                table.row([
                    site.id.clone(),
                    site.state().to_owned(),
                    site.cell.to_string(),
                    site.epoch.to_string(),
                    site.gateways.len().to_string(),
                    connected.to_string(),
                ]);
            }
            output::text(&table.render())
        }
        Site::Show { id } => {
            let answer = client.get(ApiPath::new("sites").segment(&id)?)?;
            if output.json {
                return output.document(&answer.body);
            }
            let site: SiteView = answer.read()?;
            let (id, state) = (printable(&site.id), printable(site.state()));
            output::line(&format!("site {id}  enrolment {state}  cell {}  epoch {}\n", site.cell, site.epoch))?;
            output::text(&gateway_table(&site))
        }
        Site::Rm { id, cascade } => remove(client, output, &id, cascade),
        Site::Set { id, enrolment, on_conflict } => {
            let word = match enrolment {
                Enrolment::Open => "open",
                Enrolment::Registered => "registered",
                Enrolment::List => "list",
            };
            let ask = Ask::new(Method::PUT, ApiPath::new("sites").segment(&id)?);
            let mut body = json!({ "enrolment": word });
            if let Some(policy) = on_conflict {
                let word = match policy {
                    OnConflict::Replace => "replace",
                    OnConflict::DenyNew => "deny-new",
                };
                body["credentialConflict"] = word.into();
            }
            let answer = client.ask(ask.json(body.to_string()))?;
            if output.json {
                return output.document(&answer.body);
            }
            let created = if answer.status == 201 { ", created" } else { "" };
            output::line(&format!("site {id}: enrolment {word}{created}"))
        }
        Site::Devices { id, add, remove } => devices(client, output, &id, add.as_deref(), remove.as_deref()),
    }
}

/// Asks until the site is gone: a large one takes longer than one answer may.
fn remove(client: &Client, output: Output, id: &str, cascade: bool) -> Result<(), Failure> {
    let mut path = ApiPath::new("sites").segment(id)?;
    if cascade {
        path = path.query("cascade", "true");
    }
    let mut was_deleting = false;
    loop {
        match client.ask(Ask::new(Method::DELETE, path.clone())) {
            Ok(answer) if answer.status == 202 => {
                if !std::mem::replace(&mut was_deleting, true) {
                    eprintln!("site {} is being deleted; this goes on also if you stop waiting", printable(id));
                }
            }
            Ok(_) => break,
            // Gone between two questions.
            Err(Failure::Refused(problem)) if was_deleting && problem.status == 404 => break,
            Err(failure) => return Err(failure),
        }
    }
    if output.json { Ok(()) } else { output::line(&format!("site {}: deleted", printable(id))) }
}

/// A site's gateways with their links and backlogs.
pub(crate) fn gateway_table(site: &SiteView) -> String {
    let mut table = Table::new(&[
        "GATEWAY",
        "LINK",
        "DEVICES",
        "BACKLOG",
        "OUTBOX",
        "DEAD LETTERS",
        "OLDEST",
        "LOAD",
        "RTT",
        "RSSI",
        "BATTERY",
        "LAST SEEN",
        "PEER",
        "BY",
        "AGENT",
    ]);
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    for gateway in &site.gateways {
        let status = gateway.status.as_ref();
        let number = |get: fn(&GatewayStatus) -> u64| status.map_or_else(|| "-".to_owned(), |s| get(s).to_string());
        let told =
            |get: &dyn Fn(&GatewayStatus) -> Option<String>| status.and_then(get).unwrap_or_else(|| "-".to_owned());
        table.row([
            gateway.name.clone(),
            if gateway.connected { "up" } else { "down" }.to_owned(),
            number(|s| s.devices),
            number(|s| s.backlog_messages),
            status.map_or_else(|| "-".to_owned(), |s| percent(s.backlog_bytes, s.backlog_bytes_max)),
            number(|s| s.dead_letters),
            told(&|s| s.oldest_message_ms.map(|ms| format!("{} s", ms / 1000))),
            told(&|s| s.load_average.map(|load| format!("{load:.2}"))),
            told(&|s| s.round_trip_ms.map(|ms| format!("{ms:.1} ms"))),
            told(&|s| s.rssi_dbm.map(|dbm| format!("{dbm} dBm"))),
            told(&|s| Some(s.battery())),
            or_dash(&gateway.last_seen),
            or_dash(&gateway.peer),
            if gateway.certificate_sha256.is_some() { "certificate" } else { "secret" }.to_owned(),
            or_dash(&gateway.agent),
        ]);
    }
    table.render()
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.0}%", part as f64 * 100.0 / whole as f64) }
}
