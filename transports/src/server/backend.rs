//! What a session needs of the cluster behind it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use twin_core::command::Command;
use twin_core::grain::Reply;
use twin_core::ids::{GatewayId, TwinId};
use twin_core::limits::ADMITTED_BYTES_MAX;
use twin_core::numbers::{Boot, OutboxId, OwnerOrder, Version, WallTime};
use twin_core::op::Op;
use twin_core::refusal::Refusal;

use crate::auth::GatewayKey;
use crate::credit::Load;
use crate::frames::device::Call;
use crate::frames::session::Heartbeat;

/// What the node keeps of a gateway's credentials: never the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayCredential {
    /// Product key.
    pub product_key: String,
    /// Its key.
    pub key: GatewayKey,
    /// The key before it, while that still works.
    pub ending_key: Option<GatewayKey>,
    /// When this was looked up: a certificate that had ended by then is refused. (As with tokens, the wall clock decides about the end
    /// of a credential, and about nothing else.)
    pub now: WallTime,
}

/// A hello whose proof was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedHello {
    /// Who.
    pub gateway: GatewayId,
    /// Its outbox.
    pub outbox: OutboxId,
    /// Its boot.
    pub boot: Boot,
    /// New for each boot.
    pub boot_nonce: [u8; 16],
    /// Software, for people.
    pub agent: String,
    /// Where it connects from, for people.
    pub peer: String,
    /// The key that its proof was made with.
    pub key: GatewayKey,
    /// When the certificate ends that it showed, if it did and that has an end.
    pub ends_at: Option<WallTime>,
}

/// An open session, as the backend knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionGrant {
    /// Number of the session on this node; unique for the node's run.
    pub session: u64,
    /// Position of this owner among all owners.
    pub owner: OwnerOrder,
    /// The site's enrolment is open.
    pub enrolment_open: bool,
}

/// A numbered message on its way to its twin.
pub struct Submission {
    /// Which twin.
    pub twin: TwinId,
    /// A [`Command::State`] or [`Command::Event`].
    pub command: Command,
    /// What it weighs for admission.
    pub bytes: usize,
    /// Where the answer goes.
    pub reply: Reply,
}

/// The node's side of things, as a session sees it. Implemented by the cluster.
pub trait Backend: Send + Sync + 'static {
    /// Credentials of a gateway; `None` if there is none (never existed, or revoked).
    fn credential(&self, gateway: &GatewayId) -> impl Future<Output = Option<GatewayCredential>> + Send;

    /// A proof did not hold, or there is no such gateway. `how` says what was shown. For whoever watches.
    fn credential_refused(&self, gateway: &GatewayId, peer: SocketAddr, how: &str) {
        let _ = (gateway, peer, how);
    }

    /// Messages of a batch were refused that a gateway only sends if they are not its own: of a device that it did not attach, or that
    /// another site has. `how` says what was wrong with the first of them. For whoever watches.
    fn messages_refused(&self, gateway: &GatewayId, count: u64, how: &str) {
        let _ = (gateway, count, how);
    }

    /// Commits the outbox and the boot of a verified hello and opens the session. A boot that is not above the committed one
    /// (or equal with the same nonce: a reconnect) is refused: the gateway needs a new outbox id. An older session of the same
    /// gateway is closed as replaced.
    fn open_session(
        &self,
        hello: VerifiedHello,
        downlink: Arc<dyn Downlink>,
    ) -> impl Future<Output = Result<SessionGrant, Refusal>> + Send;

    /// The session is over. Does nothing to a newer session of the same gateway.
    fn close_session(&self, gateway: &GatewayId, session: u64);

    /// Gives a command to a twin. `bytes` is what it weighs for admission (its encoded size); past the budget the answer is
    /// `Busy` at once. The commands that one session submits for one twin are carried out in the order of these calls.
    fn submit(&self, twin: &TwinId, command: Command, bytes: usize, reply: Reply);

    /// As [`Backend::submit`], for what alarms wait for: it may use the share of the budgets that is kept for them.
    fn submit_urgent(&self, twin: &TwinId, command: Command, bytes: usize, reply: Reply) {
        self.submit(twin, command, bytes, reply);
    }

    /// Gives the messages of one batch to their twins, in their order: [`Backend::submit`] for each, at less cost.
    fn submit_all(&self, batch: Vec<Submission>);

    /// A device's answer to a method call.
    fn call_answered(&self, gateway: &GatewayId, result: crate::frames::device::CallResult);

    /// How full the node is: what credit goes by. Asked for every batch, so it must be cheap.
    fn load(&self) -> Load {
        Load { budget_bytes: ADMITTED_BYTES_MAX as u64, fill_permille: 0 }
    }

    /// A heartbeat arrived.
    fn heartbeat(&self, gateway: &GatewayId, session: u64, heartbeat: Heartbeat);
}

/// What the backend can tell a session. Calls never block and never queue without bound: a desired change is only a note that
/// there is something newer to fetch.
pub trait Downlink: Send + Sync {
    /// `desired` of a twin is (being) newer than before; the session fetches the delta and sends it if the twin is attached
    /// through it.
    fn desired_changed(&self, twin: &TwinId);

    /// As [`Downlink::desired_changed`], with what changed: `desired` became `version`, which is one above what it was, by these
    /// operations. Called in the order of the commits. A session that knows the version before sends them as they are; any other
    /// takes it for the note that it is.
    fn desired_became(&self, twin: &TwinId, version: Version, ops: &[Op]) {
        let _ = (version, ops);
        self.desired_changed(twin);
    }

    /// The current attachment of the twin is no longer this session's.
    fn detached(&self, twin: &TwinId);

    /// Sends a method call now; `false` if the session is closing or its queue of calls is full (then it was not sent).
    fn call(&self, call: Call) -> bool;

    /// Tells the gateway something that its people should know; the session goes on. Lost where the session cannot take it.
    fn notice(&self, code: &'static str, message: &str) {
        let _ = (code, message);
    }

    /// Ends the session with this code and message for the gateway.
    fn close(&self, code: &'static str, message: &str);
}
