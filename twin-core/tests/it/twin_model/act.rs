//! Random commands.

use proptest::prelude::*;
use twin_core::op::Op;
use twin_core::value::Value;

use crate::arbitrary::{object, ops};

/// What a random history is made of.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Put {
        tags: Value,
        desired: Value,
    },
    Patch {
        patch: Value,
    },
    Delete,
    Attach {
        who: Who,
        saw: Saw,
        may_create: bool,
    },
    Detach {
        who: Who,
    },
    State {
        who: Who,
        from: i64,
        length: u64,
        body: Body,
    },
    /// `length` above 0: that many numbers more are lost with it.
    Alarm {
        who: Who,
        from: i64,
        length: u64,
        lost: bool,
    },
    Event {
        who: Who,
        boot: u64,
        ahead: i64,
    },
    Delivered {
        gateway: usize,
        version: u64,
    },
    Delta {
        since: u64,
    },
    Reload,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    Report(Vec<Op>),
    Lost,
    Applied(u64),
    /// Breaks a rule.
    Bad,
}

/// A gateway, its outbox, and a stay on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Who {
    pub(super) gateway: usize,
    pub(super) outbox: u8,
    pub(super) boot: u64,
    pub(super) counter: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Saw {
    Last,
    Raw(u64),
}

pub(super) fn who() -> impl Strategy<Value = Who> {
    (0usize..3, prop_oneof![9 => Just(1u8), 1 => Just(2u8)], 1u64..3, 1u32..3)
        .prop_map(|(gateway, outbox, boot, counter)| Who { gateway, outbox, boot, counter })
}

pub(super) fn act() -> impl Strategy<Value = Act> {
    let body = prop_oneof![
        6 => ops().prop_map(Body::Report),
        1 => Just(Body::Lost),
        1 => (0u64..9).prop_map(Body::Applied),
        1 => Just(Body::Bad),
    ];
    prop_oneof![
        2 => (object(1, false), object(2, true)).prop_map(|(tags, desired)| Act::Put { tags, desired }),
        3 => object(2, true).prop_map(|patch| Act::Patch { patch }),
        1 => Just(Act::Delete),
        6 => (who(), prop_oneof![4 => Just(Saw::Last), 1 => (0u64..6).prop_map(Saw::Raw)], any::<bool>())
            .prop_map(|(who, saw, may_create)| Act::Attach { who, saw, may_create }),
        1 => who().prop_map(|who| Act::Detach { who }),
        // Mostly the next number; sometimes earlier, overlapping or too far.
        14 => (who(), prop_oneof![6 => Just(1i64), 1 => -2i64..4], 0u64..3, body)
            .prop_map(|(who, from, length, body)| Act::State { who, from, length, body }),
        5 => (who(), prop_oneof![6 => Just(1i64), 1 => -2i64..4], prop_oneof![4 => Just(0u64), 1 => 0u64..3], any::<bool>())
            .prop_map(|(who, from, length, lost)| Act::Alarm { who, from, length, lost: lost && length > 0 }),
        4 => (who(), 1u64..3, prop_oneof![6 => Just(1i64), 1 => -1i64..3])
            .prop_map(|(who, boot, ahead)| Act::Event { who, boot, ahead }),
        1 => (0usize..3, 0u64..9).prop_map(|(gateway, version)| Act::Delivered { gateway, version }),
        2 => (0u64..9).prop_map(|since| Act::Delta { since }),
        2 => Just(Act::Reload),
    ]
}
