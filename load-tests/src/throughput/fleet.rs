//! The gateways and their devices, in this process, each gateway with an outbox on the disk.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;
use tokio::sync::watch;
use tokio::task::JoinSet;
use twin_core::ids::TwinId;
use twin_gateway::{Credentials, Gateway, Options, Report};

use crate::document::{Documents, Properties};

/// Longest latency that is told apart, in microseconds.
const LATENCY_US_MAX: u64 = 120_000_000;
/// How long connecting and draining may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The load's shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) devices: u32,
    pub(crate) in_flight: u32,
    pub(crate) batch: u32,
    pub(crate) size_bytes: usize,
    /// Documents, rather than prepared properties.
    pub(crate) documents: bool,
}

/// Latencies, in microseconds.
pub(crate) type Latencies = Histogram<u64>;

/// An empty histogram.
pub(crate) fn latencies() -> anyhow::Result<Latencies> {
    Ok(Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?)
}

/// What one gateway has measured. Its own, so that gateways don't wait for one another.
struct Measured {
    acked: AtomicU64,
    /// From the call to the ack.
    ack: Mutex<Latencies>,
    /// From the call to the promise.
    promise: Mutex<Latencies>,
}

/// All gateways.
pub(crate) struct Fleet {
    gateways: Vec<Gateway>,
    measured: Vec<Arc<Measured>>,
    gate: watch::Sender<bool>,
    workers: JoinSet<anyhow::Result<()>>,
}

impl Fleet {
    /// Opens the gateways and attaches their devices; the load itself waits for [`Fleet::load`].
    pub(crate) async fn open(
        node: &str,
        credentials: Vec<Credentials>,
        dir: &Path,
        shape: Shape,
    ) -> anyhow::Result<Self> {
        let (gate, gate_watch) = watch::channel(false);
        let mut fleet = Self { gateways: Vec::new(), measured: Vec::new(), gate, workers: JoinSet::new() };
        let documents = Arc::new(Documents::new(shape.size_bytes));
        for (number, credentials) in credentials.into_iter().enumerate() {
            let mut options = Options::new(node, credentials, dir.join(format!("outbox-{number}")));
            options.wait_at_cap = true;
            let gateway = Gateway::open(options)?;
            let properties = Arc::new(Properties::of(&gateway)?);
            let measured = Arc::new(Measured {
                acked: AtomicU64::new(0),
                ack: Mutex::new(latencies()?),
                promise: Mutex::new(latencies()?),
            });
            let devices = (0..shape.devices).map(|device| TwinId::new(&format!("label-{number}-{device}")));
            let devices: Vec<TwinId> = devices.collect::<Result<_, _>>()?;
            devices.iter().try_for_each(|device| gateway.attach(device))?;
            // Each worker has its own devices, so that a device's updates come one after the other.
            let workers = (shape.in_flight / shape.batch).clamp(1, shape.devices) as usize;
            for worker in 0..workers {
                let devices: Vec<TwinId> = devices.iter().skip(worker).step_by(workers).cloned().collect();
                let load = Load {
                    gateway: gateway.clone(),
                    devices,
                    measured: Arc::clone(&measured),
                    shape,
                    documents: Arc::clone(&documents),
                    properties: Arc::clone(&properties),
                };
                fleet.workers.spawn(load.run(gate_watch.clone()));
            }
            fleet.gateways.push(gateway);
            fleet.measured.push(measured);
        }
        let begun = Instant::now();
        let expected = u64::from(shape.devices);
        while fleet.gateways.iter().any(|gateway| gateway.status().attached < expected) {
            if begun.elapsed() > PATIENCE {
                bail!("the devices are not attached after {PATIENCE:?}: {:?}", fleet.gateways[0].status());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(fleet)
    }

    /// Loads, or stops loading.
    pub(crate) fn load(&self, on: bool) {
        // The workers hold the other ends.
        let _ = self.gate.send(on);
    }

    /// Waits until the outboxes are empty.
    pub(crate) async fn drained(&self) -> anyhow::Result<()> {
        for gateway in &self.gateways {
            tokio::time::timeout(PATIENCE, gateway.drained()).await.context("an outbox does not drain")??;
        }
        Ok(())
    }

    /// An error if a part of the load ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.workers.try_join_next() {
            None => Ok(()),
            Some(ended) => {
                ended??;
                bail!("a part of the load ended");
            }
        }
    }

    /// Updates acked so far.
    pub(crate) fn acked(&self) -> u64 {
        self.measured.iter().map(|measured| measured.acked.load(Ordering::Relaxed)).sum()
    }

    /// The latencies since it was last asked: to the ack, and to the promise.
    pub(crate) fn take_latencies(&self) -> anyhow::Result<(Latencies, Latencies)> {
        let (mut ack, mut promise) = (latencies()?, latencies()?);
        for measured in &self.measured {
            for (from, to) in [(&measured.ack, &mut ack), (&measured.promise, &mut promise)] {
                let mut from = from.lock().map_err(|_| anyhow::anyhow!("a part of the load panicked"))?;
                to.add(&*from)?;
                from.reset();
            }
        }
        Ok((ack, promise))
    }

    /// Messages refused for good.
    pub(crate) fn dead_letters(&self) -> u64 {
        self.gateways.iter().map(|gateway| gateway.status().dead_letters).sum()
    }

    pub(crate) async fn shutdown(self) {
        for gateway in &self.gateways {
            gateway.shutdown().await;
        }
    }
}

/// One closed loop.
struct Load {
    gateway: Gateway,
    devices: Vec<TwinId>,
    measured: Arc<Measured>,
    shape: Shape,
    /// Shared, so that the load does not fill the processor's cache with copies of them.
    documents: Arc<Documents>,
    properties: Arc<Properties>,
}

impl Load {
    async fn run(self, mut gate: watch::Receiver<bool>) -> anyhow::Result<()> {
        let mut number = 0;
        let mut devices = self.devices.iter().cycle();
        let (documents, properties) = (&*self.documents, &*self.properties);
        loop {
            if gate.wait_for(|open| *open).await.is_err() {
                return Ok(());
            }
            number += 1;
            let begun = Instant::now();
            if self.shape.batch == 1 {
                let Some(device) = devices.next() else { return Ok(()) };
                let receipt = if self.shape.documents {
                    self.gateway.report_value(device, documents.document(number)).await?
                } else {
                    self.gateway.update(documents.update(properties, device.clone(), number)).await?
                };
                note(&self.measured.promise, begun, 1);
                receipt.acked().await?;
            } else {
                let batch = devices.by_ref().take(self.shape.batch as usize).cloned();
                let receipts = if self.shape.documents {
                    let reports = batch.map(|device| Report::new(device, documents.document(number)));
                    self.gateway.report_all(reports.collect()).await?
                } else {
                    let updates = batch.map(|device| documents.update(properties, device, number));
                    self.gateway.update_all(updates.collect()).await?
                };
                note(&self.measured.promise, begun, u64::from(self.shape.batch));
                receipts.acked().await?;
            }
            note(&self.measured.ack, begun, u64::from(self.shape.batch));
            self.measured.acked.fetch_add(u64::from(self.shape.batch), Ordering::Relaxed);
        }
    }
}

fn note(latencies: &Mutex<Latencies>, begun: Instant, count: u64) {
    if let Ok(mut latencies) = latencies.lock() {
        latencies.saturating_record_n(begun.elapsed().as_micros() as u64, count);
    }
}
