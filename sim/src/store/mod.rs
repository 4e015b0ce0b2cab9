//! A simulated store, over the SDK only: gateways, and behind them shelf labels, sensors and screens.
//!
//! [`StoreOptions`] -> [`Store::start`] -> [`Store`], which is its handle. `device` is a device as plain data; `gateway` runs
//! those of one gateway. Everything that devices decide comes from the seed that is handed in.

mod device;
mod gateway;
mod latency;
mod layout;
mod options;
mod service;
mod stats;

pub use device::Kind;
pub use layout::{Placed, layout};
pub use options::StoreOptions;
pub use service::{Store, StoreError};
pub use stats::{Latencies, StoreView};
