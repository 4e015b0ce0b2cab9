//! Closed loops: each client begins a step when its last one is done.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinSet;

use crate::measure::Latencies;

/// Something that does one step after the other.
pub(crate) trait Client: Send + 'static {
    /// One step; how many operations it carried out.
    fn step(&mut self) -> impl Future<Output = anyhow::Result<u64>> + Send;
}

/// What a closed loop did after its warm-up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loaded {
    /// Operations done.
    pub(crate) operations: u64,
    /// How long they took, all together.
    pub(crate) lasted: Duration,
    /// From the begin of a step to its end.
    pub(crate) latencies: Latencies,
}

impl Loaded {
    /// Operations a second.
    pub(crate) fn per_s(&self) -> f64 {
        let seconds = self.lasted.as_secs_f64();
        if seconds > 0.0 { self.operations as f64 / seconds } else { 0.0 }
    }
}

/// How long a warm-up or a measurement may be prolonged.
const PROLONGED_MAX: Duration = Duration::from_secs(60);
/// How often it is looked whether that may end.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Runs the clients side by side for `warm_up`, calls `mark`, goes on for `lasting`, calls `mark` again, and gives the clients back. Only
/// steps that end between the two count; the last steps are waited for, but not counted. Both take longer where steps are so long that
/// not as many as there are clients have ended: all begin at the same moment, and a short look would see all of them or none.
pub(crate) async fn closed_loop<C: Client>(
    clients: Vec<C>,
    warm_up: Duration,
    lasting: Duration,
    mut mark: impl FnMut(),
) -> anyhow::Result<(Loaded, Vec<C>)> {
    let (counting, stopped) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let steps = Arc::new(AtomicU64::new(0));
    let each = clients.len() as u64;
    // One for all: a histogram takes a quarter of a megabyte, and there may be thousands of clients.
    let latencies = Arc::<Mutex<Latencies>>::default();
    let mut running = JoinSet::new();
    for mut client in clients {
        let (counting, stopped, steps) = (Arc::clone(&counting), Arc::clone(&stopped), Arc::clone(&steps));
        let latencies = Arc::clone(&latencies);
        running.spawn(async move {
            let mut done = 0;
            while !stopped.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let operations = client.step().await?;
                steps.fetch_add(1, Ordering::Relaxed);
                if counting.load(Ordering::Relaxed) {
                    done += operations;
                    latencies.lock().note(begun.elapsed(), operations);
                }
            }
            anyhow::Ok((done, client))
        });
    }
    let mut sum = Loaded::default();
    // A client that fails ends everything at once rather than after the time is up.
    let mut clients = Vec::new();
    wait(&mut running, &mut sum, &mut clients, warm_up).await?;
    prolong(&mut running, &mut sum, &mut clients, || steps.load(Ordering::Relaxed) >= each).await?;
    let before = steps.load(Ordering::Relaxed);
    mark();
    counting.store(true, Ordering::Relaxed);
    let begun = Instant::now();
    wait(&mut running, &mut sum, &mut clients, lasting).await?;
    prolong(&mut running, &mut sum, &mut clients, || steps.load(Ordering::Relaxed) >= before + each).await?;
    counting.store(false, Ordering::Relaxed);
    sum.lasted = begun.elapsed();
    mark();
    stopped.store(true, Ordering::Relaxed);
    while let Some(ended) = running.join_next().await {
        take(ended??, &mut sum, &mut clients);
    }
    sum.latencies = latencies.lock().clone();
    Ok((sum, clients))
}

/// Operations that counted, and the client back.
type Ended<C> = anyhow::Result<(u64, C)>;

async fn wait<C: Client>(
    running: &mut JoinSet<Ended<C>>,
    sum: &mut Loaded,
    clients: &mut Vec<C>,
    lasting: Duration,
) -> anyhow::Result<()> {
    let until = tokio::time::Instant::now() + lasting;
    loop {
        match tokio::time::timeout_at(until, running.join_next()).await {
            Err(_) => return Ok(()),
            Ok(Some(ended)) => take(ended??, sum, clients),
            Ok(None) => anyhow::bail!("there is nobody to make the load"),
        }
    }
}

async fn prolong<C: Client>(
    running: &mut JoinSet<Ended<C>>,
    sum: &mut Loaded,
    clients: &mut Vec<C>,
    enough: impl Fn() -> bool,
) -> anyhow::Result<()> {
    let until = Instant::now() + PROLONGED_MAX;
    while !enough() && Instant::now() < until {
        wait(running, sum, clients, LOOK_INTERVAL).await?;
    }
    Ok(())
}

fn take<C>((operations, client): (u64, C), sum: &mut Loaded, clients: &mut Vec<C>) {
    sum.operations += operations;
    clients.push(client);
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sleeper(u64);

    impl Client for Sleeper {
        async fn step(&mut self) -> anyhow::Result<u64> {
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.0 += 1;
            if self.0 > 1000 {
                anyhow::bail!("enough");
            }
            Ok(3)
        }
    }

    #[tokio::test]
    async fn only_what_ends_after_the_warm_up_counts() {
        let (warm_up, lasting) = (Duration::from_millis(300), Duration::from_millis(200));
        let mut marks = 0;
        let (loaded, clients) =
            closed_loop(vec![Sleeper(0), Sleeper(0)], warm_up, lasting, || marks += 1).await.unwrap();
        let steps: u64 = clients.iter().map(|client| client.0).sum();
        assert_eq!((clients.len(), marks), (2, 2));
        assert!(loaded.operations > 0 && loaded.operations.is_multiple_of(3), "{}", loaded.operations);
        // The warm-up is the longer part of it.
        assert!(loaded.operations / 3 < steps * 3 / 4, "{} of {steps} steps", loaded.operations / 3);
        assert!(loaded.lasted >= lasting && loaded.per_s() > 0.0);
    }

    #[tokio::test]
    async fn steps_longer_than_the_measurement_are_measured_all_the_same() {
        let moment = Duration::from_millis(1);
        let (loaded, _) = closed_loop(vec![Sleeper(0), Sleeper(0)], moment, moment, || {}).await.unwrap();
        assert!(loaded.operations >= 6, "{}", loaded.operations);
        assert!(loaded.lasted >= moment * 5, "{:?}", loaded.lasted);
    }

    #[tokio::test]
    async fn a_client_that_fails_ends_the_measurement() {
        let outcome = closed_loop(vec![Sleeper(995)], Duration::ZERO, Duration::from_secs(60), || {}).await;
        assert!(outcome.is_err());
    }
}
