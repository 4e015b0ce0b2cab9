//! Who seeded what.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use twin_core::ids::TwinId;
use twin_core::numbers::{AttachmentNo, Boot, OutboxId, Seq, Stay, Version};
use twin_gateway::Credentials;
use twin_transports::endpoint::client_endpoint;
use twin_transports::frames::device::AttachItem;

use super::copy::{Renamed, Rows, Template, copy};
use super::reports::{ReportBodies, report};
use super::{Shuffled, seeded_id};
use crate::document::Documents;
use crate::hand_session::{HandSession, Run};
use crate::node_process::NodeSpec;

/// Gateways that seed: twin `n` belongs to that of number `n % SEEDERS`. As many as make the load elsewhere.
pub(crate) const SEEDERS: u64 = 10;

/// The stay of every seeded twin.
pub(super) const STAY: Stay = Stay { boot: Boot::new(1), counter: 1 };

/// The table with what a report writes.
const HOT_TABLE: &str = "twin_hot";

/// Twins that were seeded, and what it takes to report them.
pub(crate) struct SeededTwins {
    /// One for each gateway, by its number.
    pub(super) credentials: Vec<Credentials>,
    /// Their hot rows as seeded.
    hot: Vec<(Renamed, Renamed)>,
    /// By gateway: in which order its twins are reported, and the place of the next.
    orders: Vec<(Shuffled, AtomicU64)>,
}

/// Who the gateway with this number is, whenever it connects: the node takes it for the same boot.
pub(super) fn run_of(seeder: u64) -> Run {
    let mut bytes = *b"seeding-gateway-";
    bytes[15] = seeder as u8;
    Run { outbox: OutboxId(bytes), boot: STAY.boot, boot_nonce: bytes }
}

impl SeededTwins {
    /// The next twin of a gateway in an order that is none, and the number of its next report. Each twin of the gateway comes once
    /// before any comes again.
    pub(super) fn next_of(&self, seeder: u64) -> (u64, Seq) {
        let (order, next) = &self.orders[seeder as usize];
        let at = next.fetch_add(1, Ordering::Relaxed);
        // Its first report seeded it.
        (order.at(at) * SEEDERS + seeder, Seq::new(2 + at / order.len().max(1)))
    }

    /// The hot rows (key, value), as they were seeded, of the next twins of that order, sorted by key: for whoever writes them
    /// without a node.
    pub(crate) fn next_hot_rows(&self, rows: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut hot = self.hot.clone();
        let mut row = |at: usize| {
            let (number, _) = self.next_of((at % self.orders.len()) as u64);
            let id = seeded_id(number);
            let (key, value) = &mut hot[(number % SEEDERS) as usize];
            (key.to(&id).to_vec(), value.to(&id).to_vec())
        };
        let mut rows: Vec<_> = (0..rows).map(&mut row).collect();
        rows.sort_unstable();
        rows
    }

    /// Their table.
    pub(crate) fn hot_table() -> Rows<'static> {
        Rows::new(HOT_TABLE)
    }
}

/// Registers `twins` twins with a reported document in `site`, on a node that does not run; of none, only the site is made.
pub(crate) fn seed(
    spec: &mut NodeSpec,
    site: &str,
    twins: u64,
    documents: &Arc<Documents>,
) -> anyhow::Result<SeededTwins> {
    let node = spec.start()?;
    let rest = spec.rest()?;
    let dir = spec.data_dir.with_extension("seed");
    std::fs::create_dir_all(&dir)?;
    rest.open_site(site)?;
    let mut credentials = Vec::new();
    for seeder in 0..SEEDERS.min(twins) {
        let file = dir.join(format!("gateway-{seeder}.json"));
        rest.add_gateway(site, &format!("seeding-{seeder}"), &file)?;
        credentials.push(Credentials::load(&file)?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for (seeder, credentials) in credentials.iter().enumerate() {
            register(spec, seeder as u64, credentials, documents)
                .await
                .context("the first twin of a seeding gateway")?;
        }
        anyhow::Ok(())
    })?;
    node.stop()?;
    let copied = if twins > SEEDERS { copy(&spec.data_dir.join("state.redb"), SEEDERS, twins)? } else { Vec::new() };
    let hot = copied.into_iter().find(|template| template.table == HOT_TABLE).map(|Template { rows, .. }| rows);
    // Each gateway its own order: neighbours on the disk must not come at the same time.
    let of_gateway = |seeder| Shuffled::of((twins + SEEDERS - 1 - seeder) / SEEDERS, seeder);
    let orders = (0..SEEDERS.min(twins)).map(|seeder| (of_gateway(seeder), AtomicU64::new(0))).collect();
    Ok(SeededTwins { credentials, hot: hot.unwrap_or_default(), orders })
}

/// Attaches and reports the gateway's first twin.
async fn register(
    spec: &NodeSpec,
    seeder: u64,
    credentials: &Credentials,
    documents: &Arc<Documents>,
) -> anyhow::Result<()> {
    let endpoint = client_endpoint(spec.quic)?;
    let agent = format!("seeding/{seeder}");
    let mut session = HandSession::open(&endpoint, spec.quic, credentials, run_of(seeder), agent).await?;
    let twin = TwinId::new(&seeded_id(seeder))?;
    let item = AttachItem { twin, stay: STAY, saw: AttachmentNo::default(), knows: Version::default() };
    session.attach(vec![item]).await?;
    report(&session, &ReportBodies::of(documents), &[(seeder, Seq::new(1))]).await
}
