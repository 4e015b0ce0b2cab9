//! Gateways with their devices, in this process, over the SDK: each with an outbox on the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::future::join_all;
use twin_core::ids::TwinId;
use twin_gateway::{Credentials, Gateway, Options, Property, Report};

use crate::document::Documents;
use crate::measure::{Client, Done, Due};
use crate::plan::BATCH;
use crate::rest::Rest;

/// How long connecting, attaching and draining may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// One gateway.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) gateway: Gateway,
    pub(crate) devices: Arc<Vec<TwinId>>,
}

/// All of them.
pub(crate) struct Fleet {
    pub(crate) members: Vec<Member>,
    documents: Arc<Documents>,
}

/// How a fleet is opened.
pub(crate) struct FleetOptions {
    /// Where the node listens.
    pub(crate) node: String,
    pub(crate) credentials: Vec<Credentials>,
    /// The outboxes are below it.
    pub(crate) dir: PathBuf,
    /// Tells its devices from those of other fleets.
    pub(crate) prefix: String,
    /// Devices of each gateway.
    pub(crate) devices: u32,
}

/// An open site with this many more gateways, and their credentials.
pub(crate) fn credentials(
    rest: &Rest,
    site: &str,
    prefix: &str,
    dir: &Path,
    gateways: u32,
) -> anyhow::Result<Vec<Credentials>> {
    rest.open_site(site)?;
    let credentials = (0..gateways).map(|number| {
        let name = format!("{prefix}-{number}");
        let file = dir.join(format!("{site}-{name}.json"));
        rest.add_gateway(site, &name, &file)?;
        Credentials::load(&file).context("credentials")
    });
    credentials.collect()
}

impl Fleet {
    /// Opens the gateways. Needs a runtime around it.
    pub(crate) fn open(options: FleetOptions, documents: &Arc<Documents>) -> anyhow::Result<Self> {
        let FleetOptions { node, credentials, dir, prefix, devices } = options;
        let members = credentials.into_iter().enumerate().map(|(number, credentials)| {
            let mut options = Options::new(node.as_str(), credentials, dir.join(format!("outbox-{number}")));
            options.wait_at_cap = true;
            // Merged reports would be counted twice.
            options.coalesce = false;
            let device = |at| anyhow::Ok(TwinId::new(&format!("hot-{prefix}-{number}-{at}"))?);
            let devices = (0..devices).map(device).collect::<anyhow::Result<_>>()?;
            Ok(Member { gateway: Gateway::open(options)?, devices: Arc::new(devices) })
        });
        Ok(Self { members: members.collect::<anyhow::Result<_>>()?, documents: Arc::clone(documents) })
    }

    /// Attaches all devices and waits until they are.
    pub(crate) async fn attach(&self) -> anyhow::Result<()> {
        for member in &self.members {
            member.devices.iter().try_for_each(|device| member.gateway.attach(device))?;
        }
        let attached = |member: &Member| member.gateway.status().attached >= member.devices.len() as u64;
        self.until("the devices are not attached", attached).await
    }

    /// Waits until all are connected.
    pub(crate) async fn connected(&self) -> anyhow::Result<()> {
        self.until("the gateways are not connected", |member| member.gateway.status().connected).await
    }

