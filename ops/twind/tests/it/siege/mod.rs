//! A node that strangers besiege: 10,000 connections, floods of handshakes, clients that dawdle or never read. A gateway and a REST client
//! with their credentials go on meanwhile, the node's memory and what it takes of the cores stay in their bounds, and its counters say
//! what it refused.

mod claims;
mod crowd;
mod others;
mod quic;
mod rest;
mod tls;
mod watched;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use twin_visible_skip::skipped;

/// Longest that whoever has credentials may wait for one answer, and for half of them. On a quiet machine it is some milliseconds;
/// attackers, node and gateway share this one's cores, and perhaps with compilers.
const EACH_MAX: Duration = Duration::from_secs(20);
const MEDIAN_MAX: Duration = Duration::from_secs(3);

/// Attackers of a siege.
const ATTACKERS: usize = 10_000;
/// Connections of strangers that the node's REST keeps.
const STRANGERS_MAX: u64 = 1_024;
/// Files that the tests beside a siege may need.
const OTHER_FILES: usize = 3_000;

/// One siege at a time: each takes most of the files that this process may open.
fn alone() -> MutexGuard<'static, ()> {
    static SIEGE: Mutex<()> = Mutex::new(());
    SIEGE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many attackers there are, each with this many open files of this process: as many as TWINMESH_ATTACKERS says, and as it may have.
fn attackers(whom: &str, files_each: usize) -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let asked = std::env::var("TWINMESH_ATTACKERS").map_or(ATTACKERS, |count| count.parse().unwrap());
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    let files = limit.maximum.map_or(usize::MAX, |most| most as usize);
    let count = asked.min(files.saturating_sub(OTHER_FILES).checked_div(files_each).unwrap_or(usize::MAX));
    println!("{count} attackers");
    if count < ATTACKERS {
        let why =
            if count < asked { format!("at most {files} open files") } else { format!("TWINMESH_ATTACKERS={asked}") };
        skipped(&format!("a siege of {whom} by {ATTACKERS}: there were {count} attackers ({why})"));
    }
    count
}
