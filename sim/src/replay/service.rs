//! A replay: check, claim, feed, wait for the acks.

use std::path::Path;

use tokio_util::sync::CancellationToken;
use twin_gateway::{Gateway, Options};

use super::belongs;
use super::error::ReplayError;
use super::feed::Feed;
use super::options::ReplayOptions;
use super::progress::{Progress, Standing};
use super::rate::Pace;
use super::recording::Recording;
use super::refused::Refused;
use super::spans::{Begin, Spans};
use super::watch::Watch;
use crate::handled::Handled;
use crate::limits::STOP_DRAIN;

/// A replay that can begin: recordings and state folder were checked.
pub struct Replay {
    options: ReplayOptions,
    recordings: Vec<Recording>,
}

/// Every row is acked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Rows of all recordings, those of earlier runs included.
    pub rows: u64,
    /// How many of them were reported by this run.
    pub reported_now: u64,
}

impl Replay {
    /// Checks everything that can be checked without the node. Reads every file to its end; nothing is reported.
    pub fn prepare(options: ReplayOptions) -> Result<Self, ReplayError> {
        if options.credentials.site != options.site {
            return Err(ReplayError::OtherSite { found: options.credentials.site, asked: options.site });
        }
        let recordings = Recording::check_all(&options.files)?;
        belongs::claim(&options.state_dir, &options.credentials)?;
        Ok(Self { options, recordings })
    }

    /// Rows of all recordings.
    pub fn rows(&self) -> u64 {
        self.recordings.iter().map(Recording::rows).sum()
    }

    /// Reports what was not reported yet and waits until all is acked, for as long as the node is away. Call it within a tokio
    /// runtime.
    pub async fn run(self, stop: CancellationToken, progress: &dyn Progress) -> Result<Summary, ReplayError> {
        let Self { options, recordings } = self;
        let state_dir = options.state_dir.clone();
        let mut spans = Spans::load(&state_dir)?;
        let handled = Handled::load(&state_dir)?;
        let mut gateway_options = Options::new(options.cluster, options.credentials, options.state_dir);
        gateway_options.outbox_bytes_max = options.outbox_bytes_max;
        // Each row is a report of its own: merged ones would be one change where there were two.
        gateway_options.coalesce = false;
        gateway_options.wait_at_cap = true;
        gateway_options.drain_timeout = STOP_DRAIN;
        gateway_options.agent = format!("twin-sim/{}", env!("CARGO_PKG_VERSION"));
        gateway_options.trace_batch = options.trace_batch;
        gateway_options.clock = options.clock.clone();
        let gateway = Gateway::open(gateway_options)?;
        let before = Standing::of(&gateway, &recordings);
        let work = async {
            open_spans(&mut spans, &gateway, &recordings, &state_dir).await?;
            let feed = Feed::open(&recordings, &gateway)?;
            feed.run(&gateway, Pace::new(options.rate, options.clock.monotonic()), &*options.clock).await?;
            gateway.drained().await?;
            Ok(())
        };
        let ended = tokio::select! {
            ended = work => ended,
            failed = Watch::new(&gateway, &recordings).run(progress) => Err(failed),
            () = stop.cancelled() => {
                let Standing { rows, reported, acked, .. } = Standing::of(&gateway, &recordings);
                Err(ReplayError::Stopped { rows, reported, acked })
            }
        };
        gateway.shutdown().await;
        let standing = Standing::of(&gateway, &recordings);
        progress.show(&standing);
        ended?;
        if let Some(refused) = Refused::of(&gateway, &recordings, &spans, &handled) {
            return Err(refused.into());
        }
        Ok(Summary { rows: standing.rows, reported_now: standing.reported - before.reported })
    }
}

/// Says durably, before a row of them is reported, that letters from here on are of these recordings. Rows of others that are
/// still in the outbox are settled first: what becomes of them is not these recordings' doing.
async fn open_spans(
    spans: &mut Spans,
    gateway: &Gateway,
    recordings: &[Recording],
    state_dir: &Path,
) -> Result<(), ReplayError> {
    let begins = recordings.iter().map(|recording| Begin {
        device: recording.device().as_str(),
        source: recording.source(),
        done: gateway.position(recording.source()),
        rows: recording.rows(),
    });
    let wanted: Vec<Begin<'_>> = begins.filter(|begin| spans.wants(*begin)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    gateway.drained().await?;
    let status = gateway.status();
    for begin in wanted {
        spans.open(begin, status.dead_letters_ever, status.dead_letters_dropped);
    }
    Ok(spans.save(state_dir)?)
}
