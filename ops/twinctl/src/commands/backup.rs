//! `twinctl backup`: everything that a node holds, in one file or one object of a store; and `twinctl backup-fetch`, which makes a file
//! of the latter.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use twin_backup::{FILE_EXTENSION, Frame, MEDIA_TYPE, Manifest, ReadError, Reader};
use ureq::http::Method;

use crate::api_path::ApiPath;
use crate::cli::{Backup, BackupFetch};
use crate::client::{Ask, Client};
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::store::{Download, Target, Upload};

/// Carries out `twinctl backup`.
pub(crate) fn run(client: &Client, output: Output, command: &Backup) -> Result<(), Failure> {
    let path = ApiPath::new("backup").query("keys", if command.without_keys { "false" } else { "true" });
    // Before the node is asked: where nothing can be kept it need not begin.
    match &command.target {
        Target::Directory(directory) => {
            let mut file = Unfinished::create(directory)?;
            let (url, body) = client.open_stream(Ask::new(Method::POST, path), MEDIA_TYPE)?;
            let taken = receive(body, &mut file, |_| (), "backing up").map_err(|error| broken(error, &url))?;
            let kept = file.keep(&name_of(&taken.manifest))?;
            tell(output, &kept.to_string_lossy(), &taken)
        }
        Target::Store(location) => {
            let name = Arc::new(OnceLock::new());
            let mut upload = Upload::new(location.open()?, Arc::clone(&name));
            let (url, body) = client.open_stream(Ask::new(Method::POST, path), MEDIA_TYPE)?;
            // The head of the stream says how it is called, long before the first part is full.
            let named = |manifest: &Manifest| drop(name.set(name_of(manifest)));
            let taken = receive(body, &mut upload, named, "backing up").map_err(|error| broken(error, &url))?;
            tell(output, &upload.finish()?.to_string(), &taken)
        }
    }
}

/// Carries out `twinctl backup-fetch`.
pub(crate) fn fetch(output: Output, command: &BackupFetch) -> Result<(), Failure> {
    let name = command.from.name().filter(|name| name.ends_with(FILE_EXTENSION)).ok_or_else(|| {
        Failure::Usage(format!("{} is no backup; it looks like s3://bucket/prefix/NAME.{FILE_EXTENSION}", command.from))
    })?;
    let store = command.from.open()?;
    let mut file = Unfinished::create(&command.directory)?;
    let download = Download::open(store)?;
    let url = download.at().to_string();
    let taken = receive(download, &mut file, |_| (), "fetching").map_err(|error| match error {
        Received::Bad(ReadError::Io(error)) => Failure::Store { url, reason: format!("{error}; nothing was kept") },
        error => broken(error, &url),
    })?;
    let kept = file.keep(name)?;
    tell(output, &kept.to_string_lossy(), &taken)
}

fn broken(error: Received, url: &str) -> Failure {
    let url = url.to_owned();
    match error {
        Received::Bad(ReadError::Io(error)) => {
            Failure::Unreachable { url, reason: format!("the backup broke off: {error}; nothing was kept") }
        }
        Received::Bad(error) => Failure::Answer { url, reason: format!("{error}; nothing was kept") },
        Received::Unwritten(failure) => failure,
    }
}

fn tell(output: Output, path: &str, taken: &Taken) -> Result<(), Failure> {
    let Taken { manifest, rows, bytes } = taken;
    if output.json {
        let backup = json!({"path": path, "bytes": bytes, "rows": manifest.sealed.is_none().then_some(rows), "node": manifest.node, "lineage": manifest.lineage,
            "createdAt": manifest.created_at, "keys": manifest.keys, "sealed": manifest.sealed.is_some()});
        return output::line(&backup.to_string());
    }
    output::line(&format!("{path} ({}, lineage {})", HumanBytes(*bytes), manifest.lineage))
}

/// A backup that came whole.
struct Taken {
    manifest: Manifest,
    rows: u64,
    bytes: u64,
}

/// What takes a backup's bytes as they come.
trait Sink {
    fn take(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn failed(&self, error: &io::Error) -> Failure;
}

impl Sink for Unfinished {
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn failed(&self, error: &io::Error) -> Failure {
        self.unwritten(error)
    }
}

impl Sink for Upload {
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes)
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::Store { url: self.at().to_string(), reason: format!("{error}; nothing was kept") }
    }
}

enum Received {
    Bad(ReadError),
    Unwritten(Failure),
}

impl From<ReadError> for Received {
    fn from(error: ReadError) -> Self {
        Self::Bad(error)
    }
}

/// Takes the stream where it is kept as it comes, and checks it on the way.
fn receive(body: impl Read, to: &mut impl Sink, named: impl Fn(&Manifest), doing: &str) -> Result<Taken, Received> {
    let mut tee = Tee { from: body, to, bytes: 0, unwritten: None };
    // Shown on a terminal only.
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    let template = format!("{doing} {{bar:32}} {{bytes}}/{{total_bytes}} ({{bytes_per_sec}}, {{eta}} left)");
    bar.set_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    let checked = check_frames(&mut tee, named, &bar);
    bar.finish_and_clear();
    match (tee.unwritten.take(), checked) {
        // What could not be written also broke off the reading.
        (Some(failure), _) => Err(Received::Unwritten(failure)),
        (None, Ok((manifest, rows))) => Ok(Taken { manifest, rows, bytes: tee.bytes }),
        (None, Err(error)) => Err(error.into()),
    }
}

