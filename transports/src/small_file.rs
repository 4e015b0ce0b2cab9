//! Files that are configuration: read whole, but never more than they may have, and never waited for.

use std::fs::{self, File, FileType};
use std::io::{self, Read as _};
use std::path::Path;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum SmallFileError {
    /// The system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Something else has its name.
    #[error("it is a {kind}, and must be a regular file (or a link to one)")]
    NotAFile {
        /// What it is.
        kind: &'static str,
    },
    /// Too much.
    #[error("it has more than {bytes_max} bytes, which is the limit: is it the right file?")]
    TooLong {
        /// The limit.
        bytes_max: u64,
    },
    /// Not text.
    #[error("it is not UTF-8 text: is it the right file?")]
    NotText,
}

impl From<SmallFileError> for io::Error {
    fn from(error: SmallFileError) -> Self {
        match error {
            SmallFileError::Io(error) => error,
            other => Self::new(io::ErrorKind::InvalidData, other),
        }
    }
}

/// Reads a regular file of at most so many bytes.
///
/// What it is is looked at first, as opening a pipe waits for whoever writes into it; and what its length is said to be is not
/// believed, as a file may grow, and some have no length.
pub fn read_small_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>, SmallFileError> {
    let file_type = fs::metadata(path)?.file_type();
    if !file_type.is_file() {
        return Err(SmallFileError::NotAFile { kind: kind_of(file_type) });
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(SmallFileError::TooLong { bytes_max });
    }
    Ok(bytes)
}

/// As [`read_small_file`], for text.
pub fn read_small_text(path: &Path, bytes_max: u64) -> Result<String, SmallFileError> {
    String::from_utf8(read_small_file(path, bytes_max)?).map_err(|_| SmallFileError::NotText)
}

fn kind_of(file_type: FileType) -> &'static str {
    if file_type.is_dir() {
        return "directory";
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        if file_type.is_fifo() {
            return "pipe";
        }
        if file_type.is_socket() {
            return "socket";
        }
    }
    "device"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound_and_not_a_byte_beyond() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_small_text(&path, 5).unwrap(), "12345");
        let error = read_small_text(&path, 4).unwrap_err();
        assert!(matches!(error, SmallFileError::TooLong { bytes_max: 4 }), "{error}");
        fs::write(&path, [0xff]).unwrap();
        assert!(matches!(read_small_text(&path, 5), Err(SmallFileError::NotText)));
        let missing = io::Error::from(read_small_file(&folder.path().join("none"), 5).unwrap_err());
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    /// Nobody ever writes into the pipe, and the device never ends.
    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_refused_by_what_it_is_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for (path, expected) in [(&*pipe, "pipe"), (folder.path(), "directory"), (Path::new("/dev/zero"), "device")] {
            match read_small_file(path, 10) {
                Err(SmallFileError::NotAFile { kind }) => assert_eq!(kind, expected),
                other => panic!("{path:?}: {other:?}"),
            }
        }
    }
}
