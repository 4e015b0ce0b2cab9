//! What Linux tells of processes and of the machine's time.

use std::fs;

use anyhow::Context as _;

/// Linux counts process times in hundredths of a second, whatever the kernel's own tick is.
const TICKS_PER_S: f64 = 100.0;

/// CPU seconds that a process has used, user and system.
pub(crate) fn cpu_s(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    // The name, in brackets, may hold anything; the fields that count come after it.
    let fields: Vec<&str> = stat.rsplit_once(')').context("odd /proc/pid/stat")?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).context("odd /proc/pid/stat");
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_S)
}

/// CPU seconds that the whole machine was busy, and those that its host stole.
pub(crate) fn machine_s() -> anyhow::Result<(f64, f64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let first = stat.lines().next().context("odd /proc/stat")?;
    let fields: Vec<f64> = first.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    let busy = [0, 1, 2, 5, 6].iter().filter_map(|at| fields.get(*at)).sum::<f64>();
    Ok((busy / TICKS_PER_S, fields.get(7).unwrap_or(&0.0) / TICKS_PER_S))
}

/// Resident bytes of a process.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    status_bytes(pid, "VmRSS:")
}

/// Those of them that no file backs: heap and stacks.
pub(crate) fn anonymous_bytes(pid: u32) -> anyhow::Result<u64> {
    status_bytes(pid, "RssAnon:")
}

fn status_bytes(pid: u32, field: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).with_context(|| format!("no {field}"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().with_context(|| format!("odd {field}"))?;
    Ok(kib * 1024)
}

/// Bytes that a process gave to disks, since it began.
pub(crate) fn written_bytes(pid: u32) -> anyhow::Result<u64> {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).with_context(|| format!("process {pid}"))?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes:")).context("no write_bytes")?;
    line.trim().parse().context("odd write_bytes")
}

/// Files, sockets and pipes that a process has open.
pub(crate) fn open_files(pid: u32) -> anyhow::Result<u64> {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).with_context(|| format!("process {pid}"))?;
    Ok(open.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_time_and_memory() {
        let pid = std::process::id();
        assert!(cpu_s(pid).unwrap() >= 0.0);
        assert!(machine_s().unwrap().0 > 0.0);
        assert!(resident_bytes(pid).unwrap() > 1_000_000);
        assert!(anonymous_bytes(pid).unwrap() <= resident_bytes(pid).unwrap() + 1_000_000);
        written_bytes(pid).unwrap();
        assert!(open_files(pid).unwrap() >= 3);
    }
}
