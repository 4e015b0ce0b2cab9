//! The admin REST, asked with blocking HTTP as any back office would.

use std::io::BufReader;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use ureq::http::{Method, Request, header};
use ureq::{Agent, BodyReader};

/// Longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The REST of the demo's node.
#[derive(Clone)]
pub(crate) struct RestClient {
    agent: Agent,
    base: String,
    authorization: String,
}

/// Status and body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    /// The body of an answer that is neither a refusal nor a redirection.
    pub(crate) fn good(self, what: &str) -> anyhow::Result<Value> {
        if !(200..300).contains(&self.status) {
            bail!("{what}: the REST answered {} {}", self.status, self.body);
        }
        Ok(self.body)
    }
}

impl RestClient {
    /// Of the node at this address. With TLS only what its CA signed is trusted.
    pub(crate) fn new(base: &str, token: &str, ca_pem: &str) -> anyhow::Result<Self> {
        let ca = ureq::tls::Certificate::from_pem(ca_pem.as_bytes()).context("the node's CA cannot be read")?;
        let tls = ureq::tls::TlsConfig::builder()
            .root_certs(ureq::tls::RootCerts::new_with_certs(&[ca]))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .build()
            .new_agent();
        Ok(Self { agent, base: format!("{base}/api/v1"), authorization: format!("Bearer {token}") })
    }

    /// Asks, and reads the whole answer.
    pub(crate) fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, &self.authorization);
        let response = match body {
            Some(body) => {
                let request = request.header(header::CONTENT_TYPE, "application/json").body(body.to_string())?;
                self.agent.run(request)
            }
            None => self.agent.run(request.body(())?),
        };
        let mut response = response.with_context(|| format!("{}{path}", self.base))?;
        let text = response.body_mut().read_to_string()?;
        let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? };
        Ok(Answer { status: response.status().as_u16(), body })
    }

    /// Opens the event stream of a site.
    pub(crate) fn events(&self, site: &str) -> anyhow::Result<BufReader<BodyReader<'static>>> {
        let request = Request::get(format!("{}/events?site={site}", self.base))
            .header(header::AUTHORIZATION, &self.authorization)
            .body(())?;
        let response = self.agent.run(request)?;
        if response.status().as_u16() != 200 {
            bail!("the event stream was refused: {}", response.status());
        }
        Ok(BufReader::new(response.into_body().into_reader()))
    }
}
