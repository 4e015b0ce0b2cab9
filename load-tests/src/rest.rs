//! The little of the admin REST that measuring needs, asked with blocking HTTP.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::Method;
use serde_json::Value;
use ureq::Agent;

/// A node that is being killed answers late or not at all.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Twins of a page.
const PAGE_TWINS: usize = 1000;

/// The REST of one node.
#[derive(Clone)]
pub(crate) struct Rest {
    agent: Agent,
    base: String,
    authorization: String,
    token: String,
}

/// What the audit wants to know of a twin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reported {
    /// Its id.
    pub(crate) device: String,
    /// `reported.$version`
    pub(crate) version: u64,
    /// `reported.counter`; 0 before the first report.
    pub(crate) counter: u64,
}

fn agent(timeout: Option<Duration>) -> Agent {
    Agent::config_builder().timeout_global(timeout).http_status_as_error(false).build().into()
}

impl Rest {
    pub(crate) fn new(base: String, token: &str) -> Self {
        Self { agent: agent(Some(TIMEOUT)), base, authorization: format!("Bearer {token}"), token: token.to_owned() }
    }

    /// The bearer token, for clients that make their own requests.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    fn get(&self, path: &str) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.base);
        let mut answer = self.agent.get(&url).header("Authorization", &self.authorization).call()?;
        let status = answer.status();
        let text = answer.body_mut().read_to_string().with_context(|| format!("GET {path}"))?;
        if !status.is_success() {
            bail!("GET {path}: {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("GET {path}"))
    }

    /// Creates a site where the first attach registers a device.
    pub(crate) fn open_site(&self, site: &str) -> anyhow::Result<()> {
        let url = format!("{}/api/v1/sites/{site}", self.base);
        let body = serde_json::json!({ "enrolment": "open" });
        let mut answer = self.agent.put(&url).header("Authorization", &self.authorization).send_json(&body)?;
        if !answer.status().is_success() {
            bail!("PUT /sites/{site}: {}: {}", answer.status(), answer.body_mut().read_to_string()?);
        }
        Ok(())
    }

    /// Makes credentials for a gateway and writes them to a file.
    pub(crate) fn add_gateway(&self, site: &str, name: &str, file: &Path) -> anyhow::Result<()> {
        let url = format!("{}/api/v1/sites/{site}/gateways", self.base);
        let body = serde_json::json!({ "name": name });
        let mut answer = self.agent.post(&url).header("Authorization", &self.authorization).send_json(&body)?;
        let text = answer.body_mut().read_to_string()?;
        if !answer.status().is_success() {
            bail!("POST /sites/{site}/gateways: {}: {text}", answer.status());
        }
        std::fs::write(file, text).with_context(|| format!("credentials {}", file.display()))
    }

    /// The reported state of all twins of a site.
    pub(crate) fn reported(&self, site: &str) -> anyhow::Result<Vec<Reported>> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("/api/v1/twins?site={site}&limit={PAGE_TWINS}{cursor}"))?;
            for twin in page["twins"].as_array().context("no twins in a page")? {
                let reported = &twin["properties"]["reported"];
                all.push(Reported {
                    device: twin["deviceId"].as_str().context("a twin without deviceId")?.to_owned(),
                    version: reported["$version"].as_u64().context("a twin without reported.$version")?,
                    counter: reported["counter"].as_u64().unwrap_or(0),
                });
            }
            let Some(next) = page["next"].as_str() else { return Ok(all) };
            cursor = format!("&cursor={next}");
        }
    }

    /// The same node, over connections of its own.
    pub(crate) fn anew(&self) -> Self {
        Self { agent: agent(Some(TIMEOUT)), ..self.clone() }
    }

    /// The same, for answers that take long.
    pub(crate) fn patient(&self) -> Self {
        Self { agent: agent(None), ..self.clone() }
    }

    /// Sends a request and reads its answer to the end: the status, whatever it is. `key`: sent as `Idempotency-Key`.
    pub(crate) fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> anyhow::Result<u16> {
        Ok(self.exchange(method, path, body, key)?.0)
    }

    /// As [`Rest::send`]: status, and bytes of the answer.
    pub(crate) fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> anyhow::Result<(u16, u64)> {
        let mut request = http::Request::builder()
            .method(method.clone())
            .uri(format!("{}{path}", self.base))
            .header("Authorization", &self.authorization);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let answer = match body {
            // What changes a part of a twin is a merge patch.
            Some(body) => {
                let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
                let body = serde_json::to_vec(body)?;
                self.agent.run(request.header("Content-Type", kind).body(body)?)
            }
            None => self.agent.run(request.body(())?),
        };
        let answer = answer.with_context(|| format!("{method} {path}"))?;
        let status = answer.status().as_u16();
        let bytes = std::io::copy(&mut answer.into_body().into_reader(), &mut std::io::sink())
            .with_context(|| format!("the answer to {method} {path}"))?;
        Ok((status, bytes))
    }

    /// The event stream of a site, until it breaks: calls back for each `reported` event with its data.
    pub(crate) fn watch_reported(&self, site: &str, mut on_event: impl FnMut(&Value)) -> anyhow::Result<()> {
        let url = format!("{}/api/v1/events?site={site}", self.base);
        // No limit on the whole: it is meant to go on.
        let request = self.agent.get(&url).config().timeout_global(None).build();
        let answer = request.header("Authorization", &self.authorization).call()?;
        if !answer.status().is_success() {
            bail!("GET /events: {}", answer.status());
        }
        let reader: Box<dyn Read> = Box::new(answer.into_body().into_reader());
        let mut kind = String::new();
        for line in BufReader::new(reader).lines() {
            let line = line?;
            if let Some(event) = line.strip_prefix("event:") {
                event.trim().clone_into(&mut kind);
            } else if let Some(data) = line.strip_prefix("data:")
                && kind == "reported"
            {
                on_event(&serde_json::from_str(data)?);
            }
        }
        Ok(())
    }

    /// The sum of a metric's samples, or 0 if it has none.
    pub(crate) fn metrics(&self) -> anyhow::Result<Metrics> {
        let mut answer = self.agent.get(&format!("{}/metrics", self.base)).call()?;
        Ok(Metrics(answer.body_mut().read_to_string()?))
    }
}

/// What `/metrics` showed at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(String);

impl Metrics {
    /// Of a text in Prometheus' format.
    #[cfg(test)]
    pub(crate) fn of(text: String) -> Self {
        Self(text)
    }

    /// Sum over a metric's samples, whatever their labels; 0 if it has none.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let of_line = |line: &str| {
            let rest = line.strip_prefix(name)?;
            let value = match rest.as_bytes().first()? {
                b' ' => rest,
                b'{' => rest.rsplit_once('}')?.1,
                _ => return None,
            };
            value.split_whitespace().next()?.parse::<f64>().ok()
        };
        // Not `sum`, which is -0 of nothing.
        self.0.lines().filter_map(of_line).fold(0.0, |sum, sample| sum + sample)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_metric_are_summed_whatever_their_labels() {
        let metrics =
            Metrics("# TYPE a counter\na_total{x=\"} 9\"} 3\na_total{x=\"2\"} 4 17.0\na_total_more 8\nb 1.5\n".into());
        assert_eq!(metrics.sum("a_total").to_string(), "7");
        assert_eq!(metrics.sum("b").to_string(), "1.5");
        assert_eq!(metrics.sum("c").to_string(), "0");
    }
}
