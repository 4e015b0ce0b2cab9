//! Gateways over the SDK: they come with their devices, report, take over what is desired, and go again.
//!
//! Reports are due at a fixed rate, whoever is there: what is due goes to the gateways that are there in turn, up to [`BATCH`] in a
//! call. A gateway that has too much before it takes nothing more, and what nobody took is counted. One visit in [`NEW_NAME_OF`] is
//! the last of its name: the gateway and its twins are deleted, and another one comes with other devices.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use http::Method;
use parking_lot::Mutex;
use rand::RngExt as _;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use twin_core::ids::TwinId;
use twin_gateway::{Credentials, Gateway, NotAcked, Options, Report};

use super::scene::{Scene, Tally, between_ms};
use crate::plan::BATCH;
use crate::stage::SITE;

/// How long a visit lasts, in milliseconds.
const VISIT_MS: (u64, u64) = (20_000, 60_000);
/// The pause between two visits.
const AWAY_MS: (u64, u64) = (300, 3_000);
/// One visit in so many is the last under its name.
const NEW_NAME_OF: u32 = 4;
/// How often what is due is handed out.
const TICK: Duration = Duration::from_millis(5);
/// Calls that may wait before a gateway, and be under way on it.
const WAITING_MAX: usize = 64;
const UNDER_WAY_MAX: usize = 32;
/// How long attaching may take, and opening an outbox that is still being closed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Reports that are due.
struct Due {
    count: usize,
    intended: Instant,
}

/// Where a gateway takes them while it is there.
type Place = Mutex<Option<mpsc::Sender<Due>>>;

/// Lets gateways come and go on all places of the scene until it is over.
pub(super) fn spawn(scene: &Arc<Scene>, rate_per_s: f64, tasks: &mut JoinSet<anyhow::Result<()>>) {
    let places: Arc<Vec<Place>> = Arc::new(scene.prefixes.iter().map(|_| Place::default()).collect());
    for number in 0..places.len() {
        let store = Store { scene: Arc::clone(scene), places: Arc::clone(&places), number, generation: 0 };
        tasks.spawn(store.run());
    }
    tasks.spawn(pace(Arc::clone(scene), places, rate_per_s));
}

/// Hands out what is due.
async fn pace(scene: Arc<Scene>, places: Arc<Vec<Place>>, rate_per_s: f64) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (mut given, mut turn) = (0_u64, 0);
    while !scene.pause(TICK).await {
        let due = (begun.elapsed().as_secs_f64() * rate_per_s) as u64;
        Tally::add(&scene.tally.due, due - given);
        while given < due {
            let count = (due - given).min(u64::from(BATCH));
            let intended = begun + Duration::from_secs_f64(given as f64 / rate_per_s);
            let mut present = (0..places.len()).map(|ahead| (turn + ahead) % places.len());
            let taker = present.find_map(|at| Some((at, places[at].lock().clone()?)));
            let taken = taker.is_some_and(|(at, sender)| {
                turn = at + 1;
                sender.try_send(Due { count: count as usize, intended }).is_ok()
            });
            if !taken {
                Tally::add(&scene.tally.skipped, count);
            }
            given += count;
        }
    }
    Ok(())
}

/// One place, on which one gateway comes after the other.
struct Store {
    scene: Arc<Scene>,
    places: Arc<Vec<Place>>,
    number: usize,
    generation: u32,
}

/// A gateway, whether it is there or not.
struct Visitor {
    credentials: Credentials,
    name: String,
    outbox: PathBuf,
    devices: Vec<TwinId>,
    next: usize,
}

impl Store {
    async fn run(mut self) -> anyhow::Result<()> {
        // They do not all come at the same time.
        let mut is_over = self.scene.pause(Duration::from_millis(50 * self.number as u64)).await;
        let mut visitor = self.new_name().await?;
        while !is_over {
            let is_empty = self.visit(&mut visitor).await.with_context(|| format!("gateway {}", visitor.name))?;
            is_over = self.scene.pause(between_ms(AWAY_MS.0, AWAY_MS.1)).await;
            if !is_over && is_empty && rand::rng().random_range(0..NEW_NAME_OF) == 0 {
                let left = std::mem::replace(&mut visitor, self.new_name().await?);
                let scene = Arc::clone(&self.scene);
                tokio::task::spawn_blocking(move || delete(&scene, left));
            }
        }
        Ok(())
    }

    async fn new_name(&mut self) -> anyhow::Result<Visitor> {
        self.generation += 1;
        if self.generation > 1 {
            Tally::add(&self.scene.tally.new_names, 1);
        }
        let name = format!("soak-{}-{}", self.number, self.generation);
        let prefix = format!("{name}-");
        let devices = (0..self.scene.devices)
            .map(|device| TwinId::new(&format!("{prefix}{device}")))
            .collect::<Result<_, _>>()?;
        let file = self.scene.dir.join(format!("{name}.json"));
        let rest = self.scene.rest.clone();
        let (asked, to) = (name.clone(), file.clone());
        tokio::task::spawn_blocking(move || rest.add_gateway(SITE, &asked, &to)).await??;
        let credentials = Credentials::load(&file).context("credentials")?;
        std::fs::remove_file(file)?;
        *self.scene.prefixes[self.number].lock() = prefix;
        Ok(Visitor { credentials, outbox: self.scene.dir.join(&name), name, devices, next: 0 })
    }

