//! Open loop: arrivals keep to a schedule, whatever the service does.
//!
//! **Invariant:** a latency counts from the *intended* start. A thread paces: it sleeps until the next arrival is due and hands
//! over everything that is due by then. If it wakes late, or the service stalls, the arrivals behind keep their intended starts and
//! are charged with the whole delay. How late the pacer itself was is measured, too: it is the harness's share.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::measure::Latencies;

/// How long the last operations may take after the schedule ended; those that take longer make the run fail.
const PATIENCE: Duration = Duration::from_secs(20);
/// Groups of operations under way at which the load is called too much: far more than any latency that one would report.
const UNDER_WAY_MAX: usize = 50_000;

/// A schedule of evenly spaced arrivals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrivals {
    pub(crate) per_s: f64,
    pub(crate) warm_up: Duration,
    pub(crate) lasting: Duration,
    /// Arrivals go to the lanes in turn; what is due on a lane at the same time is handed over together.
    pub(crate) lanes: usize,
}

/// One arrival.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    /// Rises by one with each arrival.
    pub(crate) number: u64,
    /// When it should begin.
    pub(crate) intended: Instant,
}

/// Where operations say that they are done.
#[derive(Clone)]
pub(crate) struct Done {
    counted_from: Instant,
    latencies: Arc<Mutex<Latencies>>,
}

impl Done {
    /// It is done now.
    pub(crate) fn tell(&self, due: Due) {
        // What was due in the warm-up does not count.
        if due.intended >= self.counted_from {
            self.latencies.lock().note(due.intended.elapsed(), 1);
        }
    }
}

/// What an open loop measured after its warm-up.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    /// From the intended start to the end.
    pub(crate) latencies: Latencies,
    /// From the intended start until the pacer handed it over.
    pub(crate) late: Latencies,
    /// Arrivals that counted.
    pub(crate) arrivals: u64,
}

/// Lets `fire` carry out what is due on a lane, for all arrivals of the schedule.
pub(crate) async fn open_loop<F, Fut>(arrivals: Arrivals, mut mark: impl FnMut(), mut fire: F) -> anyhow::Result<Opened>
where
    F: FnMut(usize, Vec<Due>, Done) -> Fut,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    if !(arrivals.per_s > 0.0 && arrivals.lanes > 0) {
        bail!("an open loop needs a rate and a lane: {arrivals:?}");
    }
    let start = Instant::now() + Duration::from_millis(20);
    let counted_from = start + arrivals.warm_up;
    let done = Done { counted_from, latencies: Arc::default() };
    let (sender, mut groups) = mpsc::unbounded_channel();
    let pacer = std::thread::Builder::new().name("pacer".into()).spawn(move || pace(arrivals, start, &sender))?;
    let mut under_way = JoinSet::new();
    let mut late = Latencies::default();
    let mut expected = 0;
    let mut marked = false;
    while let Some((lane, group)) = groups.recv().await {
        let group: Vec<Due> = group;
        for due in &group {
            if due.intended >= counted_from {
                late.note(due.intended.elapsed(), 1);
                expected += 1;
            }
        }
        if expected > 0 && !marked {
            marked = true;
            mark();
        }
        under_way.spawn(fire(lane, group, done.clone()));
        while let Some(ended) = under_way.try_join_next() {
            ended??;
        }
        if under_way.len() > UNDER_WAY_MAX {
            bail!("{:.0} arrivals a second are more than can be carried", arrivals.per_s);
        }
    }
    mark();
    let drain = async {
        while let Some(ended) = under_way.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, drain).await.context("operations hang after the open loop ended")??;
    // The channel is closed, so the thread has ended.
    drop(pacer.join());
    let latencies = done.latencies.lock().clone();
    if latencies.count() != expected {
        bail!("{} of {expected} operations said that they are done", latencies.count());
    }
    Ok(Opened { latencies, late, arrivals: expected })
}

fn pace(arrivals: Arrivals, start: Instant, sender: &mpsc::UnboundedSender<(usize, Vec<Due>)>) {
    let total = (arrivals.per_s * (arrivals.warm_up + arrivals.lasting).as_secs_f64()).ceil() as u64;
    let intended = |number: u64| start + Duration::from_secs_f64(number as f64 / arrivals.per_s);
    let mut number = 0;
    let mut lanes: Vec<Vec<Due>> = vec![Vec::new(); arrivals.lanes];
    while number < total {
        wait(intended(number), arrivals.per_s);
        let now = Instant::now();
        while number < total && intended(number) <= now {
            lanes[number as usize % arrivals.lanes].push(Due { number, intended: intended(number) });
            number += 1;
        }
        for (lane, due) in lanes.iter_mut().enumerate() {
            if !due.is_empty() && sender.send((lane, std::mem::take(due))).is_err() {
                return;
            }
        }
    }
}

/// Where arrivals are at least this far apart, the pacer spins before each of them: a sleep ends a tenth of a millisecond late, which
/// is a good part of what is measured at low load.
const SPINS_FROM: Duration = Duration::from_millis(2);
/// How long it spins.
const SPIN: Duration = Duration::from_micros(200);
/// What the pacer sleeps at least otherwise: woken four times as often it took, with the calls that it makes each time, a tenth of the
/// CPU time of what is measured, on a machine that both share. Those that are due meanwhile are late by that, and charged with it.
const SLEEP_MIN: Duration = Duration::from_millis(1);

fn wait(until: Instant, per_s: f64) {
    let spin = if per_s * SPINS_FROM.as_secs_f64() <= 1.0 { SPIN } else { Duration::ZERO };
    if let Some(early) = until.checked_duration_since(Instant::now() + spin) {
        std::thread::sleep(early.max(SLEEP_MIN));
    }
    while !spin.is_zero() && Instant::now() < until {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(per_s: f64, ms: u64) -> Arrivals {
        Arrivals { per_s, warm_up: Duration::ZERO, lasting: Duration::from_millis(ms), lanes: 4 }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_stall_is_charged_to_everyone_it_delayed() {
        // A service that does one thing at a time, in no time, but once stands still for 100 ms.
        let service = Arc::new(tokio::sync::Mutex::new(()));
        let opened = open_loop(
            arrivals(1000.0, 1000),
            || {},
            |_, group, done| {
                let service = Arc::clone(&service);
                async move {
                    for due in group {
                        let _turn = service.lock().await;
                        if due.number == 300 {
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                        done.tell(due);
                    }
                    Ok(())
                }
            },
        )
        .await
        .unwrap();
        assert_eq!(opened.arrivals, 1000);
        // The 100 that were due meanwhile waited 100, 99, ... 1 ms: the worst tenth of all.
        assert!(opened.latencies.ms(0.99) >= 80.0, "p99 {} ms", opened.latencies.ms(0.99));
        assert!(opened.latencies.ms(0.95) >= 40.0, "p95 {} ms", opened.latencies.ms(0.95));
    }

    #[tokio::test]
    async fn the_warm_up_does_not_count() {
        let mut schedule = arrivals(1000.0, 100);
        schedule.warm_up = Duration::from_millis(200);
        let opened = open_loop(
            schedule,
            || {},
            |_, group, done| async move {
                for due in group {
                    done.tell(due);
                }
                Ok(())
            },
        )
        .await
        .unwrap();
        assert!((99..=101).contains(&opened.arrivals), "{}", opened.arrivals);
    }

    #[tokio::test]
    async fn an_operation_that_is_never_done_is_an_error() {
        let outcome = open_loop(arrivals(100.0, 50), || {}, |_, _, _| async { Ok(()) }).await;
        assert!(outcome.is_err());
    }
}
