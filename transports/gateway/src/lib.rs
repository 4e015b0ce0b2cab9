//! The gateway SDK: what a box in a store links to let its devices' twins live.
//!
//! [`Gateway::open`] opens the durable outbox and keeps a session with the node. What a device says is stamped, made durable and
//! sent ([`Gateway::report`], [`Gateway::event`]); it leaves the outbox only when the node has committed it. What the back
//! office desires comes as a stream ([`Gateway::desired`]), and method calls go to handlers ([`Gateway::on_method`]). Twins of the
//! site are read with [`Gateway::get`] and [`Gateway::read_all`].
//!
//! Promises, and where they are kept:
//! - what `report` returned for is never lost (`outbox::writer`), and takes effect once (`stay`: numbers never repeat);
//! - nothing blocks anything else: what is refused for good is a dead letter ([`Gateway::dead_letters`]), what must wait makes
//!   only its own device wait (`core::refusals`);
//! - everything has a bound ([`limits`]); at one the caller is told.

mod backoff;
mod core;
mod dead_letters;
mod draft;
mod error;
mod gateway;
mod health;
pub mod limits;
mod method;
mod options;
mod outbox;
mod patch;
mod readings;
mod receipt;
mod session;
mod shared;
mod status;
mod stay;
mod update;

pub use crate::core::admission::AppendError;
pub use crate::core::attaching::TwinLink;
pub use crate::core::dead_letters::{DeadLetterPage, ListedDeadLetter, NotReplayed, Outlook};
pub use crate::core::desired::DesiredChange;
pub use crate::core::refusals::LOST_EVENT;
pub use crate::dead_letters::{ReplayError, Replayed};
pub use crate::draft::{Report, SourcePosition};
pub use crate::error::{GetError, OpenError, ReportError};
pub use crate::gateway::{DesiredChanges, Gateway};
pub use crate::health::GatewayHealth;
pub use crate::method::{MethodAnswer, MethodCall};
pub use crate::options::{Options, TraceBatch};
#[doc(hidden)]
pub use crate::outbox::any_rows::outbox_rows_again;
pub use crate::outbox::body::Body;
pub use crate::outbox::dead_letters::{DeadLetter, DeadLetterId};
pub use crate::outbox::disk::{DirectoryDisk, OUTBOX_FILE, OutboxDisk};
pub use crate::outbox::file::OutboxError;
pub use crate::outbox::format::Class;
pub use crate::receipt::{NotAcked, Receipt, Receipts};
pub use crate::status::{Counters, CreditLeft, Status};
pub use crate::update::{Property, Update};
/// Whose file the outbox is: [`OutboxDisk`] names its types.
pub use redb;
pub use twin_core::alarm::Severity;
pub use twin_core::view::{TwinView, ViewError};
pub use twin_transports::auth::{ClientCertificate, Credentials, Identity};
pub use twin_transports::frames::health::HealthError;