    async fn until(&self, complaint: &str, holds: impl Fn(&Member) -> bool) -> anyhow::Result<()> {
        let begun = Instant::now();
        while let Some(member) = self.members.iter().find(|member| !holds(member)) {
            if begun.elapsed() > PATIENCE {
                bail!("{complaint} after {PATIENCE:?}: {:?}", member.gateway.status());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Reports each device once: all of them active, with a document.
    pub(crate) async fn report_all(&self) -> anyhow::Result<()> {
        for member in &self.members {
            for devices in member.devices.chunks(BATCH as usize) {
                let report = |device: &TwinId| Report::new(device.clone(), self.documents.value(7));
                member.gateway.report_many(devices.iter().map(report).collect()).await?;
            }
        }
        self.drained().await
    }

    /// Clients for a closed loop of reports, `in_flight` updates of each gateway at a time in calls of `batch`, or of all of them.
    pub(crate) fn reporters(&self, batch: u32, in_flight: u32, by: By) -> Vec<Reporter> {
        let batch = batch.min(in_flight);
        let of_member = |member: &Member| {
            let devices = member.devices.len();
            let workers = ((in_flight / batch) as usize).clamp(1, devices.max(1));
            let properties = matches!(by, By::Properties).then(|| self.documents.properties(&member.gateway));
            // Each has its own devices, so that a device's updates come one after the other.
            let reporter = |worker| Reporter {
                gateway: member.gateway.clone(),
                devices: member.devices.iter().skip(worker).step_by(workers).cloned().collect(),
                documents: Arc::clone(&self.documents),
                properties: properties.clone(),
                next: 0,
                batch: batch as usize,
            };
            (0..workers).map(reporter).collect::<Vec<_>>()
        };
        self.members.iter().flat_map(of_member).collect()
    }

    /// Reports what is due on a gateway in one call, as a gateway does that wakes up with more than one report. The promise
    /// of the outbox is part of the time.
    pub(crate) fn report_due(
        &self,
        lane: usize,
        group: Vec<Due>,
        done: Done,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + 'static {
        let member = self.members[lane % self.members.len()].clone();
        let documents = Arc::clone(&self.documents);
        let lanes = self.members.len();
        async move {
            let reports = group.iter().map(|due| {
                // Every lane goes through its devices, with another document each time round.
                let number = due.number as usize / lanes;
                let device = member.devices[number % member.devices.len()].clone();
                Report::new(device, documents.value((number + number / member.devices.len()) as u64))
            });
            let receipts = member.gateway.report_many(reports.collect()).await?;
            for (due, receipt) in group.into_iter().zip(receipts) {
                receipt.acked().await?;
                done.tell(due);
            }
            Ok(())
        }
    }

    /// Waits until the outboxes are empty.
    pub(crate) async fn drained(&self) -> anyhow::Result<()> {
        for member in &self.members {
            tokio::time::timeout(PATIENCE, member.gateway.drained()).await.context("an outbox does not drain")??;
        }
        Ok(())
    }

    /// An error if anything was refused for good: figures would be of something else.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let refused: u64 = self.members.iter().map(|member| member.gateway.status().dead_letters).sum();
        if refused > 0 {
            let first = self.members.iter().find_map(|member| member.gateway.dead_letters().into_iter().next());
            bail!("{refused} messages were refused for good; the first: {first:?}");
        }
        Ok(())
    }

    /// Stops all of them, side by side.
    pub(crate) async fn shutdown(&self) {
        join_all(self.members.iter().map(|member| member.gateway.shutdown())).await;
    }

    /// Microseconds of CPU that making one update takes before the SDK has it: the load generator's own share.
    pub(crate) fn generator_us(&self) -> f64 {
        const UPDATES: u64 = 50_000;
        let Some(member) = self.members.first() else { return 0.0 };
        let begun = Instant::now();
        for number in 0..UPDATES {
            let device = member.devices[number as usize % member.devices.len()].clone();
            std::hint::black_box(Report::new(device, self.documents.value(number)));
        }
        begun.elapsed().as_secs_f64() * 1e6 / UPDATES as f64
    }
}

/// How reports are said to the SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// As documents: `report_all`.
    Documents,
    /// As prepared properties, its cheapest way: `update_all`.
    Properties,
}

/// One closed loop of reports.
pub(crate) struct Reporter {
    gateway: Gateway,
    devices: Vec<TwinId>,
    documents: Arc<Documents>,
    /// `None`: documents are reported, whose paths the SDK finds each time.
    properties: Option<Arc<Vec<Property>>>,
    next: usize,
    batch: usize,
}

impl Client for Reporter {
    async fn step(&mut self) -> anyhow::Result<u64> {
        if let Some(properties) = &self.properties {
            let updates = (self.next..self.next + self.batch).map(|number| {
                let device = self.devices[number % self.devices.len()].clone();
                self.documents.update((number + number / self.devices.len()) as u64, device, properties)
            });
            let updates = updates.collect();
            self.next += self.batch;
            self.gateway.update_all(updates).await?.acked().await?;
            return Ok(self.batch as u64);
        }
        let reports = (self.next..self.next + self.batch).map(|number| {
            let device = self.devices[number % self.devices.len()].clone();
            Report::new(device, self.documents.value((number + number / self.devices.len()) as u64))
        });
        let reports = reports.collect();
        self.next += self.batch;
        self.gateway.report_all(reports).await?.acked().await?;
        Ok(self.batch as u64)
    }
}
