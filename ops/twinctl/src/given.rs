//! What somebody names on the command line to be read: a file, a pipe, or standard input.
//!
//! A pipe is waited for, as whoever writes into it may come later; but not in silence, as nobody may come at all.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _, Read};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;

use crate::limits::GIVEN_SILENCE_MAX;

/// Something that is being read.
pub(crate) struct Given {
    source: Box<dyn Read>,
    notice: Option<Notice>,
    length: Option<u64>,
}

impl Given {
    /// Opens it; `-` is standard input. Waits for the writer of a pipe, and says so.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            let stdin = io::stdin();
            let notice = stdin.is_terminal().then(|| Notice::begin("standard input, up to Ctrl-D".to_owned()));
            return Ok(Self { source: Box::new(stdin.lock()), notice, length: None });
        }
        let is_pipe = fs::metadata(path)?.file_type().is_fifo();
        let notice = is_pipe.then(|| Notice::begin(format!("whoever writes into {}, which is a pipe", path.display())));
        let file = File::open(path)?;
        let length = file.metadata().ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len());
        Ok(Self { source: Box::new(file), notice, length })
    }

    /// Of a file: how long it is.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }
}

impl Read for Given {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(out);
        // It has come, or ended.
        self.notice = None;
        read
    }
}

/// Says after a while what is waited for, unless it is dropped before.
struct Notice(#[allow(dead_code, reason = "dropping it is what it is for")] Sender<()>);

impl Notice {
    fn begin(of: String) -> Self {
        let (waits, until) = channel();
        thread::spawn(move || {
            if until.recv_timeout(GIVEN_SILENCE_MAX) == Err(RecvTimeoutError::Timeout) {
                eprintln!("twinctl: waiting for {of}");
            }
        });
        Self(waits)
    }
}
