//! Reading whole, but never more than there may be.

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
    /// Somebody named a pipe that lies in a folder.
    #[error(
        "it is a named pipe, into which nobody may ever write: give a regular file (or a link to one), or let the shell make the pipe, as \
         with <(command)"
    )]
    NamedPipe,
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

/// Reads a regular file of at most so many bytes. What its length is said to be is not believed, as a file may grow, and some have no
/// length.
pub fn read_small_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>, SmallFileError> {
    bounded(&open_regular(path)?, bytes_max)
}

/// As [`read_small_file`], for text.
pub fn read_small_text(path: &Path, bytes_max: u64) -> Result<String, SmallFileError> {
    text(read_small_file(path, bytes_max)?)
}

/// Reads what somebody named on a command line: a file, or a terminal or pipe that is open already, as a shell's `<(...)` is, of at most
/// so many bytes. A pipe that lies in a folder is not waited for.
pub fn read_given_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>, SmallFileError> {
    let file_type = fs::metadata(path)?.file_type();
    if file_type.is_dir() {
        return Err(SmallFileError::NotAFile { kind: kind_of(file_type) });
    }
    if is_named_pipe(path, file_type) {
        return Err(SmallFileError::NamedPipe);
    }
    bounded(&File::open(path)?, bytes_max)
}

/// As [`read_given_file`], for text.
pub fn read_given_text(path: &Path, bytes_max: u64) -> Result<String, SmallFileError> {
    text(read_given_file(path, bytes_max)?)
}

/// Opens a regular file to read it. What it is is looked at first, as opening a pipe waits for whoever writes into it.
pub fn open_regular(path: &Path) -> Result<File, SmallFileError> {
    regular(fs::metadata(path)?.file_type())?;
    Ok(File::open(path)?)
}

/// Is it a file? For what was opened to be written as well, which waits for nobody.
pub fn check_regular(file: &File) -> Result<(), SmallFileError> {
    regular(file.metadata()?.file_type())
}

fn regular(file_type: FileType) -> Result<(), SmallFileError> {
    if file_type.is_file() { Ok(()) } else { Err(SmallFileError::NotAFile { kind: kind_of(file_type) }) }
}

/// One that only this process and its parent know leads nowhere: it is `pipe:[N]` in no folder. Elsewhere than on Linux nobody can tell.
fn is_named_pipe(path: &Path, file_type: FileType) -> bool {
    cfg!(target_os = "linux") && kind_of(file_type) == "pipe" && fs::canonicalize(path).is_ok()
}

fn bounded(file: &File, bytes_max: u64) -> Result<Vec<u8>, SmallFileError> {
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(SmallFileError::TooLong { bytes_max });
    }
    Ok(bytes)
}

fn text(bytes: Vec<u8>) -> Result<String, SmallFileError> {
    String::from_utf8(bytes).map_err(|_| SmallFileError::NotText)
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

    #[cfg(target_os = "linux")]
    #[test]
    fn what_somebody_names_may_be_a_pipe_of_the_shell_and_has_a_bound() {
        use std::io::Write as _;
        use std::os::fd::AsRawFd as _;

        let folder = tempfile::tempdir().unwrap();
        let (from, mut to) = io::pipe().unwrap();
        to.write_all(b"12345").unwrap();
        drop(to);
        assert_eq!(read_given_text(Path::new(&format!("/dev/fd/{}", from.as_raw_fd())), 5).unwrap(), "12345");
        // Nobody ever writes into this one.
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let refused = read_given_file(&pipe, 10).unwrap_err();
        assert!(matches!(refused, SmallFileError::NamedPipe), "{refused}");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        assert!(matches!(read_given_file(&link, 10), Err(SmallFileError::NamedPipe)));
        let endless = read_given_file(Path::new("/dev/zero"), 10).unwrap_err();
        assert!(matches!(endless, SmallFileError::TooLong { bytes_max: 10 }), "{endless}");
        let folder = read_given_file(folder.path(), 10).unwrap_err();
        assert!(matches!(folder, SmallFileError::NotAFile { kind: "directory" }), "{folder}");
    }

    #[test]
    fn a_device_that_is_open_is_told_from_a_file() {
        let file = tempfile::tempfile().unwrap();
        check_regular(&file).unwrap();
        let device = fs::OpenOptions::new().read(true).write(true).open("/dev/zero").unwrap();
        assert!(matches!(check_regular(&device), Err(SmallFileError::NotAFile { kind: "device" })));
    }
}
