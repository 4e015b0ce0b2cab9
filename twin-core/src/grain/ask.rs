//! A command that waits for its turn.

use tracing::Span;

use super::reply::Reply;
use crate::command::Command;

/// A command that waits for its turn. If it is dropped, its [`Reply`] tells the asker.
pub struct Ask<A> {
    /// What to do.
    pub command: Command,
    /// Where the answer goes.
    pub reply: Reply,
    /// What admitted the command; released with the answer.
    pub admission: A,
    /// Parent of the turn's and the commit's spans, where the command is traced; otherwise [`Span::none`], which costs
    /// nothing.
    pub span: Span,
}
