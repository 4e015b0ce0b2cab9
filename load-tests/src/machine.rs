//! The machine, in the words that a figure needs beside it.

use std::fmt;
use std::fs;
use std::path::Path;

use serde::Serialize;

/// What the figures were measured on.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    cores: usize,
    cpu: String,
    kernel: String,
    memory_bytes: u64,
    disk: String,
    release_build: bool,
}

impl Machine {
    /// Looks around; what cannot be known is `unknown`.
    pub(crate) fn look(data: &Path) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease");
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: model.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned()),
            kernel: kernel.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned()),
            memory_bytes: memory_bytes(),
            disk: disk_of(data),
            release_build: !cfg!(debug_assertions),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let build = if self.release_build { "release" } else { "DEBUG build: figures mean nothing" };
        let memory_gb = self.memory_bytes as f64 / 1e9;
        write!(
            f,
            "{} cores ({}), {memory_gb:.0} GB, Linux {}, {}, {build}",
            self.cores, self.cpu, self.kernel, self.disk
        )
    }
}

/// Memory of the machine; 0 if that cannot be known.
fn memory_bytes() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB"));
    total.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Device and file system that hold a path.
fn disk_of(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let holds = mounts.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (device, mount, kind) = (fields.next()?, fields.next()?, fields.next()?);
        path.starts_with(mount).then_some((mount.len(), format!("{device} ({kind})")))
    });
    // Of mounts over one another the last one counts.
    holds.max_by_key(|(len, _)| *len).map_or_else(|| "unknown disk".to_owned(), |(_, text)| text)
}
