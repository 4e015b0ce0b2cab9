//! Linearizable reads through the SDK.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use twin_core::ids::TwinId;
use twin_gateway::{Gateway, GetError};

use crate::fleet::Fleet;
use crate::measure::Client;
use crate::seeded::seeded_id;

/// Reads of each gateway under way, in a closed loop.
pub(crate) const READS_IN_FLIGHT: usize = 64;

/// How long a reading is asked for again.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause before that.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// Cold twins in an order that is none: neighbours on the disk are read far apart.
#[derive(Debug)]
pub(crate) struct ColdIds {
    twins: u64,
    next: AtomicU64,
}

impl ColdIds {
    pub(crate) fn of(twins: u64) -> Arc<Self> {
        Arc::new(Self { twins: twins.max(1), next: AtomicU64::new(0) })
    }

    /// The next one. Each comes once before any comes again.
    pub(crate) fn next(&self) -> anyhow::Result<TwinId> {
        /// Prime, and larger than any number of twins: a step that meets them all.
        const STEP: u128 = 2_654_435_761;
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.twins;
        let number = (u128::from(at) * STEP) % u128::from(self.twins);
        Ok(TwinId::new(&seeded_id(number as u64))?)
    }
}

/// Reads a twin as an application would: a session that is just being replaced, or too many readings under way, is a reason to
/// ask again. What that takes is charged to the reading.
pub(crate) async fn read(gateway: &Gateway, twin: &TwinId) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        match gateway.get(twin).await {
            Ok(_) => return Ok(()),
            Err(GetError::NotConnected | GetError::Busy) if begun.elapsed() < PATIENCE => {
                tokio::time::sleep(ASK_AGAIN_AFTER).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Which twin a client reads next.
enum Which {
    Hot { devices: Arc<Vec<TwinId>>, next: usize },
    Cold(Arc<ColdIds>),
}

/// One closed loop of reads.
pub(crate) struct SdkReads {
    gateway: Gateway,
    which: Which,
}

impl SdkReads {
    /// [`READS_IN_FLIGHT`] for each gateway, each through the hot devices of it.
    pub(crate) fn hot(fleet: &Fleet) -> Vec<Self> {
        let of_member = |member: &crate::fleet::Member| {
            let read = |at: usize| {
                let next = at * member.devices.len() / READS_IN_FLIGHT;
                let which = Which::Hot { devices: Arc::clone(&member.devices), next };
                Self { gateway: member.gateway.clone(), which }
            };
            (0..READS_IN_FLIGHT).map(read).collect::<Vec<_>>()
        };
        fleet.members.iter().flat_map(of_member).collect()
    }

    /// As many, of cold twins.
    pub(crate) fn cold(fleet: &Fleet, ids: &Arc<ColdIds>) -> Vec<Self> {
        let read = |member: &crate::fleet::Member| Self {
            gateway: member.gateway.clone(),
            which: Which::Cold(Arc::clone(ids)),
        };
        fleet.members.iter().flat_map(|member| (0..READS_IN_FLIGHT).map(move |_| read(member))).collect()
    }
}

impl Client for SdkReads {
    async fn step(&mut self) -> anyhow::Result<u64> {
        match &mut self.which {
            Which::Hot { devices, next } => {
                *next = (*next + 1) % devices.len();
                read(&self.gateway, &devices[*next]).await?;
            }
            Which::Cold(ids) => read(&self.gateway, &ids.next()?).await?,
        }
        Ok(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cold_twin_comes_once_before_any_comes_again() {
        let ids = ColdIds::of(1000);
        let mut seen: Vec<String> = (0..1000).map(|_| ids.next().unwrap().as_str().to_owned()).collect();
        assert_ne!(seen[1], seeded_id(1), "neighbours must not follow each other");
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 1000);
    }
}
