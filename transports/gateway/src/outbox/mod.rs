//! The durable outbox: appended by `report`, emptied only by the node's commit ack.
//!
//! [`format`] says which rows the file has, [`row`] how messages lie in one, [`body`] how a message is encoded and
//! [`dictionary`] which numbers its paths have. [`disk`] says where the file comes from, [`space`] lets its writes wait for room; [`file`] opens it ([`held_file`]
//! leaves it as it is until it is known for an outbox, [`kept_file`] keeps some room for the next start), [`database`] is what it is then, [`load`] reads it, [`queue`] says what is to be written and when, [`writer`] is the
//! one thread that commits (many appends, one fsync), [`lane`] and [`chunks`] mirror it for sending, [`coalesce`] merges neighbours near the cap, [`dead_letters`] keeps
//! what was refused for good, [`flash`] is the budget of what is written. [`any_rows`] is for the fuzz target.

pub(crate) mod any_rows;
pub(crate) mod body;
pub(crate) mod chunks;
pub(crate) mod coalesce;
pub(crate) mod database;
pub(crate) mod dead_letters;
pub(crate) mod dictionary;
pub(crate) mod disk;
pub(crate) mod file;
pub(crate) mod flash;
pub(crate) mod format;
pub(crate) mod held_file;
pub(crate) mod kept_file;
pub(crate) mod lane;
pub(crate) mod load;
pub(crate) mod queue;
pub(crate) mod row;
pub(crate) mod space;
pub(crate) mod writer;
