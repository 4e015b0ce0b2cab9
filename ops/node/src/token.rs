//! `admin.token` in the data directory: how the first admin token reaches its operator.
//!
//! The first start makes it and hands its hash over to the directory, as the token `admin` of scope `operate`. From then on the file
//! is the operator's, not the node's: moved to where `twinctl` runs, it leaves nothing in the data directory that could speak as an
//! admin. (The node goes on without it, and does not make it again.)
//!
//! It is also the way back in for whoever can write to the data directory and has lost every token: a line put there before a start
//! becomes the new `admin`. The same line is taken over once only, so a token that was revoked does not return with its file.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SecureRandom as _;
use twin_small_file::read_small_file;

/// File name in the data directory.
pub const TOKEN_FILE: &str = "admin.token";

/// Random bytes of a new token.
const TOKEN_BYTES: usize = 32;
/// Shortest token that is taken from a file, in characters: 128 bits of base64url.
const TOKEN_CHARACTERS_MIN: usize = 22;
/// Longest.
const TOKEN_CHARACTERS_MAX: usize = 256;
/// Longest file that is read, whatever stands in it.
const FILE_BYTES_MAX: u64 = 4096;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read or written.
    #[error("cannot read or make the admin token {path}: {cause}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Others may read it.
    #[error(
        "the admin token {path} has mode {mode:03o}, so others on this machine can read it: run `chmod 600 {path}`, or remove the file to get a new token"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Not a token.
    #[error(
        "the admin token {path} {why}; a token is one line of {TOKEN_CHARACTERS_MIN} to {TOKEN_CHARACTERS_MAX} characters A-Z a-z 0-9 - _: mend the file, or remove it to get a new token"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system gave no random bytes.
    #[error("the system gives no random bytes for a new admin token")]
    Entropy,
}

/// What stands in the file. Shown by nothing.
#[derive(Clone)]
pub struct TokenFile(String);

impl TokenFile {
    /// Reads the file, if it is there.
    pub fn load(data_dir: &Path) -> Result<Option<Self>, TokenError> {
        let path = data_dir.join(TOKEN_FILE);
        match read_small_file(&path, FILE_BYTES_MAX).map_err(io::Error::from) {
            Ok(bytes) => Self::check(&path, &bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(TokenError::Io { path, cause }),
        }
    }

    fn check(path: &Path, bytes: &[u8]) -> Result<Self, TokenError> {
        let path = path.to_owned();
        let metadata = fs::metadata(&path).map_err(|cause| TokenError::Io { path: path.clone(), cause })?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(TokenError::Exposed { path, mode });
        }
        let malformed = |why: String| TokenError::Malformed { path: path.clone(), why };
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("is not text".to_owned()))?.trim_end();
        if text.is_empty() {
            return Err(malformed("is empty".to_owned()));
        }
        if text.len() < TOKEN_CHARACTERS_MIN || text.len() > TOKEN_CHARACTERS_MAX {
            return Err(malformed(format!("has {} characters", text.len())));
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(malformed("has characters that a token has not".to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// Makes a token and its file.
    pub fn create(data_dir: &Path) -> Result<Self, TokenError> {
        let path = data_dir.join(TOKEN_FILE);
        let mut bytes = [0; TOKEN_BYTES];
        ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| TokenError::Entropy)?;
        let token = URL_SAFE_NO_PAD.encode(bytes);
        // Written beside and renamed: a crash leaves either no token or all of it.
        let beside = path.with_extension("token.new");
        let write = || -> io::Result<()> {
            let _ = fs::remove_file(&beside);
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            file.write_all(format!("{token}\n").as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            // Its hash is about to be durable: the file must not be gone then.
            fs::File::open(data_dir)?.sync_all()
        };
        match write() {
            Ok(()) => Ok(Self(token)),
            Err(cause) => Err(TokenError::Io { path, cause }),
        }
    }

    /// The token itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenFile(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(content: &[u8], mode: u32) -> Result<Option<TokenFile>, TokenError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(TOKEN_FILE);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        TokenFile::load(dir.path())
    }

    #[test]
    fn a_token_that_is_made_is_private_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        assert!(TokenFile::load(dir.path()).unwrap().is_none());
        let made = TokenFile::create(dir.path()).unwrap();
        let path = dir.path().join(TOKEN_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(made.as_str().len(), 43);
        let again = TokenFile::load(dir.path()).unwrap().unwrap();
        assert_eq!(again.as_str(), made.as_str());
        assert!(!format!("{made:?}").contains(made.as_str()));
    }

    #[test]
    fn a_token_that_is_empty_malformed_or_readable_by_others_is_refused_with_advice() {
        let good = b"0123456789012345678901234567890123456789012\n";
        assert!(with_file(good, 0o600).is_ok());
        assert!(with_file(good, 0o400).is_ok());
        for (content, mode, advice) in [
            (&good[..], 0o644, "chmod 600"),
            (good, 0o640, "chmod 600"),
            (b"", 0o600, "is empty"),
            (b"\n", 0o600, "is empty"),
            (b"short", 0o600, "5 characters"),
            (b"0123456789 123456789012345678901234567890", 0o600, "characters that a token has not"),
            (
                b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff\xfe",
                0o600,
                "not text",
            ),
        ] {
            let error = with_file(content, mode).unwrap_err().to_string();
            assert!(error.contains(advice), "{error}");
        }
    }
}
