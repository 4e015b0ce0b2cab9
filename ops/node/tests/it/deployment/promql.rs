//! As much of PromQL as tells which metrics and labels an expression uses.

use std::collections::{BTreeMap, BTreeSet};

/// What an expression uses.
#[derive(Debug, Default)]
pub struct Used {
    /// Metrics, and the labels that they are selected by.
    pub metrics: BTreeMap<String, BTreeSet<String>>,
    /// Labels of `by (...)`.
    pub grouped: BTreeSet<String>,
}

/// Words that are no metric though no parenthesis follows.
const OPERATORS: [&str; 3] = ["and", "or", "unless"];
/// Functions and aggregations that we use; a misspelt one is found.
const FUNCTIONS: [&str; 12] = [
    "sum",
    "min",
    "max",
    "by",
    "rate",
    "increase",
    "resets",
    "histogram_quantile",
    "predict_linear",
    "max_over_time",
    "clamp_min",
    "label_values",
];

pub fn parse(expression: &str) -> Result<Used, String> {
    let mut used = Used::default();
    let mut rest = expression;
    let mut open = Vec::new();
    let mut grouping = false;
    let mut last_metric = None;
    while let Some(c) = rest.chars().next() {
        if c.is_ascii_alphabetic() || c == '_' || c == ':' {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"_:".contains(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            rest = after;
            if grouping {
                used.grouped.insert(word.to_owned());
            } else if FUNCTIONS.contains(&word) {
                grouping = word == "by";
            } else if after.trim_start().starts_with('(') && !OPERATORS.contains(&word) {
                return Err(format!("{word} is no function that is used here"));
            } else if !OPERATORS.contains(&word) {
                used.metrics.entry(word.to_owned()).or_default();
                last_metric = Some(word.to_owned());
            }
            continue;
        }
        match c {
            '{' => {
                let end = closing_brace(rest).ok_or("a selector is not closed")?;
                let metric = last_metric.as_ref().ok_or("a selector of no metric")?;
                used.metrics.entry(metric.clone()).or_default().extend(label_names(&rest[1..]));
                rest = &rest[end + 1..];
                continue;
            }
            '[' => {
                let (range, after) = rest[1..].split_once(']').ok_or("a range is not closed")?;
                let is_range = range == "$__rate_interval"
                    || range.strip_suffix(['s', 'm', 'h', 'd']).is_some_and(|number| number.parse::<u32>().is_ok());
                if !is_range {
                    return Err(format!("{range} is no range"));
                }
                rest = after;
                continue;
            }
            '0'..='9' => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
                rest[..end].parse::<f64>().map_err(|error| format!("{}: {error}", &rest[..end]))?;
                rest = &rest[end..];
                continue;
            }
            '(' => open.push(c),
            ')' => {
                open.pop().ok_or("a parenthesis too many")?;
                grouping = false;
            }
            _ if c.is_whitespace() || ",+-*/<>=!".contains(c) => {}
            _ => return Err(format!("{c:?} is not understood")),
        }
        rest = &rest[c.len_utf8()..];
    }
    if open.is_empty() { Ok(used) } else { Err("a parenthesis is not closed".to_owned()) }
}

fn closing_brace(text: &str) -> Option<usize> {
    let mut quoted = false;
    text.char_indices().find_map(|(at, c)| {
        quoted ^= c == '"';
        (c == '}' && !quoted).then_some(at)
    })
}

/// Names of labels in what follows a `{`, up to its end. No value of ours has a quote in it.
pub fn label_names(inside: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = inside;
    while !rest.starts_with('}') {
        let Some((name, after)) = rest.split_once('=') else { break };
        names.push(name.trim_matches([',', '!', ' ']).to_owned());
        let Some((_, after)) = after.split_once('"').and_then(|(_, value)| value.split_once('"')) else { break };
        rest = after;
    }
    names
}
