//! What the operating system says of this process.

/// Pages of memory have this size on every platform we build for with the default kernel; elsewhere the figure is not shown.
const PAGE_BYTES: u64 = 4096;

/// Resident memory, where `/proc` tells.
pub(super) fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(PAGE_BYTES)
}
