//! A crowd of strangers over TCP: each behaves in its way until the node closes its connection, and comes again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::watched::Watched;

/// How long the siege goes on once all were there.
const SIEGE: Duration = Duration::from_secs(6);
/// How soon all must have been there: on a busy machine they wait for each other.
const ARRIVE_MAX: Duration = Duration::from_secs(120);
/// Whoever was cut comes again: all 10,000 of them together a thousand times a second.
const PAUSE: Duration = Duration::from_secs(10);

/// Counts the strangers that were connected once.
#[derive(Clone)]
pub(super) struct Arrival {
    all: Arc<AtomicUsize>,
    before: Arc<AtomicBool>,
}

impl Arrival {
    /// This one is connected.
    pub(super) fn connected(&self) {
        if !self.before.swap(true, Ordering::Relaxed) {
            self.all.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// So many come, and go on for a while when each of them was connected.
pub(super) fn besieged_by<F>(
    count: usize,
    watched: &mut Watched<'_>,
    behave: impl Fn(usize, Arrival) -> F + Clone + Send + 'static,
) where
    F: Future<Output = io::Result<()>> + Send,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let all = Arc::new(AtomicUsize::new(0));
        for number in 0..count {
            let arrival = Arrival { all: all.clone(), before: Arc::default() };
            let behave = behave.clone();
            tokio::spawn(async move {
                loop {
                    let _ = behave(number, arrival.clone()).await;
                    tokio::time::sleep(PAUSE).await;
                }
            });
            if number % 64 == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        let (begun, mut all_there) = (Instant::now(), None);
        while all_there.is_none_or(|since: Instant| since.elapsed() < SIEGE) {
            watched.look();
            let there = all.load(Ordering::Relaxed);
            if there == count && all_there.is_none() {
                println!("all were there {:?} after the last came", begun.elapsed());
                all_there = Some(Instant::now());
            }
            assert!(all_there.is_some() || begun.elapsed() < ARRIVE_MAX, "only {there} of {count} came through");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    // All of them go with the runtime.
}
