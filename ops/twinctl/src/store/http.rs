//! The requests of an object store's client, sent by the HTTP client that the node is asked with.

use std::io::Read as _;
use std::path::PathBuf;

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use twin_small_file::read_given_file;
use ureq::Agent;
use ureq::http::{Method, Request};
use ureq::tls::{PemItem, RootCerts, parse_pem};

use crate::agent;
use crate::failure::Failure;
use crate::limits::{CA_BYTES_MAX, STORE_ANSWER_BYTES_MAX, STORE_ANSWER_TIMEOUT, STORE_SILENCE_MAX};

/// Where systems keep the certificates that they trust, the usual ones first.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Makes clients of one agent.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    agent: Agent,
}

impl Connector {
    /// Trusts the certificates of the file that `AWS_CA_BUNDLE` or `SSL_CERT_FILE` names, or else those that the system trusts.
    pub(super) fn new(needs_tls: bool) -> Result<Self, Failure> {
        let roots = if needs_tls { roots()? } else { agent::nobody() };
        let agent = agent::trusting(roots)
            .timeout_recv_response(Some(STORE_SILENCE_MAX))
            .timeout_global(Some(STORE_ANSWER_TIMEOUT))
            .build()
            .new_agent();
        Ok(Self { agent })
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        // A part at most.
        let body = body.collect().await?.to_bytes();
        let agent = self.agent.clone();
        let answered = tokio::task::spawn_blocking(move || {
            let has_body = !matches!(parts.method, Method::GET | Method::HEAD | Method::DELETE);
            let answer = if has_body {
                agent.run(Request::from_parts(parts, body.as_ref()))
            } else {
                agent.run(Request::from_parts(parts, ()))
            };
            let (parts, body) = answer?.into_parts();
            let mut bytes = Vec::new();
            body.into_with_config().limit(STORE_ANSWER_BYTES_MAX).reader().read_to_end(&mut bytes)?;
            Ok::<_, ureq::Error>((parts, bytes))
        });
        let (parts, bytes) = answered
            .await
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?
            .map_err(|error| HttpError::new(kind_of(&error), error))?;
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(bytes)))
    }
}

/// What decides whether the request is tried again.
fn kind_of(error: &ureq::Error) -> HttpErrorKind {
    match error {
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed => HttpErrorKind::Connect,
        ureq::Error::Timeout(_) => HttpErrorKind::Timeout,
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => HttpErrorKind::Connect,
        ureq::Error::Io(_) => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Unknown,
    }
}

fn roots() -> Result<RootCerts, Failure> {
    let named = ["AWS_CA_BUNDLE", "SSL_CERT_FILE"].into_iter().find_map(std::env::var_os).map(PathBuf::from);
    let file = named.or_else(|| SYSTEM_ROOTS.into_iter().map(PathBuf::from).find(|path| path.exists()));
    let Some(file) = file else {
        let looked = SYSTEM_ROOTS.join(", ");
        let message = format!("no trusted certificates are at {looked}: name a PEM file of them in AWS_CA_BUNDLE");
        return Err(Failure::Usage(message));
    };
    let wrong = |what: String| Failure::Usage(format!("trusted certificates {}: {what}", file.display()));
    let pem = read_given_file(&file, CA_BYTES_MAX).map_err(|error| wrong(error.to_string()))?;
    // Systems' bundles have the odd entry that is none of a CA's certificate.
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| if let Ok(PemItem::Certificate(certificate)) = item { Some(certificate) } else { None })
        .collect();
    if certificates.is_empty() {
        return Err(wrong("no certificate is in it".to_owned()));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}
