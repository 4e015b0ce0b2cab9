//! `twinctl gateway`: credentials and links of gateways.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use twin_small_file::read_given_text;
use ureq::http::Method;

use super::credentials_file::CredentialsFile;
use super::site::gateway_table;
use crate::api_path::ApiPath;
use crate::cli::{Gateway, GatewayCertificate};
use crate::client::{Answer, Ask, Client};
use crate::failure::Failure;
use crate::limits::CERTIFICATE_BYTES_MAX;
use crate::output::{self, Output};

/// The part of the credentials that is checked before they are kept.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credentials {
    secret: Option<String>,
    certificate_file: Option<String>,
}

/// A site's gateways, each as it was sent.
#[derive(Deserialize)]
struct Gateways {
    gateways: Vec<Box<RawValue>>,
}

/// Carries out `twinctl gateway ...`.
pub(crate) fn run(client: &Client, output: Output, command: Gateway) -> Result<(), Failure> {
    match command {
        Gateway::Add { site, name, out, certificate } => {
            let mut body = json!({ "name": name });
            put_certificate(&mut body, &certificate)?;
            let file = CredentialsFile::create(&out)?;
            let path = ApiPath::new("sites").segment(&site)?.segment("gateways")?;
            let answer = client.ask(Ask::new(Method::POST, path).json(body.to_string()))?;
            keep(output, &answer, file, (&site, &name), &out, &certificate)
        }
        Gateway::Rotate { site, name, out, overlap, certificate } => {
            let mut body = json!({ "overlapSeconds": overlap });
            put_certificate(&mut body, &certificate)?;
            let file = CredentialsFile::create(&out)?;
            let path = ApiPath::new("sites").segment(&site)?.segment("gateways")?.segment(&name)?.segment("keys")?;
            let answer = client.ask(Ask::new(Method::POST, path).json(body.to_string()))?;
            keep(output, &answer, file, (&site, &name), &out, &certificate)
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

/// Adds the certificate to what is asked.
fn put_certificate(body: &mut Value, given: &GatewayCertificate) -> Result<(), Failure> {
    let Some(path) = &given.certificate else { return Ok(()) };
    let failed = |what: String| Failure::Usage(format!("certificate {}: {what}", path.display()));
    let text = read_given_text(path, CERTIFICATE_BYTES_MAX).map_err(|error| failed(error.to_string()))?;
    // It must not leave this machine, not even to be refused.
    if text.contains("PRIVATE KEY-----") {
        return Err(failed("a private key is in it: give the certificate alone; nothing was asked of the node".into()));
    }
    body["certificate"] = text.into();
    Ok(())
}

/// With the names of the files as the gateway has them.
fn named(answer: &str, given: &GatewayCertificate) -> Option<String> {
    let Some(path) = &given.certificate else { return Some(answer.to_owned()) };
    let mut file: Value = serde_json::from_str(answer).ok()?;
    let at = given.certificate_at.clone().or_else(|| path.file_name().map(PathBuf::from))?;
    let key = given.key_at.clone().unwrap_or_else(|| at.with_extension("key"));
    file["certificateFile"] = at.to_str()?.into();
    file["keyFile"] = key.to_str()?.into();
    Some(format!("{file:#}\n"))
}

/// The answer may hold a secret: it goes to the file, and into no message.
fn keep(
    output: Output,
    answer: &Answer,
    file: CredentialsFile,
    (site, name): (&str, &str),
    out: &Path,
    certificate: &GatewayCertificate,
) -> Result<(), Failure> {
    let whole = serde_json::from_str::<Credentials>(&answer.body).is_ok_and(|c| match &certificate.certificate {
        Some(_) => c.certificate_file.is_some(),
        None => c.secret.is_some_and(|secret| !secret.is_empty()),
    });
    let text = named(&answer.body, certificate).filter(|_| whole);
    let Some(text) = text else {
        return Err(answer.not_understood(format!("it holds no credentials; remove gateway {name} and try again")));
    };
    file.keep(&text).map_err(|error| {
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
