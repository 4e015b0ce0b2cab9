//! Linearizable reads through the SDK.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use twin_core::ids::TwinId;
use twin_core::value::{Number, Value};
use twin_gateway::{Gateway, GetError, TwinView};

use crate::document::document;
use crate::fleet::Fleet;
use crate::measure::Client;
use crate::plan::DOCUMENT_BYTES;
use crate::seeded::seeded_id;

/// Single reads of each gateway under way, in a closed loop.
pub(crate) const SINGLE_IN_FLIGHT: usize = 64;
/// Calls of many of each gateway under way.
pub(crate) const CALLS_IN_FLIGHT: usize = 4;
/// Cold twins of a call.
pub(crate) const COLD_BATCH: usize = 64;
/// Of so many views in a row, one is looked at whole; of the others, the version of `reported`.
pub(crate) const LOOK_AT_ONE_OF: usize = 64;

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

/// Reads twins as an application would: no session, or too many readings under way, is a reason to ask again. What that takes is
/// charged to the reading. All of them must be there.
pub(crate) async fn read_all(gateway: &Gateway, twins: &[TwinId]) -> anyhow::Result<Vec<TwinView>> {
    let begun = Instant::now();
    loop {
        let read = match twins {
            // What an application with one twin in hand calls.
            [twin] => gateway.get(twin).await.map(|view| vec![Ok(view)]),
            twins => gateway.read_all(twins).await,
        };
        match read {
            Ok(views) if views.len() == twins.len() => {
                return views.into_iter().collect::<Result<_, _>>().context("a twin was not read");
            }
            Ok(views) => bail!("{} views of {} twins", views.len(), twins.len()),
            Err(GetError::NotConnected | GetError::Busy) if begun.elapsed() < PATIENCE => {
                tokio::time::sleep(ASK_AGAIN_AFTER).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// An answer is only counted if it says what the twin reported.
#[derive(Debug, Default)]
pub(crate) struct Looks(usize);

impl Looks {
    /// Looks at them, at some of them in full.
    pub(crate) fn at(&mut self, views: &[TwinView]) -> anyhow::Result<()> {
        for view in views {
            if view.reported_version()?.get() < 2 {
                bail!("a twin has not reported: version {}", view.reported_version()?);
            }
            self.0 += 1;
            if self.0.is_multiple_of(LOOK_AT_ONE_OF) {
                let reported = view.reported()?;
                let members = reported.as_object().context("what was reported is no object")?;
                let number = match members.get("seq") {
                    Some(Value::Number(Number::Integer(number))) => number.cast_unsigned(),
                    other => bail!("the reported number is {other:?}"),
                };
                if reported != document(DOCUMENT_BYTES, number) {
                    bail!("a view shows another document than was reported: {reported:?}");
                }
            }
        }
        Ok(())
    }
}

/// Which twins a client reads next.
enum Which {
    Hot { devices: Arc<Vec<TwinId>>, next: usize },
    Cold(Arc<ColdIds>),
}

/// One closed loop of reads.
pub(crate) struct SdkReads {
    gateway: Gateway,
    which: Which,
    batch: usize,
    looks: Looks,
}

impl SdkReads {
    /// Calls of so many, through the hot devices of each gateway.
    pub(crate) fn hot(fleet: &Fleet, batch: usize) -> Vec<Self> {
        let calls = if batch == 1 { SINGLE_IN_FLIGHT } else { CALLS_IN_FLIGHT };
        let of_member = |member: &crate::fleet::Member| {
            let read = |at: usize| {
                let next = at * member.devices.len() / calls;
                let which = Which::Hot { devices: Arc::clone(&member.devices), next };
                Self { gateway: member.gateway.clone(), which, batch, looks: Looks::default() }
            };
            (0..calls).map(read).collect::<Vec<_>>()
        };
        fleet.members.iter().flat_map(of_member).collect()
    }

    /// Calls of so many, of cold twins.
    pub(crate) fn cold(fleet: &Fleet, ids: &Arc<ColdIds>, batch: usize) -> Vec<Self> {
        let read = |member: &crate::fleet::Member| Self {
            gateway: member.gateway.clone(),
            which: Which::Cold(Arc::clone(ids)),
            batch,
            looks: Looks::default(),
        };
        fleet.members.iter().flat_map(|member| (0..CALLS_IN_FLIGHT).map(move |_| read(member))).collect()
    }
}

impl Client for SdkReads {
    async fn step(&mut self) -> anyhow::Result<u64> {
        let twins: Vec<TwinId> = match &mut self.which {
            Which::Hot { devices, next } => {
                let from = *next;
                *next = (from + self.batch) % devices.len();
                (from..from + self.batch).map(|at| devices[at % devices.len()].clone()).collect()
            }
            Which::Cold(ids) => (0..self.batch).map(|_| ids.next()).collect::<anyhow::Result<_>>()?,
        };
        let views = read_all(&self.gateway, &twins).await?;
        self.looks.at(&views)?;
        Ok(twins.len() as u64)
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
