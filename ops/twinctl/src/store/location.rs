//! `s3://bucket/prefix`, and the way there.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{ObjectStore, RetryConfig};
use tokio::runtime::{Builder, Runtime};
use ureq::http::Uri;

use super::http::Connector;
use crate::failure::Failure;
use crate::limits::{STORE_RETRIES_MAX, STORE_RETRY_TIMEOUT};

/// A place in an object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    bucket: String,
    path: Path,
}

impl Location {
    /// `None`: it is no address of an object store, and so a path of this machine.
    pub(crate) fn read(text: &str) -> Option<Result<Self, String>> {
        let rest = text.strip_prefix("s3://")?;
        let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Some(Err(format!("{text:?} names no bucket; it looks like s3://bucket/prefix")));
        }
        // What is no bucket's name may be a password in front of one: it is not repeated.
        if !bucket.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) {
            return Some(Err(
                "a bucket's name has letters, digits, dots and hyphens only: s3://bucket/prefix".to_owned()
            ));
        }
        let path = Path::parse(path).map_err(|error| format!("{text:?}: {error}"));
        Some(path.map(|path| Self { bucket: bucket.to_owned(), path }))
    }

    /// An object below it.
    pub(crate) fn child(&self, name: &str) -> Self {
        Self { bucket: self.bucket.clone(), path: self.path.clone().join(name) }
    }

    /// Its last part.
    pub(crate) fn name(&self) -> Option<&str> {
        self.path.filename()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The way there, by what the environment says: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL` and
    /// so on. Asks nothing yet, and is refused where there are no credentials.
    pub(crate) fn open(&self) -> Result<Store, Failure> {
        let failed = |error: object_store::Error| Failure::Usage(format!("{self} can't be opened: {error}"));
        let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok());
        let is_plain = endpoint.as_deref().map_or(Ok(false), is_plain_endpoint)?;
        let retry = RetryConfig {
            max_retries: STORE_RETRIES_MAX,
            retry_timeout: STORE_RETRY_TIMEOUT,
            ..RetryConfig::default()
        };
        let from_env = AmazonS3Builder::from_env();
        // Looked for before anything is asked: the address of clouds' metadata services is nobody's elsewhere, and waiting for its
        // answer would take minutes.
        let is_asked_for = |name: &str| std::env::var(name).is_ok_and(|value| value.eq_ignore_ascii_case("false"));
        if !has_credentials(&from_env) && !is_asked_for(METADATA_DISABLED) {
            return Err(Failure::Usage(format!(
                "{self} can't be opened: the environment has no credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; or, on a \
                 machine of a cloud that has a role, {METADATA_DISABLED}=false, and its metadata service is asked for them"
            )));
        }
        let mut builder = from_env
            .with_bucket_name(&self.bucket)
            .with_allow_http(is_plain)
            .with_http_connector(Connector::new(!is_plain)?)
            .with_retry(retry);
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let store = builder.build().map_err(failed)?;
        Store::new(Arc::new(store), self.clone())
    }
}

/// As AWS's own tools call it. They ask unless it says true; here it is asked for by saying false.
const METADATA_DISABLED: &str = "AWS_EC2_METADATA_DISABLED";

/// Are there credentials, or is there a place for them that was named?
fn has_credentials(builder: &AmazonS3Builder) -> bool {
    use AmazonS3ConfigKey::{
        AccessKeyId, ContainerCredentialsFullUri, ContainerCredentialsRelativeUri, MetadataEndpoint, SecretAccessKey,
        SkipSignature, WebIdentityTokenFile,
    };
    // Of one key without the other the builder tells.
    let places = [
        AccessKeyId,
        SecretAccessKey,
        WebIdentityTokenFile,
        ContainerCredentialsRelativeUri,
        ContainerCredentialsFullUri,
        MetadataEndpoint,
    ];
    places.iter().any(|place| builder.get_config_value(place).is_some())
        || builder.get_config_value(&SkipSignature).is_some_and(|skips| skips == "true")
}

/// Is the store at this address asked without TLS? Only on this machine: a backup may hold the CA's key.
fn is_plain_endpoint(endpoint: &str) -> Result<bool, Failure> {
    // The text is not repeated where a password may stand in it.
    let wrong = |what: &str| Err(Failure::Usage(format!("AWS_ENDPOINT_URL {what}; it looks like https://host:port")));
    let Ok(uri) = endpoint.parse::<Uri>() else { return wrong("is no URL") };
    let Some(host) = uri.host() else { return wrong("names no host") };
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return wrong("has a user or a password in it: they belong into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(false),
        Some("http") if is_loopback => Ok(true),
        Some("http") => wrong("is http beyond this machine, and backups are not sent in clear"),
        _ => wrong("is neither http nor https"),
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.path)
    }
}

/// A directory of this machine, or a place in an object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Directory(std::path::PathBuf),
    Store(Location),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match Location::read(text) {
            Some(location) => location.map(Self::Store),
            None if text.contains("://") => {
                Err(format!("{text:?} is neither a directory nor s3://bucket/prefix; other stores are not known"))
            }
            None => Ok(Self::Directory(text.into())),
        }
    }
}

/// An object store, opened at a place, with the threads that its client needs.
pub(crate) struct Store {
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) at: Location,
    pub(super) runtime: Runtime,
}

impl Store {
    pub(super) fn new(objects: Arc<dyn ObjectStore>, at: Location) -> Result<Self, Failure> {
        // One thread drives the client; the requests themselves are carried out on threads that come and go.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Usage(format!("no thread can be started: {error}")))?;
        Ok(Self { objects, at, runtime })
    }
}

/// What an object store's refusal means to the operator.
pub(super) fn reason(error: &object_store::Error) -> String {
    match error {
        object_store::Error::NotFound { .. } => "there is no such object".to_owned(),
        object_store::Error::AlreadyExists { .. } => {
            "there is such an object already; a backup never replaces one".to_owned()
        }
        other => chain(other),
    }
}

pub(super) fn failure(at: &Location, error: &object_store::Error) -> Failure {
    Failure::Store { url: at.to_string(), reason: reason(error) }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_bucket_and_a_prefix() {
        let read = |text: &str| Location::read(text).map(|read| read.map(|location| location.to_string()));
        assert_eq!(read("s3://backups/nodes/a"), Some(Ok("s3://backups/nodes/a".to_owned())));
        assert_eq!(read("s3://backups"), Some(Ok("s3://backups/".to_owned())));
        assert_eq!(read("./backups"), None);
        assert!(read("s3://").is_some_and(|read| read.is_err()));
        let child = Location::read("s3://b/p/").unwrap().unwrap().child("x.twinbackup");
        assert_eq!((child.to_string().as_str(), child.name()), ("s3://b/p/x.twinbackup", Some("x.twinbackup")));
        assert!("gs://b/p".parse::<Target>().is_err());
        let told = read("s3://me:secret@b/p").unwrap().unwrap_err();
        assert!(!told.contains("secret"), "{told}");
        assert_eq!("backups".parse(), Ok(Target::Directory("backups".into())));
    }

    #[test]
    fn an_address_of_a_store_is_https_unless_it_is_on_this_machine() {
        for plain in ["http://127.0.0.1:9000", "http://localhost:9000/", "http://[::1]:9000"] {
            assert!(is_plain_endpoint(plain).unwrap(), "{plain}");
        }
        assert!(!is_plain_endpoint("https://store.example:9000/x").unwrap());
        for wrong in [
            "nonsense",
            "",
            "http://",
            "ftp://127.0.0.1",
            "http://10.0.0.1:9000",
            "https://me:secret@store.example",
            "\n",
        ] {
            let told = is_plain_endpoint(wrong).expect_err(wrong).to_string();
            assert!(told.contains("AWS_ENDPOINT_URL") && !told.contains("secret"), "{told}");
        }
    }
}
