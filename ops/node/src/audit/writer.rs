//! The one thread that writes the audit log, so that no request waits on a disk in the middle of others' work.
//!
//! What waits at the same time is written together and costs one fsync, if any of it wants one.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use twin_core::clock::Clock;
use twin_core::time_text::rfc3339;

use super::AUDIT_DIR;
use super::file::Series;
use super::line::{Kind, Line, Record};
use super::losses::Losses;
use super::read::{Page, read};
use crate::limits::{AUDIT_QUEUE_MAX, AUDIT_SYNC_INTERVAL, AUDIT_TIMEOUT, AUDIT_WRITTEN_TOGETHER_MAX};

/// A line was not written, and is lost.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuditError {
    /// The disk.
    #[error("the audit log cannot be written: {0}")]
    Io(io::Error),
    /// Its disk is full.
    #[error(
        "the node's disk is full: there is no room for the audit log in {0}; make room on that disk, and ask again"
    )]
    NoRoom(PathBuf),
    /// Too much waits, or the disk takes too long.
    #[error("the audit log does not keep up")]
    Late,
    /// The node stops.
    #[error("the audit log is closed")]
    Closed,
}

type Written = oneshot::Sender<Result<u64, AuditError>>;

enum Job {
    Write(Record, Option<Written>),
    Stop,
}

/// The audit log. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Audit(Arc<Shared>);

struct Shared {
    dir: PathBuf,
    jobs: SyncSender<Job>,
    thread: Mutex<Option<JoinHandle<()>>>,
    counts: Arc<Counts>,
    /// One reads at a time: a reader holds a file's bytes.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Counts {
    written: [AtomicU64; Kind::ALL.len()],
    lost: AtomicU64,
}

impl Audit {
    /// Opens the log in a data directory and starts its thread.
    pub(crate) fn open(data_dir: &Path, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let dir = data_dir.join(AUDIT_DIR);
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let mut last = 0;
        let mut open = |kind| {
            let (series, its_last) = Series::open(&dir, kind)?;
            last = last.max(its_last);
            Ok::<_, io::Error>(series)
        };
        let series = [open(Kind::Changes)?, open(Kind::Steering)?, open(Kind::Security)?];
        let counts = Arc::<Counts>::default();
        let (jobs, queue) = sync_channel(AUDIT_QUEUE_MAX);
        let (synced_at, losses) = (Duration::ZERO, Losses::default());
        let writer = Writer { dir: dir.clone(), series, last, synced_at, clock, losses, counts: Arc::clone(&counts) };
        let thread = std::thread::Builder::new().name("twinmesh-audit".to_owned()).spawn(move || writer.run(&queue))?;
        let (thread, reading) = (Mutex::new(Some(thread)), tokio::sync::Mutex::default());
        Ok(Self(Arc::new(Shared { dir, jobs, thread, counts, reading })))
    }

    /// Writes a line and says which number it has; a line of [`Kind::Changes`] is on the disk then.
    pub(crate) async fn write(&self, record: Record) -> Result<u64, AuditError> {
        let (sender, receiver) = oneshot::channel();
        self.0.jobs.try_send(Job::Write(record, Some(sender))).map_err(|_| self.lost())?;
        match tokio::time::timeout(AUDIT_TIMEOUT, receiver).await {
            Ok(Ok(written)) => written,
            Ok(Err(_)) => Err(AuditError::Closed),
            // It may be written later all the same.
            Err(_) => Err(AuditError::Late),
        }
    }

    /// Writes a line sometime soon, or counts it as lost.
    pub(crate) fn note(&self, record: Record) {
        if self.0.jobs.try_send(Job::Write(record, None)).is_err() {
            self.lost();
        }
    }

    fn lost(&self) -> AuditError {
        self.0.counts.lost.fetch_add(1, Ordering::Relaxed);
        AuditError::Late
    }

    /// Lines written of a kind, by this process.
    pub(crate) fn written(&self, kind: Kind) -> u64 {
        self.0.counts.written[kind as usize].load(Ordering::Relaxed)
    }

    /// Lines lost, by this process.
    pub(crate) fn lost_lines(&self) -> u64 {
        self.0.counts.lost.load(Ordering::Relaxed)
    }

    /// The newest lines before a number, newest first.
    pub(crate) async fn read(&self, kinds: Vec<Kind>, before: u64, limit: usize) -> io::Result<Page> {
        let _one_at_a_time = self.0.reading.lock().await;
        let dir = self.0.dir.clone();
        let page = tokio::task::spawn_blocking(move || read(&dir, &kinds, before, limit)).await;
        page.unwrap_or_else(|died| Err(io::Error::other(died)))
    }

    /// Writes what waits, and ends.
    pub(crate) async fn stop(&self) {
        let Some(thread) = self.0.thread.lock().take() else { return };
        let jobs = self.0.jobs.clone();
        let _ended = tokio::task::spawn_blocking(move || {
            let _gone = jobs.send(Job::Stop);
            thread.join()
        })
        .await;
    }
}

