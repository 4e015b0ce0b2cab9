//! What a gateway needs to speak for its site; its owner gets it once, from `twinctl gateway add` or REST.
//!
//! [`super::credentials_format`] is their text, [`super::credentials_file`] the files that they are in.

use std::path::PathBuf;

use twin_core::ids::{GatewayId, GatewayName, SiteId};
use twin_small_file::SmallFileError;

use super::credentials_format::{FORMAT_VERSION, FORMAT_VERSION_CERTIFICATE};
use super::identity::Identity;
use super::secret::SecretError;

/// Everything that a gateway needs to speak for its site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its site.
    pub site: SiteId,
    /// Its name in the site.
    pub name: GatewayName,
    /// Product key.
    pub product_key: String,
    /// What it proves itself by.
    pub identity: Identity,
    /// PEM text of the CA that signs the node's certificate. Nothing else is trusted.
    pub ca: String,
    /// The name in the node's certificate.
    pub server_name: String,
    /// The file that they were read from, which is looked at again by [`Self::renewed`].
    pub file: Option<PathBuf>,
}

impl Credentials {
    /// Whose they are.
    pub fn gateway(&self) -> GatewayId {
        GatewayId { site: self.site.clone(), name: self.name.clone() }
    }
}

/// Why credentials could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file.
    #[error("credentials file {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What happened.
        source: SmallFileError,
    },
    /// Not what a credentials file looks like.
    #[error("these are not gateway credentials: {message}; make new ones with `twinctl gateway add`")]
    Format {
        /// What is wrong.
        message: String,
    },
    /// A format of another release.
    #[error(
        "credentials of format version {found}, this release reads {FORMAT_VERSION} and {FORMAT_VERSION_CERTIFICATE}"
    )]
    Version {
        /// The version found.
        found: u32,
    },
    /// The secret has the wrong length.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The CA is none.
    #[error(
        "field \"ca\" must be the node's CA certificate as PEM text, but {message}; make new credentials with `twinctl gateway add`"
    )]
    Ca {
        /// What is wrong.
        message: String,
    },
    /// The certificate.
    #[error("the gateway's certificate cannot be used: {message}")]
    Certificate {
        /// What is wrong.
        message: String,
    },
    /// Its key.
    #[error("the key of the gateway's certificate cannot be used: {message}")]
    Key {
        /// What is wrong.
        message: String,
    },
    /// The file is another gateway's now.
    #[error(
        "these are the credentials of gateway {found} now, and this is {expected}, which it stays until it is started again"
    )]
    OtherGateway {
        /// Whose they are.
        found: GatewayId,
        /// Whose they were.
        expected: GatewayId,
    },
    /// What a file holds.
    #[error("credentials file {path}: {source}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<CredentialsError>,
    },
}
