//! The durable outbox: appended by `report`, emptied only by the node's commit ack.
//!
//! [`format`] says which rows the file has, [`row`] how messages lie in one, [`body`] how a message is encoded and
//! [`dictionary`] which numbers its paths have. [`file`] opens it, [`queue`] says what is to be written and when, [`writer`] is the
//! one thread that commits (many appends, one fsync), [`lane`] and [`chunks`] mirror it for sending, [`coalesce`] merges neighbours near the cap, [`dead_letters`] keeps
//! what was refused for good.

pub(crate) mod body;
pub(crate) mod chunks;
pub(crate) mod coalesce;
pub(crate) mod dead_letters;
pub(crate) mod dictionary;
pub(crate) mod file;
pub(crate) mod format;
pub(crate) mod lane;
pub(crate) mod queue;
pub(crate) mod row;
pub(crate) mod writer;
