//! `twind health`: asks the node on this machine whether a write would commit now. For containers, whose images hold nothing
//! else that could ask.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use twin_small_file::read_small_file;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::cli::HealthArgs;

/// Well below the 30 s after which a container's supervisor gives a check up.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Longest file that is read as the node's CA, which has some 600 bytes.
const CA_BYTES_MAX: u64 = 64 * 1024;
/// Most bytes that are read of what the node says.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// Fails unless the node is ready.
pub(crate) fn run(args: &HealthArgs) -> anyhow::Result<()> {
    let url = format!("{}/readyz", base(args.http));
    let roots = if args.http.ip().is_loopback() { Vec::new() } else { vec![ca(&args.data_dir)?] };
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let agent: Agent = Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .timeout_global(Some(TIMEOUT))
        .build()
        .new_agent();
    let mut answer = agent.get(&url).call().with_context(|| format!("the node does not answer at {url}"))?;
    match answer.status().as_u16() {
        200 => Ok(()),
        status => {
            let said = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().unwrap_or_default();
            let said = serde_json::from_str::<serde_json::Value>(&said).unwrap_or_default();
            let why = said["detail"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
            bail!("the node is not ready ({status} at {url}){why}")
        }
    }
}

/// Where a node that listens on `http` is reached from its own machine: over TLS beyond loopback, as `twind dev` serves it.
fn base(http: SocketAddr) -> String {
    let ip = match http.ip() {
        ip if ip.is_loopback() => return format!("http://{http}"),
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("https://{}", SocketAddr::new(ip, http.port()))
}

fn ca(data_dir: &Path) -> anyhow::Result<Certificate<'static>> {
    let path = data_dir.join("ca.pem");
    let pem = read_small_file(&path, CA_BYTES_MAX)
        .with_context(|| format!("cannot read the node's CA {}", path.display()))?;
    Certificate::from_pem(&pem).with_context(|| format!("{} holds no certificate", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_is_asked_where_it_listens_from_the_inside() {
        for (listens, asked) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("[::1]:80", "http://[::1]:80"),
            ("0.0.0.0:8080", "https://127.0.0.1:8080"),
            ("[::]:8080", "https://[::1]:8080"),
            ("10.0.0.7:8080", "https://10.0.0.7:8080"),
        ] {
            assert_eq!(base(listens.parse().unwrap()), asked);
        }
    }
}
