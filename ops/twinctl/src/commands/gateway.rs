//! `twinctl gateway`: credentials and links of gateways.

use std::path::Path;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use ureq::http::Method;

use super::credentials_file::CredentialsFile;
use super::site::gateway_table;
use crate::api_path::ApiPath;
use crate::cli::Gateway;
use crate::client::{Answer, Ask, Client};
use crate::failure::Failure;
use crate::output::{self, Output};

/// The part of the credentials that is checked before they are kept.
#[derive(Deserialize)]
struct Credentials {
    secret: String,
}

/// A site's gateways, each as it was sent.
#[derive(Deserialize)]
struct Gateways {
    gateways: Vec<Box<RawValue>>,
}

/// Carries out `twinctl gateway ...`.
pub(crate) fn run(client: &Client, output: Output, command: Gateway) -> Result<(), Failure> {
    match command {
        Gateway::Add { site, name, out } => {
            let file = CredentialsFile::create(&out)?;
            let path = ApiPath::new("sites").segment(&site)?.segment("gateways")?;
            let answer = client.ask(Ask::new(Method::POST, path).json(json!({ "name": name }).to_string()))?;
            keep(output, &answer, file, (&site, &name), &out)
        }
        Gateway::Rotate { site, name, out, overlap } => {
            let file = CredentialsFile::create(&out)?;
            let path = ApiPath::new("sites").segment(&site)?.segment("gateways")?.segment(&name)?.segment("keys")?;
            let body = json!({ "overlapSeconds": overlap }).to_string();
            let answer = client.ask(Ask::new(Method::POST, path).json(body))?;
            keep(output, &answer, file, (&site, &name), &out)
        }
        Gateway::EndOldKey { site, name } => {
            let gateway = ApiPath::new("sites").segment(&site)?.segment("gateways")?.segment(&name)?;
            client.ask(Ask::new(Method::DELETE, gateway.segment("keys")?.segment("old")?))?;
            if output.json { Ok(()) } else { output::line(&format!("gateway {site}/{name}: its old key has ended")) }
        }
        Gateway::Rm { site, name } => {
            let path = ApiPath::new("sites").segment(&site)?.segment("gateways")?.segment(&name)?;
            client.ask(Ask::new(Method::DELETE, path))?;
            if output.json { Ok(()) } else { output::line(&format!("gateway {site}/{name}: revoked")) }
        }
        Gateway::Ls { site } => {
            let answer = client.get(ApiPath::new("sites").segment(&site)?)?;
            if output.json {
                let site: Gateways = answer.read()?;
                return site.gateways.iter().try_for_each(|gateway| output::line(gateway.get()));
            }
            output::text(&gateway_table(&answer.read()?))
        }
    }
}

/// The answer holds a secret: it goes to the file, and into no message.
fn keep(
    output: Output,
    answer: &Answer,
    file: CredentialsFile,
    (site, name): (&str, &str),
    out: &Path,
) -> Result<(), Failure> {
    let whole = serde_json::from_str::<Credentials>(&answer.body).is_ok_and(|c| !c.secret.is_empty());
    if !whole {
        return Err(answer.not_understood(format!("it holds no credentials; remove gateway {name} and try again")));
    }
    file.keep(&answer.body).map_err(|error| {
        Failure::Usage(format!(
            "can't write {}: {error}; its secret is lost: remove gateway {name} and add it again",
            out.display()
        ))
    })?;
    if output.json {
        output::line(&json!({ "site": site, "name": name, "file": out.display().to_string() }).to_string())
    } else {
        output::line(&format!("gateway {site}/{name}: credentials in {}", out.display()))
    }
}