    /// One visit; `true`: nothing is left in the outbox.
    async fn visit(&self, visitor: &mut Visitor) -> anyhow::Result<bool> {
        let scene = &self.scene;
        let mut options = Options::new(scene.quic.to_string(), visitor.credentials.clone(), &visitor.outbox);
        options.wait_at_cap = true;
        let gateway = Gateway::open(options)?;
        for device in &visitor.devices {
            gateway.attach(device)?;
        }
        let is_first = visitor.next == 0;
        let begun = Instant::now();
        while gateway.status().attached < visitor.devices.len() as u64 {
            if begun.elapsed() > PATIENCE {
                bail!("not attached after {PATIENCE:?}: {:?}", gateway.status());
            }
            if scene.pause(Duration::from_millis(10)).await {
                break;
            }
        }
        Tally::add(&scene.tally.visits, 1);
        if is_first {
            Tally::add(&scene.tally.twins_made, visitor.devices.len() as u64);
        }
        let taking_over = tokio::spawn(take_over(Arc::clone(scene), gateway.clone()));
        let (sender, mut receiver) = mpsc::channel(WAITING_MAX);
        *self.places[self.number].lock() = Some(sender);
        let until = tokio::time::Instant::now() + between_ms(VISIT_MS.0, VISIT_MS.1);
        let under_way = Arc::new(Semaphore::new(UNDER_WAY_MAX));
        loop {
            tokio::select! {
                due = receiver.recv() => match due {
                    Some(due) => visitor.report(scene, &gateway, due, &under_way).await?,
                    None => break,
                },
                () = tokio::time::sleep_until(until) => break,
                () = scene.ended() => break,
            }
        }
        *self.places[self.number].lock() = None;
        // What was handed over is carried out.
        while let Some(due) = receiver.recv().await {
            visitor.report(scene, &gateway, due, &under_way).await?;
        }
        let is_empty = gateway.shutdown().await;
        let dead = gateway.dead_letters();
        if let Some(first) = dead.first() {
            scene.tally.unexpected(|| format!("{}: {} dead letters: {first:?}", visitor.name, dead.len()));
        }
        taking_over.await?;
        Ok(is_empty)
    }
}

impl Visitor {
    async fn report(
        &mut self,
        scene: &Arc<Scene>,
        gateway: &Gateway,
        due: Due,
        under_way: &Arc<Semaphore>,
    ) -> anyhow::Result<()> {
        let permit = Arc::clone(under_way).acquire_owned().await?;
        let reports = (self.next..self.next + due.count).map(|number| {
            let device = self.devices[number % self.devices.len()].clone();
            // Another document each time round.
            Report::new(device, scene.documents.value((number + number / self.devices.len()) as u64))
        });
        let reports = reports.collect();
        self.next += due.count;
        let receipts = gateway.report_all(reports).await?;
        let scene = Arc::clone(scene);
        tokio::spawn(async move {
            match receipts.acked().await {
                Ok(()) => {
                    Tally::add(&scene.tally.acked, due.count as u64);
                    scene.tally.acks.lock().note(due.intended.elapsed(), due.count as u64);
                }
                // It is in the outbox, and goes at the next visit.
                Err(NotAcked::ShutDown) => {}
                Err(error) => scene.tally.unexpected(|| format!("a report: {error}")),
            }
            drop(permit);
        });
        Ok(())
    }
}

/// The devices do what is desired of them.
async fn take_over(scene: Arc<Scene>, gateway: Gateway) {
    let desired = gateway.desired();
    loop {
        let changes = desired.recv_many(BATCH as usize).await;
        let count = changes.len() as u64;
        let applied = changes.into_iter().map(|change| (change.twin, change.version));
        // None: it is shut down. An error: it is about to be.
        if count == 0 || gateway.ack_desired_all(applied).await.is_err() {
            return;
        }
        Tally::add(&scene.tally.applied, count);
    }
}

/// A gateway left for good: it and its twins are deleted.
fn delete(scene: &Scene, visitor: Visitor) {
    let rest = scene.rest.anew();
    let path = format!("/api/v1/sites/{SITE}/gateways/{}", visitor.name);
    let expect = |path: String| match rest.send(Method::DELETE, &path, None, None) {
        Ok(200..300) => true,
        // Somebody else was quicker.
        Ok(404) => false,
        Ok(503) => {
            Tally::add(&scene.tally.refused, 1);
            false
        }
        Ok(status) => {
            scene.tally.unexpected(|| format!("DELETE {path}: {status}"));
            false
        }
        Err(error) => {
            scene.tally.unexpected(|| format!("DELETE {path}: {error:#}"));
            false
        }
    };
    expect(path);
    for device in visitor.devices {
        if scene.is_over() {
            return;
        }
        if expect(format!("/api/v1/twins/{device}")) {
            Tally::add(&scene.tally.twins_deleted, 1);
        }
    }
    // It is below the scratch directory, which goes as a whole anyway.
    let _ = std::fs::remove_dir_all(&visitor.outbox);
}
