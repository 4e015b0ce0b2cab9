//! One gateway of the store, and the devices behind it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::Semaphore;
use twin_core::clock::Clock;
use twin_core::ids::TwinId;
use twin_core::value::Value;
use twin_gateway::{DesiredChange, Gateway, MethodAnswer, MethodCall, Receipt, Report, ReportError, TwinLink};

use super::device::{Device, Verdict};
use super::layout::Placed;
use super::stats::Counts;
use crate::limits::{DEVICE_EVENTS_PER_S, MEASURE_EVERY, MEASURED_BATCHES_MAX, REPORTS_AT_ONCE_MAX, STORE_TICK};

/// The devices behind a gateway, and their chance.
struct Floor {
    devices: Vec<Device>,
    by_id: HashMap<TwinId, usize>,
    next: usize,
    /// Measurements due, in fractions.
    due: f64,
    rng: SmallRng,
}

/// A gateway with devices.
pub(crate) struct SimulatedGateway {
    gateway: Gateway,
    floor: Arc<Mutex<Floor>>,
    counts: Arc<Counts>,
    clock: Arc<dyn Clock>,
    reports_per_s: f64,
    phase: Duration,
    measured: Arc<Semaphore>,
}

impl SimulatedGateway {
    /// Attaches the devices and sets the methods.
    pub(crate) fn new(
        gateway: Gateway,
        placed: impl Iterator<Item = Placed>,
        reports_per_s: f64,
        seed: u64,
        counts: Arc<Counts>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ReportError> {
        let mut rng = SmallRng::seed_from_u64(seed);
        let phase = MEASURE_EVERY.mul_f64(rng.random_range(0.0..1.0));
        let devices: Vec<Device> = placed.map(|p| Device::new(p.id, p.kind, &mut rng)).collect();
        for device in &devices {
            gateway.attach(device.id())?;
        }
        let by_id = devices.iter().enumerate().map(|(index, device)| (device.id().clone(), index)).collect();
        let floor = Arc::new(Mutex::new(Floor { devices, by_id, next: 0, due: 0.0, rng }));
        let measured = Arc::new(Semaphore::new(MEASURED_BATCHES_MAX));
        let this = Self { gateway, floor, counts, clock, reports_per_s, phase, measured };
        this.answer("blink", Device::blink);
        this.answer("identify", Device::identify);
        Ok(this)
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    fn answer(&self, method: &str, device_answers: fn(&Device) -> (u16, Value)) {
        let (floor, counts) = (Arc::clone(&self.floor), Arc::clone(&self.counts));
        self.gateway.on_method(method, move |call: MethodCall| {
            let floor = floor.lock();
            let answer = floor.by_id.get(&call.twin).map(|index| device_answers(&floor.devices[*index]));
            Counts::add(&counts.calls, 1);
            std::future::ready(MethodAnswer::from(answer.unwrap_or((404, Value::Null))))
        });
    }

    /// Lets the devices live until the gateway is shut down.
    pub(crate) async fn run(self: Arc<Self>) {
        tokio::select! {
            () = self.take_desired() => {}
            () = self.live() => {}
        }
    }

    async fn take_desired(&self) {
        let changes = self.gateway.desired();
        while let Some(change) = changes.recv().await {
            self.desired(&change);
        }
    }

    fn desired(&self, change: &DesiredChange) {
        if change.ops.is_empty() {
            // The first word after an attach, with nothing in it.
            return;
        }
        Counts::add(&self.counts.desired_received, 1);
        let now = self.clock.monotonic();
        let Floor { devices, by_id, rng, .. } = &mut *self.floor.lock();
        if let Some(index) = by_id.get(&change.twin) {
            devices[*index].desired(&change.desired, change.version, now, rng);
        }
    }

    async fn live(&self) {
        // Gateways are not in step, and their commits not all at once.
        let first = tokio::time::Instant::now() + self.phase;
        let mut tick = tokio::time::interval_at(first, STORE_TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut at = self.clock.monotonic();
        let mut measured_at = at;
        loop {
            tick.tick().await;
            let now = self.clock.monotonic();
            let passed = now.saturating_sub(at);
            at = now;
            let gathered = now.saturating_sub(measured_at);
            let told = async {
                if gathered >= MEASURE_EVERY {
                    measured_at = now;
                    self.measure(gathered).await?;
                }
                self.speak(now).await?;
                self.happen(passed).await
            };
            match told.await {
                Ok(()) => self.hear_again(),
                Err(error) => {
                    tracing::warn!(%error, "the simulated gateway stops");
                    return;
                }
            }
        }
    }

    /// The next devices in turn measure, all in one commit of the outbox.
    async fn measure(&self, gathered: Duration) -> Result<(), ReportError> {
        let reports = {
            let Floor { devices, next, due, rng, .. } = &mut *self.floor.lock();
            *due += self.reports_per_s * gathered.as_secs_f64();
            let count = if devices.is_empty() { 0 } else { (*due as usize).min(REPORTS_AT_ONCE_MAX) };
            // What could not be measured in time is not measured later.
            *due = due.fract();
            let mut reports = Vec::with_capacity(count);
            for _ in 0..count {
                *next = (*next + 1) % devices.len();
                let device = &mut devices[*next];
                reports.push(Report::new(device.id().clone(), device.measure(rng)));
            }
            reports
        };
        if reports.is_empty() {
            return Ok(());
        }
        let begun = self.clock.monotonic();
        let count = reports.len() as u64;
        match self.gateway.report_many(reports).await {
            Ok(receipts) => self.time(begun, receipts),
            // Measured again soon: a real gateway would not keep what it has no room for, either.
            Err(error) if error.is_full() => Counts::add(&self.counts.refused_at_cap, count),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Waits for the acks beside everything else. While too many wait, further ones are not timed.
    fn time(&self, begun: Duration, receipts: Vec<Receipt>) {
        let Ok(permit) = Arc::clone(&self.measured).try_acquire_owned() else { return };
        let (counts, clock) = (Arc::clone(&self.counts), Arc::clone(&self.clock));
        tokio::spawn(async move {
            for receipt in receipts {
                if receipt.acked().await.is_ok() {
                    counts.acked_after(clock.monotonic().saturating_sub(begun));
                }
            }
            drop(permit);
        });
    }

    /// Devices whose time has come say what they make of a desired change.
    async fn speak(&self, now: Duration) -> Result<(), ReportError> {
        let spoken: Vec<(TwinId, Verdict)> = {
            let mut floor = self.floor.lock();
            floor.devices.iter_mut().filter_map(|device| Some((device.id().clone(), device.speak(now)?))).collect()
        };
        for (twin, verdict) in spoken {
            let (said, counter) = match verdict {
                Verdict::Shows(patch) => (self.gateway.report_value(&twin, patch).await, &self.counts.applied),
                Verdict::Acks(version) => (self.gateway.ack_desired(&twin, version).await, &self.counts.applied),
                Verdict::Rejects { path, version, reason } => {
                    (self.gateway.reject_desired(&twin, &path, version, reason).await, &self.counts.rejected)
                }
            };
            match said {
                Ok(_) => Counts::add(counter, 1),
                Err(error) if error.is_full() => Counts::add(&self.counts.refused_at_cap, 1),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn happen(&self, passed: Duration) -> Result<(), ReportError> {
        let happened = {
            let Floor { devices, rng, .. } = &mut *self.floor.lock();
            let chance = (DEVICE_EVENTS_PER_S * devices.len() as f64 * passed.as_secs_f64()).min(1.0);
            if devices.is_empty() || !rng.random_bool(chance) {
                return Ok(());
            }
            let index = rng.random_range(0..devices.len());
            let (name, payload) = devices[index].happens(rng);
            (devices[index].id().clone(), name, payload)
        };
        let (twin, name, payload) = happened;
        let payload = serde_json::to_value(&payload).unwrap_or_default();
        match self.gateway.event(&twin, name, &payload).await {
            Ok(_) => Counts::add(&self.counts.events, 1),
            Err(error) if error.is_full() => Counts::add(&self.counts.refused_at_cap, 1),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Devices stay in reach of their gateway: one that another gateway took is heard here again.
    fn hear_again(&self) {
        if self.gateway.status().conflicts == 0 {
            return;
        }
        let ids: Vec<TwinId> = self.floor.lock().devices.iter().map(|device| device.id().clone()).collect();
        for id in ids {
            if matches!(self.gateway.link(&id), TwinLink::Conflict { .. }) {
                // It fails only while the gateway stops.
                drop(self.gateway.attach(&id));
            }
        }
    }
}
