//! A node that strangers besiege: thousands of connections, floods of handshakes, clients that dawdle or never read. A gateway and a
//! REST client with their credentials go on meanwhile, the node's memory stays in its bounds, and its counters say what it refused.

mod claims;
mod others;
mod quic;
mod rest;
mod tls;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::process::Twind;

/// Longest that whoever has credentials may wait for one answer, and for half of them. On a quiet machine it is some milliseconds;
/// attackers, node and gateway share this one's cores, and perhaps with compilers.
const EACH_MAX: Duration = Duration::from_secs(20);
const MEDIAN_MAX: Duration = Duration::from_secs(3);
/// What the node may grow by under any of these.
const GROWTH_BYTES_MAX: u64 = 192 * 1024 * 1024;

/// Connections of strangers that the node's REST keeps.
const STRANGERS_MAX: u64 = 1_024;
/// Files that the tests beside a siege may need.
const OTHER_FILES: usize = 3_000;

/// One siege at a time: each takes most of the files that this process may open.
fn alone() -> MutexGuard<'static, ()> {
    static SIEGE: Mutex<()> = Mutex::new(());
    SIEGE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many attackers there are: of those asked for (or as TWINMESH_ATTACKERS says), as many as this process may have open files for.
fn attackers(asked: usize) -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let asked = std::env::var("TWINMESH_ATTACKERS").map_or(asked, |count| count.parse().unwrap());
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    let count = limit.maximum.map_or(asked, |most| asked.min((most as usize).saturating_sub(OTHER_FILES)));
    println!("{count} attackers");
    count
}

/// The node took no more memory than it may.
fn stayed_small(node: &Twind, before_bytes: u64, most_bytes: u64) {
    let growth = most_bytes.saturating_sub(before_bytes);
    println!("resident: {} MB before, at most {} MB", before_bytes >> 20, most_bytes >> 20);
    assert!(growth < GROWTH_BYTES_MAX, "the node grew by {growth} bytes");
    assert!(node.resident_bytes() > 0);
}
