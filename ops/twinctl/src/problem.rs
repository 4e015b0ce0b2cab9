//! Problem bodies (RFC 9457), and how an operator reads them.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use crate::limits::EXCERPT_CHARS_MAX;
use crate::table::printable;

/// A refusal as the server words it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    /// HTTP status; the one of the status line, whatever the body says.
    pub(crate) status: u16,
    /// What kind of problem, for people.
    pub(crate) title: Option<String>,
    /// What is wrong with this request.
    pub(crate) detail: Option<String>,
    /// What kind of problem, for programs.
    pub(crate) code: Option<String>,
    /// Which document rule was broken.
    pub(crate) rule: Option<String>,
    /// JSON pointer to what is wrong.
    pub(crate) pointer: Option<String>,
    /// The limit that was broken.
    pub(crate) limit: Option<Value>,
    /// The `Retry-After` header, in seconds.
    #[serde(skip)]
    pub(crate) retry_after_s: Option<u64>,
}

impl Problem {
    /// Reads an answer's body. One that isn't a problem body (a proxy's HTML page, say) is shown as an excerpt.
    pub(crate) fn read(status: u16, retry_after_s: Option<u64>, body: &[u8]) -> Self {
        let mut problem: Self = serde_json::from_slice(body).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(body);
            let excerpt: String = text.trim().chars().take(EXCERPT_CHARS_MAX).collect();
            Self { detail: (!excerpt.is_empty()).then_some(excerpt), ..Self::default() }
        });
        problem.status = status;
        problem.retry_after_s = retry_after_s;
        problem
    }

    /// Does trying again later make sense?
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self.status, 429 | 503)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused: {}", self.status)?;
        if let Some(title) = &self.title {
            write!(f, " {}", printable(title))?;
        }
        if let Some(code) = &self.code {
            let rule = self.rule.as_ref().map(|rule| format!(": {}", printable(rule))).unwrap_or_default();
            write!(f, " [{}{rule}]", printable(code))?;
        }
        if let Some(detail) = &self.detail {
            write!(f, "\n  {}", printable(detail))?;
        }
        if let Some(pointer) = self.pointer.as_deref().filter(|pointer| !pointer.is_empty()) {
            write!(f, "\n  at     {}", printable(pointer))?;
        }
        if let Some(limit) = &self.limit {
            write!(f, "\n  limit  {}", printable(&limit.to_string()))?;
        }
        if let Some(seconds) = self.retry_after_s {
            write!(f, "\n  retry  after {seconds} s")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_what_where_and_by_how_much() {
        let body = br#"{"type":"about:blank","title":"Document rule","status":422,"code":"document-rule",
            "rule":"depth","detail":"nested 11 deep","pointer":"/desired/a","limit":10,"later":"unknown"}"#;
        assert_eq!(
            Problem::read(422, None, body).to_string(),
            "refused: 422 Document rule [document-rule: depth]\n  nested 11 deep\n  at     /desired/a\n  limit  10"
        );
    }

    #[test]
    fn a_wait_is_shown_in_seconds() {
        let problem = Problem::read(429, Some(2), br#"{"title":"Too Many Requests","code":"busy"}"#);
        assert_eq!(problem.to_string(), "refused: 429 Too Many Requests [busy]\n  retry  after 2 s");
        assert!(problem.is_transient());
    }

    #[test]
    fn a_body_that_is_no_problem_is_shown_without_its_control_characters() {
        let problem = Problem::read(502, None, b"<h1>Bad\x1b[31m Gateway</h1>\n");
        assert_eq!(problem.to_string(), "refused: 502\n  <h1>Bad\u{fffd}[31m Gateway</h1>");
        assert_eq!(Problem::read(500, None, b"").to_string(), "refused: 500");
    }

    #[test]
    fn the_status_line_wins_over_the_body() {
        assert_eq!(Problem::read(409, None, br#"{"status":200}"#).status, 409);
    }
}
