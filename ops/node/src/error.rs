//! Why a node does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use twin_cluster::StartError;
use twin_core::refusal::Refusal;
use twin_storage::{Disk, OpenError};
use twin_transports::server::ServerError;
use twin_transports::tls::TlsError;

use crate::identity::IdentityError;
use crate::token::TokenError;

/// Why a node does not start. Whatever was started before is stopped again.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The data directory.
    #[error("cannot use the data directory {path}: {cause}; give a directory that this user may write to")]
    DataDir {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A first start on a disk that is too small.
    #[error(
        "the disk of the data directory {path} has {free_bytes} bytes free, and a first start needs {needed_bytes}: make room, or give a \
         data directory on another disk with --data-dir"
    )]
    TooSmall {
        /// The data directory.
        path: PathBuf,
        /// What is free.
        free_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
    },
    /// A start that found no room for one of its small files.
    #[error(
        "the disk of {path} is full: {free_bytes} bytes are free, and with less than {needed_bytes} a node takes no writes; make room on it, \
         and start again"
    )]
    NoRoom {
        /// The file that could not be written.
        path: PathBuf,
        /// What is free.
        free_bytes: u64,
        /// With so much it takes writes.
        needed_bytes: u64,
    },
    /// Whose the data directory is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The admin token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The audit log.
    #[error(
        "cannot use the audit log in {path}: {cause}; give a data directory that this user may write to and that has room"
    )]
    Audit {
        /// The data directory.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The directory does not take the first admin token.
    #[error("the admin token of the data directory cannot be handed over: {0}")]
    HandOver(#[from] Refusal),
    /// CA or certificate.
    #[error("the node's certificates: {0}")]
    Tls(#[from] TlsError),
    /// The data files.
    #[error(transparent)]
    Storage(#[from] OpenError),
    /// The Raft groups.
    #[error("the cluster part does not start: {0}")]
    Cluster(#[from] StartError),
    /// The REST's address.
    #[error(
        "the REST cannot listen on {addr}: {cause}; choose another address with --http, or stop what listens there"
    )]
    Http {
        /// Where.
        addr: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// The gateways' address.
    #[error("the QUIC endpoint does not start: {0}; choose another address with --quic, or stop what listens there")]
    Quic(#[from] ServerError),
    /// A task of the start died.
    #[error("a part of the start died: {0}")]
    Died(#[from] tokio::task::JoinError),
}

impl NodeError {
    /// Tells the want of room from whatever else may keep a node from writing a file.
    pub(crate) fn or_no_room(self, disk: &dyn Disk, needed_bytes: u64) -> Self {
        let (Self::DataDir { path, cause }
        | Self::Audit { path, cause }
        | Self::Identity(IdentityError::Io { path, cause })
        | Self::Token(TokenError::Io { path, cause })
        | Self::Tls(TlsError::File { path, source: cause })) = &self
        else {
            return self;
        };
        if !matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return self;
        }
        let free_bytes = disk.free_bytes().ok().flatten().unwrap_or_default();
        Self::NoRoom { path: path.clone(), free_bytes, needed_bytes }
    }
}
