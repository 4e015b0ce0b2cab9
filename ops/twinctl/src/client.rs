//! The admin REST, asked with blocking HTTP.

use std::io::Read;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use twin_small_file::{read_given_file, read_given_text};
use ureq::http::{self, HeaderMap, Method, Request, Uri, header};
use ureq::tls::{PemItem, RootCerts, parse_pem};
use ureq::{Agent, Body, BodyReader};

use crate::agent;
use crate::api_path::ApiPath;
use crate::cli::Connection;
use crate::commands::doctor::Moment;
use crate::failure::Failure;
use crate::limits::{
    ANSWER_BYTES_MAX, ANSWER_TIMEOUT, CA_BYTES_MAX, LOOK_TIMEOUT, STREAM_SILENCE_MAX, TOKEN_BYTES_MAX,
};
use crate::problem::Problem;

/// A connection to one node.
pub(crate) struct Client {
    agent: Agent,
    base: String,
    authorization: String,
}

/// A request below `/api/v1`.
pub(crate) struct Ask {
    method: Method,
    path: ApiPath,
    headers: Vec<(header::HeaderName, String)>,
    body: Vec<u8>,
    answer_timeout: Duration,
}

impl Ask {
    /// A request without a body.
    pub(crate) fn new(method: Method, path: ApiPath) -> Self {
        Self { method, path, headers: Vec::new(), body: Vec::new(), answer_timeout: ANSWER_TIMEOUT }
    }

    /// Sends JSON.
    pub(crate) fn json(self, body: String) -> Self {
        self.body("application/json", body)
    }

    /// Sends a body of this media type.
    pub(crate) fn body(self, media_type: &str, body: String) -> Self {
        self.body_bytes(media_type, body.into_bytes())
    }

    /// The same of bytes that may be no text.
    pub(crate) fn body_bytes(mut self, media_type: &str, body: Vec<u8>) -> Self {
        self.body = body;
        self.header(header::CONTENT_TYPE, media_type.to_owned())
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: header::HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Waits this much longer for the answer than for others.
    pub(crate) fn wait_longer(mut self, by: Duration) -> Self {
        self.answer_timeout = ANSWER_TIMEOUT.saturating_add(by);
        self
    }
}

/// What the server answered to a request that it carried out.
#[derive(Debug)]
pub(crate) struct Answer {
    url: String,
    /// The status, 200 to 299.
    pub(crate) status: u16,
    /// How far a change came that was waited for.
    pub(crate) wait: Option<String>,
    /// The change was carried out before, under the same key.
    pub(crate) replayed: bool,
    /// The body.
    pub(crate) body: String,
}

impl Answer {
    /// The body, read as a `T`.
    pub(crate) fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(&self.body).map_err(|error| self.not_understood(error.to_string()))
    }

    /// The failure that says what is odd about this answer.
    pub(crate) fn not_understood(&self, reason: String) -> Failure {
        Failure::Answer { url: self.url.clone(), reason }
    }
}

/// Whatever the server answered.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Any status.
    pub(crate) status: http::StatusCode,
    /// The `Date` header.
    pub(crate) date: Option<String>,
    /// When the answer was here.
    pub(crate) here: Moment,
    /// The body; bytes that are no text are replaced.
    pub(crate) body: String,
}

impl Client {
    /// Checks the address, and reads token and CA. Asks nothing yet.
    pub(crate) fn new(connection: &Connection) -> Result<Self, Failure> {
        let url = connection.url.as_deref().ok_or_else(|| missing("--url", "TWINMESH_URL"))?;
        let token_file =
            connection.token_file.as_deref().ok_or_else(|| missing("--token-file", "TWINMESH_TOKEN_FILE"))?;
        let https = check_url(url)?;
        let roots = match &connection.ca {
            Some(file) => read_ca(file)?,
            None if https => {
                return Err(Failure::Usage(
                    "https needs --ca FILE (or TWINMESH_CA): `ca.pem` in the node's data directory".to_owned(),
                ));
            }
            None => agent::nobody(),
        };
        let agent = agent::trusting(roots).proxy(None).build().new_agent();
        let authorization = format!("Bearer {}", read_token(token_file)?);
        Ok(Self { agent, base: url.trim_end_matches('/').to_owned(), authorization })
    }

