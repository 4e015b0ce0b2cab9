//! How things are measured.
//!
//! [`closed_loop()`] for capacity: each client does one thing after the other. [`open_loop()`] for latency: arrivals keep to a
//! schedule whatever the service does, and each is timed from its *intended* start, so that a stall is charged to everyone it
//! delayed. [`cpu`] tells whose CPU time it took and how much others used, [`spread`] sums up repeats.

pub(crate) mod closed_loop;
pub(crate) mod cpu;
pub(crate) mod latency;
pub(crate) mod open_loop;
pub(crate) mod procfs;
pub(crate) mod sampler;
pub(crate) mod spread;

pub(crate) use closed_loop::{Client, Loaded, closed_loop};
pub(crate) use cpu::{CpuUse, CpuWatch};
pub(crate) use latency::Latencies;
pub(crate) use open_loop::{Arrivals, Done, Due, Opened, open_loop};
pub(crate) use sampler::{Peaks, Sampler};
pub(crate) use spread::Spread;
