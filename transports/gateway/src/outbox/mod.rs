//! The durable outbox: appended by `report`, emptied only by the node's commit ack.
//!
//! [`format`] says how rows lie in the file, [`file`] opens it, [`writer`] is the one thread that commits (many appends, one
//! fsync), [`lane`] and [`memory`] mirror it for sending, [`coalesce`] merges neighbours near the cap, [`dead_letters`] keeps
//! what was refused for good.

pub(crate) mod coalesce;
pub(crate) mod dead_letters;
pub(crate) mod file;
pub(crate) mod format;
pub(crate) mod lane;
pub(crate) mod writer;
