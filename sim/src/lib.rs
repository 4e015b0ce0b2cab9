//! The simulated fleet, over the SDK only: a store of gateways and devices, the replay of recordings, and what a gateway's owner does
//! with dead letters.

pub mod dead_letters;
pub(crate) mod handled;
pub mod limits;
pub mod replay;
pub(crate) mod state_file;
pub mod store;
pub mod traces;
