//! `twinctl twin`: read, steer and list twins, and call methods of their devices.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use ureq::http::{Method, header};

use super::{body, watch};
use crate::api_path::ApiPath;
use crate::cli::{Conditions, Goal, How, Target, Twin};
use crate::client::{Answer, Ask, Client};
use crate::failure::Failure;
use crate::limits::PAGE_TWINS;
use crate::output::{self, Output};
use crate::table::{Table, printable};

/// One page of twins, each as it was sent.
#[derive(Deserialize)]
struct Page {
    twins: Vec<Box<RawValue>>,
    next: Option<String>,
}

/// What the table shows of a twin.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TwinView {
    device_id: String,
    site: String,
    version: u64,
    connection_state: String,
    last_activity_time: Option<String>,
    #[serde(default)]
    convergence: Map<String, Value>,
}

/// What is said of a twin after a change.
#[derive(Deserialize)]
struct Changed {
    version: u64,
    etag: String,
}

/// Carries out `twinctl twin ...`.
pub(crate) fn run(client: &Client, output: Output, command: Twin) -> Result<(), Failure> {
    match command {
        Twin::Get { target } => output.document(&client.get(path(&target)?)?.body),
        Twin::Put { target, body: argument, site, conditions, how } => {
            let body = with_site(body::read(&argument)?, site)?;
            let ask = conditional(asked(Method::PUT, path(&target)?, how)?, conditions)?.json(body);
            let answer = client.ask(ask)?;
            let word = if answer.status == 201 { "created" } else { "replaced" };
            changed(output, &target, &answer, word)
        }
        Twin::Patch { target, body: argument, conditions, how } => {
            let body = body::read(&argument)?;
            let ask = conditional(asked(Method::PATCH, path(&target)?, how)?, conditions)?;
            let answer = client.ask(ask.body("application/merge-patch+json", body))?;
            changed(output, &target, &answer, "patched")
        }
        Twin::Delete { target, conditions } => {
            let answer = client.ask(conditional(Ask::new(Method::DELETE, path(&target)?), conditions)?)?;
            changed(output, &target, &answer, "deleted")
        }
        Twin::Watch { id, site, prefix, at, count } => {
            let mut path = match id {
                Some(id) => ApiPath::new("twins").segment(&id)?.segment("events")?,
                None => ApiPath::new("events"),
            };
            let at = at.map(|at| format!("/{}", at.trim_start_matches('/')));
            for (name, value) in [("site", site), ("prefix", prefix), ("path", at)] {
                if let Some(value) = value {
                    path = path.query(name, &value);
                }
            }
            watch::run(client, output, &path, count)
        }
        Twin::Ls { site, limit } => list(client, output, site.as_deref(), limit),
        Twin::Call { id, method, payload, timeout, idempotency_key } => {
            let payload: Box<RawValue> = RawValue::from_string(body::read(&payload)?)
                .map_err(|error| Failure::Usage(format!("the payload is not JSON: {error}")))?;
            let path = ApiPath::new("twins").segment(&id)?.segment("methods")?.segment(&method)?;
            let body = format!(r#"{{"payload":{payload},"timeoutSeconds":{timeout}}}"#);
            let ask = Ask::new(Method::POST, path).json(body).wait_longer(Duration::from_secs(timeout));
            let ask = keyed(ask, idempotency_key)?;
            output.document(&client.ask(ask)?.body)
        }
    }
}

fn path(target: &Target) -> Result<ApiPath, Failure> {
    let twin = ApiPath::new("twins").segment(&target.id)?;
    target.at.as_deref().map_or(Ok(twin.clone()), |place| twin.place(place))
}

/// A change, with its key and its wait.
fn asked(method: Method, path: ApiPath, how: How) -> Result<Ask, Failure> {
    let mut path = path;
    let mut longer = Duration::ZERO;
    if let Some(goal) = how.wait {
        let goal = match goal {
            Goal::Delivered => "delivered",
            Goal::Applied => "applied",
        };
        path = path.query("wait", goal).query("timeout", &how.timeout.to_string());
        longer = Duration::from_secs(how.timeout);
    }
    let ask = Ask::new(method, path).wait_longer(longer);
    keyed(ask, how.idempotency_key)
}

fn keyed(ask: Ask, key: Option<String>) -> Result<Ask, Failure> {
    let Some(key) = key else { return Ok(ask) };
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\') {
        return Err(Failure::Usage(format!(
            "{key:?} is not an idempotency key: it is 1 to 64 visible ASCII characters"
        )));
    }
    Ok(ask.header(header::HeaderName::from_static("idempotency-key"), format!("\"{key}\"")))
}

