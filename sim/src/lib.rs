//! The simulated fleet, over the SDK only: a store of gateways and devices, and the replay of recordings.

pub mod limits;
pub mod replay;
pub mod store;
pub mod traces;
