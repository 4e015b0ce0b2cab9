//! `twinctl audit`: who changed what, and who was turned away.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api_path::ApiPath;
use crate::cli::AuditKind;
use crate::client::Client;
use crate::failure::Failure;
use crate::limits::PAGE_AUDIT_MAX;
use crate::output::{self, Output};
use crate::table::Table;

/// A page, each entry as it was sent.
#[derive(Deserialize)]
struct Page {
    entries: Vec<Box<RawValue>>,
    next: Option<u64>,
}

#[derive(Deserialize)]
struct Entry {
    n: u64,
    at: String,
    what: String,
    who: Option<String>,
    from: Option<String>,
    target: Option<String>,
    detail: Option<String>,
    status: Option<u16>,
    code: Option<String>,
    count: Option<u64>,
    kind: String,
}

/// Carries out `twinctl audit`.
pub(crate) fn run(
    client: &Client,
    output: Output,
    limit: u64,
    kind: Option<AuditKind>,
    before: Option<u64>,
) -> Result<(), Failure> {
    let mut table = Table::new(&["NO", "AT", "WHO", "FROM", "WHAT", "TARGET", "OUTCOME", "DETAIL"]);
    let (mut left, mut before) = (limit, before);
    while left > 0 {
        let mut path = ApiPath::new("audit").query("limit", &left.min(PAGE_AUDIT_MAX).to_string());
        if let Some(kind) = kind {
            path = path.query(
                "kind",
                match kind {
                    AuditKind::Changes => "changes",
                    AuditKind::Steering => "steering",
                    AuditKind::Security => "security",
                },
            );
        }
        if let Some(before) = before {
            path = path.query("before", &before.to_string());
        }
        let answer = client.get(path)?;
        let page: Page = answer.read()?;
        for entry in &page.entries {
            if output.json {
                output::line(entry.get())?;
                continue;
            }
            let entry: Entry =
                serde_json::from_str(entry.get()).map_err(|error| answer.not_understood(error.to_string()))?;
            table.row(row(entry));
        }
        left = left.saturating_sub(page.entries.len() as u64);
        match page.next {
            Some(next) if before.is_none_or(|before| next < before) => before = Some(next),
            _ => break,
        }
    }
    if output.json { Ok(()) } else { output::text(&table.render()) }
}

fn row(entry: Entry) -> [String; 8] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let outcome = match (entry.status, entry.code, entry.count) {
        (Some(status), Some(code), _) => format!("{status} {code}"),
        (Some(status), None, _) => status.to_string(),
        (None, _, Some(count)) => format!("{count} times"),
        // It was begun; its end was not seen.
        (None, _, None) if entry.kind == "changes" => "not known".to_owned(),
        (None, _, None) => "-".to_owned(),
    };
    [
        entry.n.to_string(),
        entry.at,
        or_dash(entry.who),
        or_dash(entry.from),
        entry.what,
        or_dash(entry.target),
        outcome,
        or_dash(entry.detail),
    ]
}
