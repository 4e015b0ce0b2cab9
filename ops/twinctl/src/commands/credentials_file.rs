//! The file that takes a gateway's credentials.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// An empty file of mode 0600, made before the credentials are, because they are shown only once: an answer that has
/// nowhere to go would be a gateway that nobody can be. Removed again unless [`Self::keep`] is reached.
#[derive(Debug)]
pub(crate) struct CredentialsFile {
    file: File,
    path: PathBuf,
    kept: bool,
}

impl CredentialsFile {
    /// Creates the file.
    ///
    /// **Invariant:** it never opens what is already there, be it a file or a link: `create_new` fails on both.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(file) => Ok(Self { file, path: path.to_owned(), kept: false }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(Failure::Usage(format!(
                "{} exists and is not overwritten: it may hold the only copy of a secret; nothing was asked of the node",
                path.display()
            ))),
            Err(error) => Err(Failure::Usage(format!("can't create {}: {error}", path.display()))),
        }
    }

    /// Writes the credentials to the disk and keeps the file.
    pub(crate) fn keep(mut self, credentials: &str) -> std::io::Result<()> {
        self.file.write_all(credentials.as_bytes())?;
        self.file.sync_all()?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for CredentialsFile {
    fn drop(&mut self) {
        if !self.kept {
            // Nothing more can be done about a file that can't be removed; it holds no complete secret.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g.json");
        CredentialsFile::create(&path).unwrap().keep("{}").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}");
    }

    #[test]
    fn what_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g.json");
        std::fs::write(&path, "older").unwrap();
        let link = folder.path().join("link.json");
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &link).unwrap();
        assert_eq!(CredentialsFile::create(&path).unwrap_err().exit_code(), 2);
        assert_eq!(CredentialsFile::create(&link).unwrap_err().exit_code(), 2);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "older");
        assert!(!folder.path().join("elsewhere").exists());
    }

    #[test]
    fn a_file_without_credentials_goes_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g.json");
        drop(CredentialsFile::create(&path).unwrap());
        assert!(!path.exists());
    }
}
