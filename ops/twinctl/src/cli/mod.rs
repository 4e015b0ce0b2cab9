//! What can be typed: [`top`] is the whole, and each group of commands has a file of its own.

mod backup;
mod gateway;
mod site;
mod time;
mod token;
mod top;
mod twin;

pub(crate) use backup::{Backup, BackupFetch};
pub(crate) use gateway::{Gateway, GatewayCertificate};
pub(crate) use site::{Enrolment, OnConflict, Site};
pub(crate) use token::{Scope, Token};
pub(crate) use top::{AuditKind, Cli, Command, Connection, ExportArgs, Node};
pub(crate) use twin::{Conditions, Goal, How, Target, Twin};
