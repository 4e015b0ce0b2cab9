//! The device twin itself.
//!
//! The pure part knows no tokio, no I/O and no clock: documents and their rules ([`value`], [`section`]),
//! path operations ([`op`]), numbering of what gateways send ([`mark`]), and the step function
//! ([`twin`]) that turns a [`command::Command`] into an answer, changed rows and events. [`grain`] runs
//! that step function, one turn after the other, over the two small traits it needs.

pub mod alarm;
pub mod clock;
pub mod command;
pub mod convergence;
pub mod delta;
pub mod document;
pub mod event;
pub mod grain;
pub mod ids;
pub mod json;
pub mod limits;
pub mod mark;
pub mod merge;
pub mod msgpack;
pub mod numbers;
pub mod once;
pub mod op;
pub mod path;
pub mod recovery;
pub mod refusal;
pub mod report;
pub mod rows;
pub mod rules;
pub mod section;
pub mod time_text;
pub mod twin;
pub mod used_keys;
pub mod value;
pub mod view;
pub mod wire;
