//! `twinctl doctor`: what is wrong with a node, and what to do about it. Reads only, and asks the node a handful of questions.

mod certificate;
mod finding;
mod gateways;
mod link;
mod load;
mod moment;

use serde::Deserialize;
use ureq::http::StatusCode;

use self::finding::{Findings, Level};
use self::moment::from_date_header;
use crate::api_path::ApiPath;
use crate::cli::Connection;
use crate::client::{Client, Seen};
use crate::failure::Failure;
use crate::limits::CLOCK_SKEW_S_MAX;
use crate::output::Output;
use crate::problem::Problem;

pub(crate) use self::link::meaning_of_tls;
pub(crate) use self::moment::Moment;

/// What helps a node without room on its disk.
const MAKE_ROOM: &str =
    "make room on the disk of the data directory; writes are taken again by themselves, without a restart";

/// As far as the version goes.
#[derive(Deserialize)]
struct Description {
    info: Info,
}

#[derive(Deserialize)]
struct Info {
    version: String,
}

/// Carries out `twinctl doctor`.
pub(crate) fn run(client: &Client, connection: &Connection, output: Output) -> Result<(), Failure> {
    let mut findings = Findings::new(output);
    let seen = match client.look(ApiPath::root("healthz")) {
        Ok(seen) if seen.status == StatusCode::OK => seen,
        Ok(seen) => {
            let found = format!("{} answers {} at /healthz", client.base(), seen.status.as_u16());
            findings.add(
                Level::Wrong,
                "reachable",
                &found,
                "this is not a node, or a proxy stands before it: correct --url",
            )?;
            return findings.end(false);
        }
        Err(failure) => {
            link::unreachable(&mut findings, &failure)?;
            return findings.end(true);
        }
    };
    findings.fine("reachable", &format!("{} answers", client.base()))?;
    clock(&mut findings, &seen)?;
    certificate::look(&mut findings, client.base(), connection.ca.as_deref(), seen.here)?;
    version(&mut findings, client)?;
    let metrics = match client.look(ApiPath::root("metrics")) {
        Ok(seen) if seen.status == StatusCode::OK => load::Metrics::read(&seen.body),
        _ => load::Metrics::default(),
    };
    ready(&mut findings, client)?;
    load::look(&mut findings, &metrics)?;
    if token(&mut findings, client)? {
        gateways::look(&mut findings, client, &metrics)?;
    }
    findings.end(false)
}

/// Nothing rests on clocks, but people read the timestamps.
fn clock(findings: &mut Findings, seen: &Seen) -> Result<(), Failure> {
    let Some(there) = seen.date.as_deref().and_then(from_date_header) else {
        return findings.add(Level::Warning, "clock", "the node does not tell its time", "is a proxy in between?");
    };
    let ahead_s = there.0 - seen.here.0;
    if ahead_s.unsigned_abs() <= CLOCK_SKEW_S_MAX {
        return findings.fine("clock", &format!("within {CLOCK_SKEW_S_MAX} s of the one here"));
    }
    let found =
        format!("{} s {} the one here", ahead_s.unsigned_abs(), if ahead_s > 0 { "ahead of" } else { "behind" });
    findings.add(Level::Warning, "clock", &found, "timestamps will mislead: look at `timedatectl` on both machines")
}

fn version(findings: &mut Findings, client: &Client) -> Result<(), Failure> {
    let ours = env!("CARGO_PKG_VERSION");
    let described = client.look(ApiPath::root("openapi.json")).ok();
    let theirs = described.and_then(|seen| serde_json::from_str::<Description>(&seen.body).ok());
    match theirs.map(|description| description.info.version) {
        Some(version) if version == ours => findings.fine("version", &version),
        Some(version) => {
            let found = format!("the node is {version}, this twinctl {ours}");
            findings.add(Level::Warning, "version", &found, "use the twinctl of the node's release")
        }
        None => findings.add(Level::Warning, "version", "the node does not tell its version", "is a proxy in between?"),
    }
}

fn ready(findings: &mut Findings, client: &Client) -> Result<(), Failure> {
    let remedy =
        "wait if it was just started; else its log says why, and `systemctl restart twind` loses nothing acknowledged";
    match client.look(ApiPath::root("readyz")) {
        Ok(seen) if seen.status == StatusCode::OK => findings.fine("ready", "a write would commit"),
        Ok(seen) => {
            let problem = Problem::read(seen.status.as_u16(), None, seen.body.as_bytes());
            let found = problem.detail.unwrap_or_else(|| format!("it answers {}", seen.status.as_u16()));
            let remedy = if problem.code.as_deref() == Some("disk-full") { MAKE_ROOM } else { remedy };
            findings.add(Level::Wrong, "ready", &found, remedy)
        }
        Err(failure) => findings.add(Level::Wrong, "ready", &failure.to_string(), remedy),
    }
}

/// Is the token taken?
fn token(findings: &mut Findings, client: &Client) -> Result<bool, Failure> {
    match client.look(ApiPath::new("nodes")) {
        Ok(seen) if seen.status == StatusCode::UNAUTHORIZED => {
            let remedy = "give --token-file the `admin.token` of this node's data directory";
            findings.add(Level::Wrong, "token", "the node refuses it", remedy)?;
            Ok(false)
        }
        Ok(seen) if seen.status == StatusCode::SERVICE_UNAVAILABLE => {
            let remedy = "run it again once the node is ready";
            findings.add(Level::Warning, "token", "not looked at: the node answers 503", remedy)?;
            Ok(false)
        }
        Ok(_) => findings.fine("token", "taken").map(|()| true),
        Err(failure) => {
            findings.add(Level::Wrong, "token", &failure.to_string(), "run it again; then look at the node's log")?;
            Ok(false)
        }
    }
}
