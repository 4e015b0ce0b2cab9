//! How much is measured: everything that differs between a quick and a full run.

use std::time::Duration;

/// Gateways of the write load.
pub(crate) const GATEWAYS: u32 = 10;
/// Size of a reported document, as compact JSON.
pub(crate) const DOCUMENT_BYTES: usize = 300;
/// Updates given to the SDK in one call, where nothing else is said.
pub(crate) const BATCH: u32 = 256;

/// A chain of stores: so many gateways in each, so many devices of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    pub(crate) stores: u32,
    pub(crate) gateways: u32,
    pub(crate) devices: u32,
}

/// Sizes and times of a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    /// How often each pair A B is measured.
    pub(crate) repeats: u32,
    /// Load before the clock starts.
    pub(crate) warm_up: Duration,
    /// A measured stretch of the write load: several checkpoints.
    pub(crate) write_slice: Duration,
    /// A measured stretch of anything else of ours.
    pub(crate) slice: Duration,
    /// A measured stretch of a baseline or a peer, each.
    pub(crate) baseline: Duration,
    /// Quiet after a load: the node writes its checkpoint.
    pub(crate) settle: Duration,
    /// Updates of each gateway that wait for their acks at a time, in a closed loop.
    pub(crate) in_flight: u32,
    /// Twins of the write load that are reported, of each gateway.
    pub(crate) hot_per_gateway: u32,
    /// Twins that are registered with it, hot ones included.
    pub(crate) registered: u64,
    /// Sizes of the large data directories, rising.
    pub(crate) registered_large: &'static [u64],
    /// Distinct twins that are read cold.
    pub(crate) cold: u64,
    /// Cold reads a second whose latency is looked at.
    pub(crate) cold_per_s: f64,
    /// Grains that are made active to weigh them.
    pub(crate) active: u64,
    /// Gateways that are connected and idle.
    pub(crate) connected: u32,
    /// Starts to take the median of.
    pub(crate) starts: u32,
    /// Of the overnight change.
    pub(crate) changed: Chain,
}

impl Plan {
    /// At most 5 minutes.
    pub(crate) fn quick() -> Self {
        Self {
            name: "quick",
            repeats: 2,
            warm_up: Duration::from_millis(700),
            write_slice: Duration::from_secs(6),
            slice: Duration::from_secs(2),
            baseline: Duration::from_secs(1),
            settle: Duration::from_millis(800),
            in_flight: 1_024,
            hot_per_gateway: 2_500,
            registered: 100_000,
            registered_large: &[10_000, 1_000_000],
            cold: 150_000,
            cold_per_s: 10_000.0,
            active: 80_000,
            connected: 5_000,
            starts: 3,
            changed: Chain { stores: 40, gateways: 10, devices: 300 },
        }
    }

    /// At most 30 minutes.
    pub(crate) fn full() -> Self {
        Self {
            name: "full",
            repeats: 3,
            warm_up: Duration::from_secs(2),
            write_slice: Duration::from_secs(12),
            slice: Duration::from_secs(7),
            baseline: Duration::from_secs(3),
            settle: Duration::from_secs(2),
            registered_large: &[10_000, 1_000_000, 10_000_000],
            cold: 500_000,
            active: 100_000,
            starts: 10,
            changed: Chain { stores: 500, gateways: 10, devices: 300 },
            ..Self::quick()
        }
    }

    /// A moment, for tests: shows that it works, and nothing else.
    pub(crate) fn tiny() -> Self {
        Self {
            name: "tiny",
            repeats: 1,
            warm_up: Duration::from_millis(100),
            write_slice: Duration::from_millis(400),
            slice: Duration::from_millis(300),
            baseline: Duration::from_millis(50),
            settle: Duration::from_millis(50),
            in_flight: 32,
            hot_per_gateway: 40,
            registered: 1_000,
            registered_large: &[500, 2_000],
            cold: 20_000,
            cold_per_s: 200.0,
            active: 400,
            connected: 20,
            starts: 1,
            changed: Chain { stores: 2, gateways: 2, devices: 40 },
        }
    }
}
