//! What the parts can do without us, with the same bytes: the raw limits that each figure of ours is a share of.

mod actix;
mod fdatasync;
mod quic_echo;
mod ractor_call;
mod redb_appends;
mod redb_flush;

pub(crate) use actix::{ActixProcess, serve as serve_actix};
pub(crate) use fdatasync::fdatasync;
pub(crate) use quic_echo::QuicEcho;
pub(crate) use ractor_call::ractor_calls;
pub(crate) use redb_appends::RedbAppends;
pub(crate) use redb_flush::redb_flush;
