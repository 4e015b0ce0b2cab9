//! What whoever watches over a cluster should hear of. The cluster tells; the node counts, and writes it down.

use std::sync::Arc;

use twin_core::ids::{GatewayId, TwinId};

/// Something that should not happen where all is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecurityEvent {
    /// A hello's proof did not hold, or there is no such gateway.
    CredentialRefused {
        /// Who it said that it was.
        gateway: GatewayId,
        /// Where it came from.
        peer: String,
        /// What was shown, and what was wrong with it.
        how: String,
    },
    /// Two gateways came with one credential.
    CredentialConflict {
        /// Whose credentials.
        gateway: GatewayId,
        /// Where the newer one came from.
        peer: String,
        /// Where the one with a session came from.
        standing: String,
        /// The newer one was refused; otherwise the older session was closed.
        denied: bool,
    },
    /// A device was to be attached that nobody registered and that its site's enrolment does not let in, or that another site has.
    DeviceRefused {
        /// Through which gateway.
        gateway: GatewayId,
        /// The device.
        twin: TwinId,
        /// What was wrong.
        how: String,
    },
    /// Messages came from a gateway that did not attach their devices, or whose site does not have them: as replayed ones would.
    MessagesRefused {
        /// Which gateway.
        gateway: GatewayId,
        /// How many, in one batch.
        count: u64,
        /// What was wrong with the first of them.
        how: String,
    },
}

/// Is called with each event, on whichever thread saw it: it must not wait.
pub type OnSecurityEvent = Arc<dyn Fn(SecurityEvent) + Send + Sync>;
