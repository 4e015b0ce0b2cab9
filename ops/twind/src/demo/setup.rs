//! The site and its gateways, made over the REST. Their credentials are shown once, so they are kept.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;
use twin_gateway::Credentials;
use ureq::http::Method;

use super::rest::RestClient;

/// The demo's store.
pub(crate) const SITE: &str = "demo";

/// Makes the site, open to any device, and gateways with credentials; those of an earlier run are used again.
pub(crate) fn prepare(rest: &RestClient, folder: &Path, gateways: u16) -> anyhow::Result<Vec<Credentials>> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let site_path = format!("/sites/{SITE}");
    let site = rest.ask(Method::PUT, &site_path, Some(&json!({"enrolment": "open"})))?.good("making the site")?;
    let known: HashSet<&str> =
        site["gateways"].as_array().into_iter().flatten().filter_map(|gateway| gateway["name"].as_str()).collect();
    (1..=gateways)
        .map(|number| {
            let name = format!("gw-{number:02}");
            let file = folder.join(format!("{name}.json"));
            if known.contains(name.as_str()) {
                if let Ok(credentials) = Credentials::load(&file) {
                    return Ok(credentials);
                }
                // Nobody has its secret any more.
                let path = format!("{site_path}/gateways/{name}");
                rest.ask(Method::DELETE, &path, None)?.good("removing a gateway without credentials")?;
            }
            let path = format!("{site_path}/gateways");
            let made = rest.ask(Method::POST, &path, Some(&json!({"name": name})))?.good("making a gateway")?;
            let credentials = Credentials::from_json(&made.to_string())?;
            credentials.save(&file)?;
            Ok(credentials)
        })
        .collect()
}