/// Writes `site` into a registration's body.
fn with_site(body: String, site: Option<String>) -> Result<String, Failure> {
    let Some(site) = site else { return Ok(body) };
    // Members keep their text: only the object around them is taken apart.
    let mut members: std::collections::BTreeMap<String, Box<RawValue>> = serde_json::from_str(&body)
        .map_err(|error| Failure::Usage(format!("--site needs a JSON object as the body: {error}")))?;
    let value = serde_json::value::to_raw_value(&site).map_err(|error| Failure::Usage(error.to_string()))?;
    if members.insert("site".to_owned(), value).is_some() {
        return Err(Failure::Usage("the site is named twice: by --site and in the body".to_owned()));
    }
    serde_json::to_string(&members).map_err(|error| Failure::Usage(error.to_string()))
}

fn conditional(ask: Ask, conditions: Conditions) -> Result<Ask, Failure> {
    Ok(match (conditions.if_match, conditions.if_none_match) {
        (Some(etag), _) => ask.header(header::IF_MATCH, entity_tag(etag)?),
        (None, Some(etag)) => ask.header(header::IF_NONE_MATCH, entity_tag(etag)?),
        (None, None) => ask,
    })
}

/// The `etag` of a document has no quotes, the header's entity tag has.
fn entity_tag(etag: String) -> Result<String, Failure> {
    if etag.is_empty() || !etag.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Failure::Usage(format!("{etag:?} is not an etag")));
    }
    let whole = etag == "*" || etag.starts_with('"') || etag.starts_with("W/\"");
    Ok(if whole { etag } else { format!("\"{etag}\"") })
}

/// Shows a change: the new document to scripts, one line to people.
fn changed(output: Output, target: &Target, answer: &Answer, word: &str) -> Result<(), Failure> {
    if output.json {
        return if answer.body.is_empty() { Ok(()) } else { output.document(&answer.body) };
    }
    let place = target.at.as_deref().map(|at| format!(" {}", at.trim_start_matches('/'))).unwrap_or_default();
    // A place's answer holds the place, not the document.
    let now = serde_json::from_str::<Changed>(&answer.body)
        .map_or_else(|_| String::new(), |now| format!(", version {}, etag {}", now.version, printable(&now.etag)));
    let wait = answer.wait.as_deref().map(|wait| format!(", {}", printable(wait))).unwrap_or_default();
    let again = if answer.replayed { ", carried out before" } else { "" };
    output::line(&format!("{}{place}: {word}{wait}{again}{now}", target.id))
}

fn list(client: &Client, output: Output, site: Option<&str>, limit: Option<u64>) -> Result<(), Failure> {
    let mut table = Table::new(&["TWIN", "SITE", "VERSION", "STATE", "LAST ACTIVITY", "NOT APPLIED"]);
    let mut left = limit.unwrap_or(u64::MAX);
    let mut cursor: Option<String> = None;
    while left > 0 {
        let mut path = ApiPath::new("twins");
        if let Some(site) = site {
            path = path.query("site", site);
        }
        if left < PAGE_TWINS {
            path = path.query("limit", &left.to_string());
        }
        if let Some(cursor) = &cursor {
            path = path.query("cursor", cursor);
        }
        let answer = client.get(path)?;
        let page: Page = answer.read()?;
        for twin in page.twins.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
            if output.json {
                output::line(twin.get())?;
            } else {
                table.row(row(twin).map_err(|error| answer.not_understood(error.to_string()))?);
            }
        }
        left = left.saturating_sub(page.twins.len() as u64);
        // The same cursor twice would never end.
        if page.next.is_none() || page.next == cursor {
            break;
        }
        cursor = page.next;
    }
    if output.json { Ok(()) } else { output::text(&table.render()) }
}

fn row(twin: &RawValue) -> serde_json::Result<[String; 6]> {
    let twin: TwinView = serde_json::from_str(twin.get())?;
    let applied = |property: &Value| property["state"] == json!("applied");
    let open = twin.convergence.values().filter(|property| !applied(property)).count();
    Ok([
        twin.device_id,
        twin.site,
        twin.version.to_string(),
        twin.connection_state,
        twin.last_activity_time.unwrap_or_else(|| "-".to_owned()),
        open.to_string(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_from_a_document_gets_its_quotes() {
        for (given, sent) in [("abc", "\"abc\""), ("\"abc\"", "\"abc\""), ("W/\"abc\"", "W/\"abc\""), ("*", "*")] {
            assert_eq!(entity_tag(given.to_owned()).unwrap(), sent);
        }
        assert_eq!(entity_tag("a\nb".to_owned()).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn a_site_joins_the_body_without_touching_numbers() {
        let body = with_site(r#"{"desired":{"n": 1.0}}"#.to_owned(), Some("s".to_owned())).unwrap();
        assert_eq!(body, r#"{"desired":{"n": 1.0},"site":"s"}"#);
        assert!(with_site(r#"{"site":"t"}"#.to_owned(), Some("s".to_owned())).is_err());
        assert!(with_site("[]".to_owned(), Some("s".to_owned())).is_err());
    }
}
