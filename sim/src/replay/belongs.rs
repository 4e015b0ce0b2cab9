//! Whose state a folder holds. Positions say what a node was told; another node was told nothing.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use twin_gateway::Credentials;

use crate::state_file;

/// The note in the state folder.
const NOTE: &str = "replay.json";

/// A state folder that cannot be used with these credentials.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder.
    #[error("state folder {}: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The note in it.
    #[error("{} is not what this program wrote: {message}; name another --state folder", path.display())]
    Note {
        /// The note.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Another gateway's.
    #[error(
        "state folder {} belongs to gateway {found} of {}; name another --state folder, or remove this one to start anew",
        path.display(), if *other_node { "another node (its CA differs)" } else { "the same node" }
    )]
    AnotherGateway {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Is it another node's?
        other_node: bool,
    },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Belongs {
    version: u32,
    site: String,
    gateway: String,
    ca: String,
}

/// Is it the state folder of a replay?
pub(crate) fn is_replays(folder: &Path) -> bool {
    folder.join(NOTE).exists()
}

/// Makes the folder, or checks that it is this gateway's.
pub(crate) fn claim(folder: &Path, credentials: &Credentials) -> Result<(), StateError> {
    let failed = |source| StateError::Folder { path: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let ours = Belongs {
        version: 1,
        site: credentials.site.to_string(),
        gateway: credentials.name.to_string(),
        ca: credentials.ca.trim().to_owned(),
    };
    let path = folder.join(NOTE);
    match state_file::read(&path) {
        Ok(bytes) => {
            let note = |message: String| StateError::Note { path: path.clone(), message };
            let found: Belongs = serde_json::from_slice(&bytes).map_err(|error| note(error.to_string()))?;
            if found.version != ours.version {
                return Err(note(format!("version {}, this release writes {}", found.version, ours.version)));
            }
            if found != ours {
                return Err(StateError::AnotherGateway {
                    path: folder.to_owned(),
                    found: format!("{}/{}", found.site, found.gateway),
                    other_node: found.ca != ours.ca,
                });
            }
            Ok(())
        }
        // Durable before anything that rests on it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => serde_json::to_vec_pretty(&ours)
            .map_err(io::Error::from)
            .and_then(|bytes| state_file::write(folder, NOTE, &bytes))
            .map_err(failed),
        Err(error) => Err(failed(error)),
    }
}
