//! The simulated fleet, over the SDK only: a store of gateways and devices, the replay of recordings, and what a gateway's owner does
//! with dead letters.

pub mod dead_letters;
pub mod limits;
pub mod replay;
pub mod store;
pub mod traces;
