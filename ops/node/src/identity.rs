//! Who a data directory is: `node.json`, made at the first start and kept for the node's life.
//!
//! **Invariant:** a directory that was a node's never begins a second life without a word. Token, CA and identity are made only
//! after the data files are in place, so where one of them is and log or state is not, that was lost: every twin
//! and every gateway's key with them. Only an operator may say that this is meant ([`NodeOptions::begin_empty`]).
//!
//! The data files carry the id as well, so that those of two nodes are never taken for one.
//!
//! A token alone says nothing: it may have been put there before the first start.
//!
//! [`NodeOptions::begin_empty`]: crate::NodeOptions::begin_empty

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use ring::rand::SecureRandom as _;
use serde::{Deserialize, Serialize};
use twin_small_file::read_small_file;
use twin_storage::{DataFile, Disk};
use twin_transports::tls::CA_KEY_FILE;

/// File name in the data directory.
pub const IDENTITY_FILE: &str = "node.json";

/// In a directory into which a backup is being restored, or whose restore was cut short.
pub const RESTORE_MARK: &str = "restore.unfinished";
/// Format of the file.
const VERSION: u32 = 1;
/// Random bytes of an id.
const ID_BYTES: usize = 16;
/// Longest file that is read; ours has some 60 bytes.
const FILE_BYTES_MAX: u64 = 4096;

/// Why a directory cannot be used as a node's.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Data files are gone.
    #[error(
        "{missing} missing, but {witness} is there: this directory was a node's, and all its twins and gateways were in \
         those files; restore all of them from one backup (`twind restore --from FILE --data-dir DIR`, DIR empty), or mount the disk that has them, or, to begin with nothing, start once \
         with --begin-empty (every gateway must then be added again)"
    )]
    StateLost {
        /// Which, and "is" or "are".
        missing: String,
        /// What shows that there was a node.
        witness: PathBuf,
    },
    /// Asked to begin with nothing where there is something.
    #[error(
        "--begin-empty was given, but {present} is there: start without it, or, if its twins are really to be forgotten, move \
         all data files away first"
    )]
    NotEmpty {
        /// A data file.
        present: PathBuf,
    },
    /// Half of a backup.
    #[error(
        "{mark} is there: a backup is being restored into this directory, or that was cut short; let it end, or empty the directory and \
         restore again"
    )]
    HalfRestored {
        /// What shows it.
        mark: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("cannot read or make the node's identity {path}: {cause}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Not an identity.
    #[error(
        "the node's identity {path} {why}: put back the file that was there, or remove it: the data files know the id, and a backup does not"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system gave no random bytes.
    #[error("the system gives no random bytes for a new identity")]
    Entropy,
}

#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    node: String,
}

/// Before the data files are opened: are they missing where they must not be?
pub(crate) fn check(data_dir: &Path, disk: &dyn Disk, begin_empty: bool) -> Result<(), IdentityError> {
    let mark = data_dir.join(RESTORE_MARK);
    if mark.exists() {
        return Err(IdentityError::HalfRestored { mark });
    }
    if begin_empty {
        return match DataFile::ALL.map(|file| disk.path(file)).into_iter().find(|file| file.exists()) {
            Some(present) => Err(IdentityError::NotEmpty { present }),
            None => Ok(()),
        };
    }
    let (log, state) = (disk.path(DataFile::Log), disk.path(DataFile::State));
    let missing = match (log.exists(), state.exists()) {
        // Whether they belong together is for the storage to say.
        (true, true) => return Ok(()),
        (false, true) => format!("{} is", log.display()),
        (true, false) => format!("{} is", state.display()),
        (false, false) => format!("{} and {} are", log.display(), state.display()),
    };
    let witnesses = [IDENTITY_FILE, CA_KEY_FILE].map(|name| data_dir.join(name));
    match witnesses.into_iter().find(|witness| witness.exists()) {
        Some(witness) => Err(IdentityError::StateLost { missing, witness }),
        None => Ok(()),
    }
}

/// The directory's id, 32 hexadecimal digits, made if there is none, and made anew for a new life. Where only the data files know it
/// (`of_files`), it is theirs. The data files' lock must be held: one process does this at a time.
pub(crate) fn load_or_create(
    data_dir: &Path,
    begin_empty: bool,
    of_files: Option<&str>,
) -> Result<String, IdentityError> {
    let path = data_dir.join(IDENTITY_FILE);
    if !begin_empty {
        match read_small_file(&path, FILE_BYTES_MAX).map_err(io::Error::from) {
            Ok(bytes) => return parse(&path, &bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(IdentityError::Io { path, cause }),
        }
    }
    let node = match of_files {
        Some(node) => node.to_owned(),
        None => draw()?,
    };
    create(data_dir, &path, &Written { version: VERSION, node: node.clone() })
        .map_err(|cause| IdentityError::Io { path, cause })?;
    Ok(node)
}

fn draw() -> Result<String, IdentityError> {
    let mut bytes = [0; ID_BYTES];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| IdentityError::Entropy)?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

fn parse(path: &Path, bytes: &[u8]) -> Result<String, IdentityError> {
    let malformed = |why: String| IdentityError::Malformed { path: path.to_owned(), why };
    let written: Written =
        serde_json::from_slice(bytes).map_err(|error| malformed(format!("is not what a node writes ({error})")))?;
    if written.version != VERSION {
        return Err(malformed(format!("has version {}, this release reads {VERSION}", written.version)));
    }
    if written.node.len() != 2 * ID_BYTES || !written.node.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(malformed(format!("has an id that is not {} hexadecimal digits", 2 * ID_BYTES)));
    }
    Ok(written.node)
}

/// A crash leaves either no identity or all of it.
fn create(data_dir: &Path, path: &Path, written: &Written) -> io::Result<()> {
    let beside = path.with_extension("json.new");
    // What a crash left, or somebody put there: opening a pipe would wait.
    let _ = fs::remove_file(&beside);
    let mut file = fs::File::create_new(&beside)?;
    file.write_all(serde_json::to_string(written)?.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    fs::File::open(data_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_kept_until_a_new_life_begins() {
        let dir = tempfile::tempdir().unwrap();
        let made = load_or_create(dir.path(), false, None).unwrap();
        assert_eq!(made.len(), 32);
        assert_eq!(load_or_create(dir.path(), false, None).unwrap(), made);
        assert_ne!(load_or_create(dir.path(), true, None).unwrap(), made);
    }

    #[test]
    fn an_identity_that_is_gone_is_that_of_the_data_files() {
        let dir = tempfile::tempdir().unwrap();
        let files = "00112233445566778899aabbccddeeff";
        assert_eq!(load_or_create(dir.path(), false, Some(files)).unwrap(), files);
        assert_eq!(load_or_create(dir.path(), false, Some(files)).unwrap(), files);
        // What the file says is never replaced without a word: whether it is that of the data files is for the storage to say.
        let other = "ff112233445566778899aabbccddeeff";
        assert_eq!(load_or_create(dir.path(), false, Some(other)).unwrap(), files);
    }

    #[test]
    fn what_is_no_identity_is_refused_with_advice() {
        let dir = tempfile::tempdir().unwrap();
        for content in
            ["", "{}", r#"{"version":2,"node":"00000000000000000000000000000000"}"#, r#"{"version":1,"node":"x"}"#]
        {
            fs::write(dir.path().join(IDENTITY_FILE), content).unwrap();
            let error = load_or_create(dir.path(), false, None).unwrap_err().to_string();
            assert!(error.contains("node.json") && error.contains("backup"), "{error}");
        }
    }
}
