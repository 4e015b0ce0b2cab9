//! `twinctl reload-certificates`.

use serde::Deserialize;
use ureq::http::Method;

use crate::api_path::ApiPath;
use crate::client::{Ask, Client};
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::table::printable;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reloaded {
    ca_changed: bool,
    quic_sha256: String,
    rest_sha256: String,
}

/// Carries out `twinctl reload-certificates`.
pub(crate) fn reload(client: &Client, output: Output) -> Result<(), Failure> {
    let answer = client.ask(Ask::new(Method::POST, ApiPath::new("certificates:reload")))?;
    if output.json {
        return output.document(&answer.body);
    }
    let now: Reloaded = answer.read()?;
    output::line(&format!("gateways see  sha256 {}", printable(&now.quic_sha256)))?;
    output::line(&format!("REST clients  sha256 {}", printable(&now.rest_sha256)))?;
    if now.ca_changed {
        output::line("the CA is another one than before: gateways need new credentials that carry it")?;
    }
    Ok(())
}