    /// Where the node is.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Sends a GET and takes any answer.
    pub(crate) fn look(&self, path: ApiPath) -> Result<Seen, Failure> {
        let mut ask = Ask::new(Method::GET, path);
        ask.answer_timeout = LOOK_TIMEOUT;
        let (url, response) = self.run(&ask)?;
        let here = Moment::here();
        let (parts, body) = response.into_parts();
        let mut bytes = Vec::new();
        body.into_with_config()
            .limit(ANSWER_BYTES_MAX)
            .reader()
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::Unreachable { url, reason: format!("the answer broke off: {error}") })?;
        let date = parts.headers.get(header::DATE).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
        Ok(Seen { status: parts.status, date, here, body: String::from_utf8_lossy(&bytes).into_owned() })
    }

    /// Sends a GET.
    pub(crate) fn get(&self, path: ApiPath) -> Result<Answer, Failure> {
        self.ask(Ask::new(Method::GET, path))
    }

    /// Sends a request and reads the whole answer.
    pub(crate) fn ask(&self, ask: Ask) -> Result<Answer, Failure> {
        let reads = ask.method == Method::GET;
        let (url, response) = self.run(&ask)?;
        let (parts, body) = response.into_parts();
        let mut bytes = Vec::new();
        body.into_with_config().limit(ANSWER_BYTES_MAX).reader().read_to_end(&mut bytes).map_err(|error| {
            Failure::Unreachable {
                url: url.clone(),
                reason: format!("the answer broke off: {error}{}", unknown(reads)),
            }
        })?;
        if !parts.status.is_success() {
            return Err(refused(parts.status, &parts.headers, &bytes));
        }
        let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let wait = text("wait-outcome").map(ToOwned::to_owned);
        let replayed = text("idempotency-replayed") == Some("true");
        match String::from_utf8(bytes) {
            Ok(body) => Ok(Answer { url, status: parts.status.as_u16(), wait, replayed, body }),
            Err(error) => Err(Failure::Answer { url, reason: error.to_string() }),
        }
    }

    /// Opens an event stream.
    pub(crate) fn open_events(&self, path: ApiPath, last_id: Option<&str>) -> Result<BodyReader<'static>, Failure> {
        let mut ask = Ask::new(Method::GET, path);
        if let Some(id) = last_id {
            ask = ask.header(header::HeaderName::from_static("last-event-id"), id.to_owned());
        }
        Ok(self.open_stream(ask, "text/event-stream")?.1)
    }

    /// Opens an answer of lines.
    pub(crate) fn open_lines(&self, path: ApiPath) -> Result<BodyReader<'static>, Failure> {
        self.exchange_lines(Ask::new(Method::GET, path))
    }

    /// Sends a request whose answer is lines.
    pub(crate) fn exchange_lines(&self, ask: Ask) -> Result<BodyReader<'static>, Failure> {
        Ok(self.open_stream(ask, "application/x-ndjson")?.1)
    }

    /// Sends a request whose answer is a stream of this media type; says which address answers. Silence for [`STREAM_SILENCE_MAX`]
    /// ends it with an error.
    pub(crate) fn open_stream(&self, ask: Ask, wanted: &str) -> Result<(String, BodyReader<'static>), Failure> {
        let ask = ask.header(header::ACCEPT, wanted.to_owned());
        let (url, response) = self.run(&ask)?;
        let (parts, body) = response.into_parts();
        if parts.status != http::StatusCode::OK {
            let mut bytes = Vec::new();
            // A body that breaks off still leaves the status to report.
            let _ = body.into_reader().take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
            return Err(refused(parts.status, &parts.headers, &bytes));
        }
        let media_type =
            parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("none");
        if !media_type.starts_with(wanted) {
            let reason = format!("it has content type {media_type}, not {wanted}");
            return Err(Failure::Answer { url, reason });
        }
        Ok((url, body.into_reader()))
    }

    fn run(&self, ask: &Ask) -> Result<(String, http::Response<Body>), Failure> {
        let url = format!("{}{}", self.base, ask.path.as_str());
        let mut builder =
            Request::builder().method(ask.method.clone()).uri(&url).header(header::AUTHORIZATION, &self.authorization);
        for (name, value) in &ask.headers {
            builder = builder.header(name, value);
        }
        let unsendable = |error: http::Error| Failure::Usage(format!("{url} can't be asked: {error}"));
        let streams = ask.headers.iter().any(|(name, _)| name == header::ACCEPT);
        let result = if ask.method == Method::GET || ask.method == Method::DELETE {
            let request = builder.body(()).map_err(unsendable)?;
            self.agent.run(self.timeouts(request, ask, streams))
        } else {
            let request = builder.body(ask.body.clone()).map_err(unsendable)?;
            self.agent.run(self.timeouts(request, ask, streams))
        };
        result.map(|response| (url.clone(), response)).map_err(|error| {
            let note = if never_sent(&error) { "" } else { unknown(ask.method == Method::GET) };
            Failure::Unreachable { url: url.clone(), reason: format!("{error}{note}") }
        })
    }

    fn timeouts<S: ureq::AsSendBody>(&self, request: Request<S>, ask: &Ask, streams: bool) -> Request<S> {
        let config = self.agent.configure_request(request).timeout_recv_response(Some(ask.answer_timeout));
        let silence = if streams { STREAM_SILENCE_MAX } else { ask.answer_timeout };
        config.timeout_per_read(Some(silence)).build()
    }
}

