//! Stalls parts of a process from outside: a library, loaded before the C library, holds up what waits for the disk, or for
//! events, while a file exists. So the program that is tested has no way in for tests.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

static void hold(const char *variable) {
    const char *file = getenv(variable);
    struct timespec pause = {0, 5 * 1000 * 1000};
    while (file && access(file, F_OK) == 0) nanosleep(&pause, NULL);
}
int fdatasync(int fd) {
    hold("STALL_COMMIT");
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
int fsync(int fd) {
    hold("STALL_COMMIT");
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}
int epoll_wait(int epoll, struct epoll_event *events, int max, int timeout_ms) {
    hold("STALL_REACTOR");
    return ((int (*)(int, struct epoll_event *, int, int))dlsym(RTLD_NEXT, "epoll_wait"))(epoll, events, max, timeout_ms);
}
"#;

/// The library, and the files that say what is stalled.
pub struct Stall {
    folder: tempfile::TempDir,
}

/// What can be stalled.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    Commit,
    Reactor,
}

impl Stall {
    /// Whoever builds Rust programs has a C compiler, for its linker.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("stall.c");
        std::fs::write(&source, SHIM).unwrap();
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(folder.path().join("stall.so")).arg(&source).arg("-ldl");
        assert!(compile.status().unwrap().success());
        Self { folder }
    }

    fn file(&self, part: Part) -> PathBuf {
        self.folder.path().join(format!("{part:?}"))
    }

    pub fn begin(&self, part: Part) {
        std::fs::write(self.file(part), "").unwrap();
    }

    pub fn end(&self, part: Part) {
        std::fs::remove_file(self.file(part)).unwrap();
    }

    /// Runs `with` with the environment of a process that can be stalled.
    pub fn environment<T>(&self, notify: &Path, watchdog_us: &str, with: impl FnOnce(&[(&str, &OsStr)]) -> T) -> T {
        let (library, commit, reactor) =
            (self.folder.path().join("stall.so"), self.file(Part::Commit), self.file(Part::Reactor));
        with(&[
            ("LD_PRELOAD", library.as_os_str()),
            ("STALL_COMMIT", commit.as_os_str()),
            ("STALL_REACTOR", reactor.as_os_str()),
            ("NOTIFY_SOCKET", notify.as_os_str()),
            ("WATCHDOG_USEC", OsStr::new(watchdog_us)),
        ])
    }
}