struct Writer {
    dir: PathBuf,
    series: [Series; Kind::ALL.len()],
    last: u64,
    /// Monotonic time of the last look for what is not on the disk.
    synced_at: Duration,
    clock: Arc<dyn Clock>,
    losses: Losses,
    counts: Arc<Counts>,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Job>) {
        loop {
            let first = match queue.recv_timeout(AUDIT_SYNC_INTERVAL) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let more = std::iter::from_fn(|| queue.try_recv().ok()).take(AUDIT_WRITTEN_TOGETHER_MAX);
            let mut told = Vec::new();
            let mut stop = false;
            for job in first.into_iter().chain(more) {
                match job {
                    Job::Stop => stop = true,
                    Job::Write(record, written) => {
                        let kind = record.kind;
                        let outcome = self.append(record);
                        told.push((kind, outcome, written));
                    }
                }
            }
            self.tell(told);
            let now = self.clock.monotonic();
            let lost = if stop { self.losses.rest() } else { self.losses.due(now) };
            if let Some(lines) = lost {
                tracing::error!(lines, dir = %self.dir.display(), "more lines of the audit log are lost");
            }
            if stop || now.saturating_sub(self.synced_at) >= AUDIT_SYNC_INTERVAL {
                self.synced_at = now;
                self.sync();
            }
            if stop {
                return;
            }
        }
    }

    /// Puts on the disk what is not there. Of an idle node there is nothing, and its flash is left alone.
    fn sync(&mut self) {
        for series in &mut self.series {
            if let Err(error) = series.sync() {
                tracing::warn!(%error, "the audit log cannot be synced");
            }
        }
    }

    fn append(&mut self, mut record: Record) -> io::Result<u64> {
        record.clip();
        let series = &mut self.series[record.kind as usize];
        let line = Line { n: self.last + 1, at: rfc3339(self.clock.wall()), record };
        let mut bytes = serde_json::to_vec(&line)?;
        bytes.push(b'\n');
        series.append(&bytes)?;
        self.last = line.n;
        Ok(line.n)
    }

    fn tell(&mut self, told: Vec<(Kind, io::Result<u64>, Option<Written>)>) {
        let wants_sync = told.iter().any(|(kind, outcome, _)| *kind == Kind::Changes && outcome.is_ok());
        let synced = if wants_sync { self.series[Kind::Changes as usize].sync() } else { Ok(()) };
        for (kind, outcome, written) in told {
            let outcome = match (&synced, outcome) {
                (Err(error), Ok(_)) if kind == Kind::Changes => Err(io::Error::new(error.kind(), error.to_string())),
                (_, outcome) => outcome,
            };
            match &outcome {
                Ok(_) => self.counts.written[kind as usize].fetch_add(1, Ordering::Relaxed),
                Err(error) => {
                    self.losses.add();
                    if let Some(lines) = self.losses.due(self.clock.monotonic()) {
                        tracing::error!(%error, lines, kind = kind.as_str(), dir = %self.dir.display(), "the audit log loses lines");
                    }
                    self.counts.lost.fetch_add(1, Ordering::Relaxed)
                }
            };
            if let Some(written) = written {
                // Whoever asked may have gone.
                let _ = written.send(outcome.map_err(|error| match error.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => AuditError::NoRoom(self.dir.clone()),
                    _ => AuditError::Io(error),
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twin_core::clock::ManualClock;
    use twin_core::numbers::WallTime;

    fn open(dir: &Path) -> Audit {
        Audit::open(dir, Arc::new(ManualClock::new(WallTime::new(1_000)))).unwrap()
    }

    #[tokio::test]
    async fn lines_of_all_kinds_are_read_back_newest_first_and_numbers_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let audit = open(dir.path());
        for n in 1..=9 {
            let kind = Kind::ALL[n as usize % 3];
            assert_eq!(audit.write(Record::new(kind, format!("w{n}"))).await.unwrap(), n);
        }
        audit.stop().await;
        assert!(matches!(
            audit.write(Record::new(Kind::Changes, "late")).await,
            Err(AuditError::Late | AuditError::Closed)
        ));
        let audit = open(dir.path());
        assert_eq!(audit.write(Record::new(Kind::Security, "w10")).await.unwrap(), 10);
        let page = audit.read(Kind::ALL.to_vec(), u64::MAX, 4).await.unwrap();
        assert_eq!(page.lines.iter().map(|line| line.n).collect::<Vec<_>>(), [10, 9, 8, 7]);
        let page = audit.read(Kind::ALL.to_vec(), page.next.unwrap(), 100).await.unwrap();
        assert_eq!(page.lines.iter().map(|line| line.n).collect::<Vec<_>>(), [6, 5, 4, 3, 2, 1]);
        assert_eq!(page.next, None);
        let page = audit.read(vec![Kind::Security], u64::MAX, 100).await.unwrap();
        assert_eq!(page.lines.iter().map(|line| line.n).collect::<Vec<_>>(), [10, 8, 5, 2]);
        assert_eq!(page.lines[3].at, "1970-01-01T00:00:01.000Z");
        audit.stop().await;
    }

    #[tokio::test]
    async fn of_a_change_that_was_answered_its_beginning_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let audit = open(dir.path());
        let begun = audit.write(Record::new(Kind::Changes, "a")).await.unwrap();
        audit.write(Record::new(Kind::Changes, "never answered")).await.unwrap();
        let done = Record { begun: Some(begun), status: Some(201), ..Record::new(Kind::Changes, "a") };
        audit.write(done).await.unwrap();
        let page = audit.read(Kind::ALL.to_vec(), u64::MAX, 10).await.unwrap();
        assert_eq!(page.lines.iter().map(|line| line.n).collect::<Vec<_>>(), [3, 2]);
        // Also where the two are on different pages.
        let page = audit.read(Kind::ALL.to_vec(), 2, 10).await.unwrap();
        assert_eq!(page.lines, []);
        audit.stop().await;
    }
}
