//! The alert rules. They are YAML of the plainest kind, and this reads no more than that kind: what it does not understand is a
//! mistake. `promtool check rules` says the rest, where it is installed.

use std::io::Write as _;
use std::process::Command;

use twin_visible_skip::skipped;

const RULES: &str = include_str!("../../../../deploy/prometheus/alerts.yml");

/// An alert.
#[derive(Debug, Default)]
pub struct Alert {
    pub name: String,
    pub expr: String,
    severity: String,
    summary: String,
    description: String,
}

/// Reads and checks them all.
pub fn read() -> Vec<Alert> {
    let mut alerts: Vec<Alert> = Vec::new();
    for (number, line) in RULES.lines().enumerate() {
        let at = format!("line {}: {line}", number + 1);
        let text = line.trim_start();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let depth = line.len() - text.len();
        let (key, value) = text.split_once(':').unwrap_or_else(|| panic!("{at}"));
        let value = value.trim();
        if depth == 6 && key == "- alert" {
            assert!(value.starts_with("Twinmesh") && !alerts.iter().any(|alert| alert.name == value), "{at}");
            alerts.push(Alert { name: value.to_owned(), ..Alert::default() });
            continue;
        }
        let Some(alert) = alerts.last_mut() else {
            assert!(matches!((depth, key), (0, "groups") | (2, "- name") | (4, "rules")), "{at}");
            continue;
        };
        match (depth, key) {
            (8, "expr") => {
                // A plain scalar ends at a comment, and a colon with a space makes it a mapping.
                assert!(
                    !value.contains(" #") && !value.contains(": ") && !value.starts_with(['"', '\'', '{', '[']),
                    "{at}"
                );
                value.clone_into(&mut alert.expr);
            }
            (8, "for") => {
                assert!(value.strip_suffix(['s', 'm', 'h']).is_some_and(|n| n.parse::<u32>().is_ok()), "{at}");
            }
            (8, "labels" | "annotations") => assert!(value.is_empty(), "{at}"),
            (10, "severity") => {
                assert!(matches!(value, "page" | "ticket"), "{at}");
                value.clone_into(&mut alert.severity);
            }
            (10, "summary") => alert.summary = quoted(value, &at),
            (10, "description") => alert.description = quoted(value, &at),
            _ => panic!("{at}"),
        }
    }
    for alert in &alerts {
        for said in [&alert.expr, &alert.severity, &alert.summary, &alert.description] {
            assert!(!said.is_empty(), "{alert:?}");
        }
    }
    promtool();
    alerts
}

/// A double-quoted scalar whose templates are closed.
fn quoted(value: &str, at: &str) -> String {
    let inside = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or_else(|| panic!("{at}"));
    assert!(!inside.contains(['"', '\\']) && inside.matches("{{").count() == inside.matches("}}").count(), "{at}");
    inside.to_owned()
}

fn promtool() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(RULES.as_bytes()).unwrap();
    match Command::new("promtool").args(["check", "rules"]).arg(file.path()).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => skipped(&format!("promtool check rules: {error}")),
    }
}