fn missing(option: &str, variable: &str) -> Failure {
    Failure::Usage(format!("{option} is missing (or {variable} in the environment)"))
}

/// What a lost answer means: nothing for a read; a change may or may not have been made.
fn unknown(reads: bool) -> &'static str {
    if reads { "" } else { "; whether the change was made is unknown" }
}

/// Did it fail before the request went out?
fn never_sent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        ureq::Error::Timeout(phase) => matches!(phase, ureq::Timeout::Resolve | ureq::Timeout::Connect),
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::Rustls(_) | ureq::Error::Tls(_) => {
            true
        }
        _ => false,
    }
}

fn refused(status: http::StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    let retry_after = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after_s = retry_after.and_then(|text| text.trim().parse().ok());
    Failure::Refused(Box::new(Problem::read(status.as_u16(), retry_after_s, body)))
}

/// Is the address usable, and is it https?
fn check_url(url: &str) -> Result<bool, Failure> {
    let wrong = |what: &str| Failure::Usage(format!("--url {url:?} {what}; it looks like http://127.0.0.1:8080"));
    let uri: Uri = url.trim_end_matches('/').parse().map_err(|error| wrong(&format!("is not an address ({error})")))?;
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(wrong("has a path"));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(wrong("has a user name"));
    }
    let host = uri.host().ok_or_else(|| wrong("has no host"))?;
    match uri.scheme_str() {
        Some("https") => Ok(true),
        Some("http") if is_loopback(host) => Ok(false),
        // The token would cross the network in the clear. No node listens so.
        Some("http") => Err(wrong("would send the token in the clear: plain http is for loopback, use https and --ca")),
        _ => Err(wrong("is neither http nor https")),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn read_token(file: &Path) -> Result<String, Failure> {
    let wrong = |what: String| Failure::Usage(format!("token file {}: {what}", file.display()));
    let token = read_given_text(file, TOKEN_BYTES_MAX).map_err(|error| wrong(error.to_string()))?;
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        // What it holds instead is not shown: it may be another secret.
        return Err(wrong("it doesn't hold a token (one line of visible ASCII)".to_owned()));
    }
    Ok(token.to_owned())
}

fn read_ca(file: &Path) -> Result<RootCerts, Failure> {
    let wrong = |what: String| Failure::Usage(format!("CA file {}: {what}", file.display()));
    let pem = read_given_file(file, CA_BYTES_MAX).map_err(|error| wrong(error.to_string()))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| wrong(error.to_string()))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(wrong("it holds no certificate".to_owned()));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_in_the_clear_only_to_loopback() {
        for url in ["http://127.0.0.1:8080", "http://localhost:1/", "http://[::1]:8080", "http://127.9.9.9"] {
            assert!(!check_url(url).unwrap(), "{url}");
        }
        assert!(check_url("https://node.example:8443").unwrap());
        for url in ["http://10.0.0.1:8080", "http://localhost.example:80", "ftp://127.0.0.1", "127.0.0.1:80", "http://"]
        {
            assert_eq!(check_url(url).unwrap_err().exit_code(), 2, "{url}");
        }
    }

    #[test]
    fn an_address_is_only_an_address() {
        for url in ["http://127.0.0.1/api", "http://127.0.0.1/?x", "http://user@127.0.0.1"] {
            assert_eq!(check_url(url).unwrap_err().exit_code(), 2, "{url}");
        }
    }
}
