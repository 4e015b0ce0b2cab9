//! Control frames about devices.

use serde::{Deserialize, Serialize};
use twin_core::ids::TwinId;
use twin_core::numbers::{AttachmentNo, CallNo, OwnerOrder, Stay, Version};
use twin_core::op::Op;
use twin_core::record;
use twin_core::refusal::Refusal;
use twin_core::value::Value;

record! {
    /// Gateway to node: I serve these devices. Answered by [`AttachResults`] with the same request number.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Attach {
        /// Chosen by the gateway.
        pub request: u64,
        /// At most [`crate::limits::ATTACH_ITEMS_MAX`].
        pub items: Vec<AttachItem>,
        /// Alarms wait for it: a share of the node's budgets is kept for them.
        pub urgent: bool = false,
    }
}

record! {
    /// One device.
    #[derive(Clone, Debug, PartialEq)]
    pub struct AttachItem {
        /// The device.
        pub twin: TwinId,
        /// The stay to begin or to take up again.
        pub stay: Stay,
        /// The last attachment number the gateway saw for it; 0: none.
        pub saw: AttachmentNo,
        /// The `desired.$version` it knows; 0: nothing. The node sends what is newer.
        pub knows: Version,
    }
}

record! {
    /// Node to gateway.
    #[derive(Clone, Debug, PartialEq)]
    pub struct AttachResults {
        /// The request answered.
        pub request: u64,
        /// In the order of the items.
        pub results: Vec<Result<AttachmentNo, Refusal>>,
    }
}

record! {
    /// Gateway to node: I no longer serve these. Answered by [`DetachResults`].
    #[derive(Clone, Debug, PartialEq)]
    pub struct Detach {
        /// Chosen by the gateway.
        pub request: u64,
        /// Device and the stay to end. At most [`crate::limits::ATTACH_ITEMS_MAX`].
        pub items: Vec<(TwinId, Stay)>,
    }
}

record! {
    /// Node to gateway.
    #[derive(Clone, Debug, PartialEq)]
    pub struct DetachResults {
        /// The request answered.
        pub request: u64,
        /// In the order of the items.
        pub results: Vec<Result<(), Refusal>>,
    }
}

record! {
    /// Node to gateway: `desired` of a device changed. Applied only if `from` is what the gateway knows or `snapshot` is set;
    /// refused if `owner` is lower than one seen before. Confirmed by [`DesiredReceived`].
    #[derive(Clone, Debug, PartialEq)]
    pub struct Desired {
        /// The device.
        pub twin: TwinId,
        /// Who says so.
        pub owner: OwnerOrder,
        /// What the gateway must know already.
        pub from: Version,
        /// What it knows afterwards.
        pub to: Version,
        /// `ops` replace everything known.
        pub snapshot: bool,
        /// The changes.
        pub ops: Vec<Op>,
    }
}

record! {
    /// Node to gateway: as many [`Desired`] at once, each as if it had come by itself, in this order. Sent only to a gateway whose
    /// hello says that it takes them.
    #[derive(Clone, Debug, PartialEq)]
    pub struct DesiredMany {
        /// At most [`crate::limits::DESIRED_ITEMS_MAX`].
        pub items: Vec<Desired>,
    }
}

record! {
    /// Gateway to node: these are in the application's hands ("delivered").
    #[derive(Clone, Debug, PartialEq)]
    pub struct DesiredReceived {
        /// At most [`crate::limits::ATTACH_ITEMS_MAX`].
        pub items: Vec<(TwinId, Version)>,
    }
}

record! {
    /// Node to gateway: call a method of a device. Sent at most once; the gateway keeps the highest number per twin and
    /// ignores lower ones.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Call {
        /// The device.
        pub twin: TwinId,
        /// Who says so.
        pub owner: OwnerOrder,
        /// Committed number of the call.
        pub call: CallNo,
        /// Method name.
        pub method: String,
        /// Payload.
        pub payload: Value,
        /// How long the caller waits.
        pub timeout_ms: u64,
    }
}

record! {
    /// Gateway to node: what came of a call.
    #[derive(Clone, Debug, PartialEq)]
    pub struct CallResult {
        /// The device.
        pub twin: TwinId,
        /// The call answered.
        pub call: CallNo,
        /// What came of it.
        pub outcome: CallOutcome,
    }
}

/// What came of a method call on the gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CallOutcome {
    /// The handler answered.
    Answered {
        /// Application status, HTTP-like: 200 is good.
        status: u16,
        /// Payload.
        payload: Value,
    },
    /// No handler of that name.
    NoSuchMethod,
    /// The device is not attached here (any more).
    NotHere,
}
