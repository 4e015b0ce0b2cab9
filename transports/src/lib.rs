//! MessagePack frames over QUIC between gateways and nodes.
//!
//! [`frames`] says what is said, [`codec`] how it lies on a stream, [`intern`] how ids and paths become small numbers,
//! [`credit`] how much a gateway may send, [`auth`] how a gateway proves who it is, [`refuse`] how it is told no, [`tls`] makes the node's certificates, [`endpoint`]
//! sets QUIC's limits, [`reset`] tells gateways of a restart, and [`server`] runs the node's side of a session over the [`server::Backend`] that the cluster provides.

pub mod auth;
pub mod codec;
pub mod credit;
pub mod endpoint;
pub mod entropy;
pub mod frames;
pub mod intern;
pub mod limits;
mod private_file;
pub mod refuse;
pub mod reset;
pub mod server;
pub mod swap;
pub mod tls;
