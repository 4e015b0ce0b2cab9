//! `twinctl site devices`: the ids that may be attached where a site's enrolment is `list`.

use serde::Deserialize;
use serde_json::json;
use ureq::http::Method;

use super::body::read_given;
use crate::api_path::ApiPath;
use crate::client::{Ask, Client};
use crate::failure::Failure;
use crate::limits::DEVICES_SENT_MAX;
use crate::output::{self, Output};
use crate::table::printable;

#[derive(Deserialize)]
struct Changed {
    added: u64,
    removed: u64,
    total: u64,
}

#[derive(Deserialize)]
struct Page {
    devices: Vec<String>,
    next: Option<String>,
}

/// Adds and removes ids, or lists those that there are.
pub(super) fn devices(
    client: &Client,
    output: Output,
    site: &str,
    add: Option<&str>,
    remove: Option<&str>,
) -> Result<(), Failure> {
    let path = || ApiPath::new("sites").segment(site)?.segment("devices");
    if add.is_none() && remove.is_none() {
        return list(client, output, path);
    }
    let (mut added, mut removed, mut total) = (0, 0, 0);
    // Made in parts; a part that is made twice changes nothing the second time.
    for (member, file) in [("remove", remove), ("add", add)] {
        let Some(file) = file else { continue };
        let ids = ids(file)?;
        for part in ids.chunks(DEVICES_SENT_MAX) {
            let answer = client.ask(Ask::new(Method::POST, path()?).json(json!({ member: part }).to_string()))?;
            let changed: Changed = answer.read()?;
            (added, removed, total) = (added + changed.added, removed + changed.removed, changed.total);
        }
    }
    if output.json {
        output::line(&json!({ "added": added, "removed": removed, "total": total }).to_string())
    } else {
        output::line(&format!("site {site}: {added} added, {removed} removed, {total} on the list"))
    }
}

fn list(client: &Client, output: Output, path: impl Fn() -> Result<ApiPath, Failure>) -> Result<(), Failure> {
    let mut after: Option<String> = None;
    loop {
        let page = after.as_ref().map_or_else(&path, |after| Ok(path()?.query("after", after)))?;
        let page: Page = client.get(page)?.read()?;
        for id in &page.devices {
            if output.json {
                output::line(&json!(id).to_string())?;
            } else {
                output::line(&printable(id))?;
            }
        }
        match page.next {
            Some(next) if after.as_ref() != Some(&next) => after = Some(next),
            _ => return Ok(()),
        }
    }
}

/// One id a line.
fn ids(file: &str) -> Result<Vec<String>, Failure> {
    let text = read_given(file)?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(ToOwned::to_owned).collect())
}