fn check_frames(
    tee: &mut Tee<'_, impl Read, impl Sink>,
    named: impl Fn(&Manifest),
    bar: &ProgressBar,
) -> Result<(Manifest, u64), ReadError> {
    let (mut reader, manifest) = Reader::begin(tee)?;
    named(&manifest);
    let (mut rows, mut bytes) = (0, 0);
    while let Some(frame) = reader.next_frame()? {
        match frame {
            Frame::Rows { count, bytes: of_rows } => {
                rows += u64::from(count);
                bytes += of_rows.len() as u64;
            }
            // Of a node whose state is sealed: how many rows is not to be seen.
            Frame::Sealed { bytes: sealed } => bytes += sealed as u64,
            _ => {}
        }
        // An estimate: what changes meanwhile comes again.
        bar.set_length(manifest.bytes_estimate.max(bytes));
        bar.set_position(bytes);
    }
    Ok((manifest, rows))
}

/// Writes whatever is read through it.
struct Tee<'a, R, S> {
    from: R,
    to: &'a mut S,
    bytes: u64,
    unwritten: Option<Failure>,
}

impl<R: Read, S: Sink> Read for Tee<'_, R, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        if let Err(error) = self.to.take(&buffer[..read]) {
            self.unwritten = Some(self.to.failed(&error));
            return Err(error);
        }
        self.bytes += read as u64;
        Ok(read)
    }
}

/// `twinmesh-<node>-<time>.twinbackup`. Both come from the node, so only what is plain is taken.
fn name_of(manifest: &Manifest) -> String {
    let plain =
        |text: &str, most: usize| -> String { text.chars().filter(char::is_ascii_alphanumeric).take(most).collect() };
    // 2026-11-21T17:30:00.123Z
    let time = manifest.created_at.split('.').next().unwrap_or_default();
    format!("twinmesh-{}-{}Z.{FILE_EXTENSION}", plain(&manifest.node, 8), plain(time, 15))
}

/// A file of mode 0600 without its name yet. Removed again unless [`Self::keep`] is reached.
struct Unfinished {
    file: File,
    directory: PathBuf,
    path: PathBuf,
    kept: bool,
}

impl Unfinished {
    fn create(directory: &Path) -> Result<Self, Failure> {
        let cannot =
            |what: &Path, error: &io::Error| Failure::Usage(format!("can't write {}: {error}", what.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| cannot(directory, &error))?;
        // By our process: two may be under way, of two nodes.
        let path = directory.join(format!(".{}.{FILE_EXTENSION}.part", std::process::id()));
        // Left by a process of the same number that was killed.
        let _ = std::fs::remove_file(&path);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|error| cannot(&path, &error))?;
        Ok(Self { file, directory: directory.to_owned(), path, kept: false })
    }

    fn unwritten(&self, error: &io::Error) -> Failure {
        Failure::Usage(format!("can't write {}: {error}; nothing was kept", self.directory.display()))
    }

    /// All of it is there: gives it its name, for good.
    fn keep(mut self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.directory.join(name);
        let written = self.file.sync_all().and_then(|()| {
            // Another of the same node and second: an older backup is never replaced.
            if path.exists() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            std::fs::rename(&self.path, &path)?;
            File::open(&self.directory)?.sync_all()
        });
        written.map_err(|error| self.unwritten(&error))?;
        self.kept = true;
        Ok(path)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.kept {
            // Nothing more can be done about a file that can't be removed; without its end mark it is no backup.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_what_is_plain() {
        let mut manifest = Manifest {
            node: "0123456789abcdef".into(),
            created_at: "2026-11-21T17:30:00.123Z".into(),
            release: String::new(),
            storage_format: 1,
            lineage: 1,
            keys: true,
            rows_estimate: 0,
            bytes_estimate: 0,
            sealed: None,
        };
        assert_eq!(name_of(&manifest), "twinmesh-01234567-20261121T173000Z.twinbackup");
        manifest.node = "../../etc".into();
        manifest.created_at = "/".into();
        assert_eq!(name_of(&manifest), "twinmesh-etc-Z.twinbackup");
    }

    #[test]
    fn what_is_not_kept_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("backups");
        drop(Unfinished::create(&made).unwrap());
        assert_eq!(std::fs::read_dir(&made).unwrap().count(), 0);
        let kept = Unfinished::create(&made).unwrap().keep("a").unwrap();
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(kept).unwrap().permissions()) & 0o777,
            0o600
        );
        assert!(Unfinished::create(&made).unwrap().keep("a").is_err(), "an older one stays");
        assert_eq!(std::fs::read_dir(&made).unwrap().count(), 1);
    }
}
