//! Opening a session and keeping it.

use serde::{Deserialize, Serialize};
use twin_core::ids::{GatewayName, SiteId};
use twin_core::numbers::{Boot, OutboxId, OwnerOrder};
use twin_core::record;

use super::health::Health;

/// Version of the protocol that this release speaks. Others are refused by name.
pub const PROTOCOL_VERSION: u32 = 1;

/// What a stream is for; the first frame on it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StreamClass {
    /// Handshake, attach, and everything that goes down.
    Control,
    /// Numbered messages of the twin-state class.
    State,
    /// Events.
    Telemetry,
    /// Readings of twins and their answers.
    Readings,
    /// Numbered messages of the alarm class. Only where the [`Welcome`] says that the node takes it.
    Alarms,
}

record! {
    /// First frame of a stream.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Open {
        /// The stream's class.
        pub class: StreamClass,
    }
}

record! {
    /// Gateway to node, on control: who I am. The secret never crosses the wire.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Hello {
        /// [`PROTOCOL_VERSION`] of the gateway.
        pub protocol: u32,
        /// The site it wants to speak for: its own.
        pub site: SiteId,
        /// Its name in the site.
        pub name: GatewayName,
        /// Product key of its credentials.
        pub product_key: String,
        /// 16 random bytes, new for each connection.
        pub nonce: [u8; 16],
        /// Its outbox.
        pub outbox: OutboxId,
        /// How often the outbox was opened. The node commits it.
        pub boot: Boot,
        /// 16 random bytes, new for each boot: tells a reconnect from a rolled-back disk with the same boot number.
        pub boot_nonce: [u8; 16],
        /// Name and version of the software, for people. At most 128 bytes.
        pub agent: String = String::new(),
        /// It takes [`DesiredMany`](super::device::DesiredMany).
        pub desired_many: bool = false,
        /// It keeps to credit, see [`crate::credit`].
        pub credit: bool = false,
        /// It proves itself by the certificate that TLS showed: no challenge follows, but the welcome.
        pub by_certificate: bool = false,
    }
}

record! {
    /// Node to gateway: sign this.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Challenge {
        /// 32 random bytes.
        pub nonce: [u8; 32],
    }
}

record! {
    /// Gateway to node: Ed25519 signature by the gateway's secret (the seed of the key pair) over
    /// [`crate::auth::proof_input`], which binds both nonces, all names and the TLS channel
    /// (exporter of RFC 8446 section 7.5). The node knows the public key only.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Proof {
        /// 64 bytes.
        pub signature: Vec<u8>,
    }
}

record! {
    /// Node to gateway: the session is open.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Welcome {
        /// Number of this session on the node, for logs.
        pub session: u64,
        /// Position of this owner among all owners.
        pub owner: OwnerOrder,
        /// How often the node wants a heartbeat, in milliseconds.
        pub heartbeat_ms: u32,
        /// Most bytes in a frame.
        pub frame_bytes_max: u32,
        /// It takes [`StreamClass::Alarms`].
        pub alarms: bool = false,
        /// What each stream may send at first; `None`: there is no credit, the gateway sends as it likes.
        pub credit: Option<FirstCredit> = None,
    }
}

record! {
    /// Totals up to which the streams of a session may be used before the node has said more.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FirstCredit {
        /// Of a [`StreamClass::State`] stream.
        pub state: u64,
        /// Of a [`StreamClass::Telemetry`] stream.
        pub telemetry: u64,
        /// Of a [`StreamClass::Alarms`] stream: a share that is kept for it.
        pub alarms: u64,
    }
}

record! {
    /// Node to gateway, on the stream that it is about: there is credit again up to this total. Only where no
    /// [`BatchAck`](super::batch::BatchAck) is due that could say so.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Credit {
        /// The total.
        pub total: u64,
    }
}

record! {
    /// Node to gateway: no, or no more. The node closes the connection after it.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Refused {
        /// Stable code, see [`crate::refuse::SessionRefusal`].
        pub code: String,
        /// For people.
        pub message: String,
        /// When trying again makes sense; `None`: not without a change on the gateway's side.
        pub retry_after_ms: Option<u64>,
    }
}

record! {
    /// Node to gateway: something that its people should know. The session goes on.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Notice {
        /// Stable code, such as `credential-conflict`.
        pub code: String,
        /// For people.
        pub message: String,
    }
}

record! {
    /// Datagram from gateway to node: alive, and how it is. Needs no ack.
    #[derive(Clone, Debug, PartialEq, Default)]
    pub struct Heartbeat {
        /// Rises with each heartbeat of the boot; older ones that arrive late are ignored.
        pub number: u64,
        /// Milliseconds since the gateway's boot, monotonic.
        pub uptime_ms: u64,
        /// Messages in the outbox.
        pub backlog_messages: u64,
        /// Bytes in the outbox.
        pub backlog_bytes: u64,
        /// Cap of the outbox in bytes.
        pub backlog_bytes_max: u64,
        /// Messages refused for good, kept for the gateway's owner.
        pub dead_letters: u64,
        /// Devices attached.
        pub devices: u64,
        /// How its box and its link are.
        pub health: Health = Health::default(),
    }
}
