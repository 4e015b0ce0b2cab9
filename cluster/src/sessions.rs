//! Open gateway sessions of this node, and what their gateways last said of themselves.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;
use twin_core::ids::{GatewayId, TwinId};
use twin_core::numbers::{OutboxId, Version, WallTime};
use twin_core::op::Op;
use twin_transports::auth::GatewayKey;
use twin_transports::frames::device::Call;
use twin_transports::frames::session::Heartbeat;
use twin_transports::server::{Downlink, VerifiedHello};

use crate::summary::GatewaysSummary;
use crate::view::GatewayStatus;

/// A gateway's session.
pub struct Session {
    /// Unique for the node's run.
    pub number: u64,
    /// How it introduced itself.
    pub hello: VerifiedHello,
    /// When it was opened.
    pub opened_at: WallTime,
    downlink: Arc<dyn Downlink>,
}

/// What is remembered of a gateway, also when its session is gone.
#[derive(Clone, Default)]
pub struct LastHeard {
    /// When.
    pub at: WallTime,
    /// Its last heartbeat.
    pub status: Option<GatewayStatus>,
}

#[derive(Default)]
struct Table {
    open: HashMap<GatewayId, Session>,
    /// One per gateway with credentials, so bounded by them; removed with them.
    heard: HashMap<GatewayId, LastHeard>,
    /// Gateways whose session was opened with a key that is not the current one. Of those with a session only.
    on_old_keys: HashSet<GatewayId>,
    last_number: u64,
}

/// The table of sessions.
#[derive(Default)]
pub struct Sessions {
    table: RwLock<Table>,
}

impl Sessions {
    /// Number for a new session.
    pub fn next_number(&self) -> u64 {
        let mut table = self.table.write();
        table.last_number += 1;
        table.last_number
    }

    /// Puts a session in place. An older one of the same gateway is closed as replaced.
    pub fn open(&self, number: u64, hello: VerifiedHello, downlink: Arc<dyn Downlink>, now: WallTime) {
        let gateway = hello.gateway.clone();
        let before = {
            let mut table = self.table.write();
            table.heard.entry(gateway.clone()).or_default().at = now;
            if table.open.get(&gateway).is_some_and(|session| session.number > number) {
                // A newer session was quicker.
                Some(downlink)
            } else {
                table.on_old_keys.remove(&gateway);
                table.open.insert(gateway, Session { number, hello, opened_at: now, downlink }).map(|old| old.downlink)
            }
        };
        if let Some(before) = before {
            before.close("replaced", "the gateway opened a newer session");
        }
    }

    /// Removes a session, but never a newer one of the same gateway. Says whether it was the current one.
    pub fn close(&self, gateway: &GatewayId, number: u64, now: WallTime) -> bool {
        let mut table = self.table.write();
        let current = table.open.get(gateway).is_some_and(|session| session.number == number);
        if current {
            table.on_old_keys.remove(gateway);
            table.open.remove(gateway);
            table.heard.entry(gateway.clone()).or_default().at = now;
        }
        current
    }

    /// From where a gateway has a session with another outbox than this one.
    pub fn other_outbox(&self, gateway: &GatewayId, outbox: OutboxId) -> Option<String> {
        let table = self.table.read();
        table
            .open
            .get(gateway)
            .filter(|session| session.hello.outbox != outbox)
            .map(|session| session.hello.peer.clone())
    }

    /// Tells a gateway something, if it is connected; see [`Downlink::notice`].
    pub fn notice(&self, gateway: &GatewayId, code: &'static str, message: &str) {
        if let Some(session) = self.table.read().open.get(gateway) {
            session.downlink.notice(code, message);
        }
    }

    /// Ends a gateway's session if the key that it was opened with no longer works. Says whether it did.
    pub fn end_unless(&self, gateway: &GatewayId, takes: impl FnOnce(&GatewayKey) -> bool) -> bool {
        let ended = {
            let mut table = self.table.write();
            match table.open.get(gateway) {
                Some(session) if !takes(&session.hello.key) => {
                    table.on_old_keys.remove(gateway);
                    table.open.remove(gateway)
                }
                _ => None,
            }
        };
        if let Some(session) = &ended {
            session.downlink.close("revoked", "the key of this session has ended: the gateway has newer credentials");
        }
        ended.is_some()
    }

    /// Ends the sessions whose certificates have ended by now. Says whose.
    pub fn end_expired(&self, now: WallTime) -> Vec<GatewayId> {
        let has_ended = |session: &Session| session.hello.ends_at.is_some_and(|ends_at| ends_at <= now);
        // Once a second, while others read too; there is almost never one.
        if !self.table.read().open.values().any(has_ended) {
            return Vec::new();
        }
        let ended: Vec<(GatewayId, Session)> = {
            let mut table = self.table.write();
            let ended: Vec<_> = table.open.extract_if(|_, session| has_ended(session)).collect();
            for (gateway, _) in &ended {
                table.on_old_keys.remove(gateway);
                table.heard.entry(gateway.clone()).or_default().at = now;
            }
            ended
        };
        let close = |(gateway, session): (GatewayId, Session)| {
            session.downlink.close("certificate-expired", "the gateway's certificate has ended: renew it");
            gateway
        };
        ended.into_iter().map(close).collect()
    }

    /// The gateway's session, if it has one, is on a key that will end.
    pub fn watch_key(&self, gateway: &GatewayId) {
        let mut table = self.table.write();
        if table.open.contains_key(gateway) {
            table.on_old_keys.insert(gateway.clone());
        }
    }

    /// Gateways whose sessions may be on keys that end.
    pub fn on_old_keys(&self) -> Vec<GatewayId> {
        self.table.read().on_old_keys.iter().cloned().collect()
    }

    /// Ends a gateway's session because its credentials are gone.
    pub fn revoke(&self, gateway: &GatewayId) {
        let session = {
            let mut table = self.table.write();
            table.heard.remove(gateway);
            table.on_old_keys.remove(gateway);
            table.open.remove(gateway)
        };
        if let Some(session) = session {
            session.downlink.close("revoked", "the gateway's credentials were removed");
        }
    }

    /// A heartbeat arrived on a session.
    pub fn heartbeat(&self, gateway: &GatewayId, number: u64, heartbeat: &Heartbeat, now: WallTime) {
        let mut table = self.table.write();
        if table.open.get(gateway).is_some_and(|session| session.number == number) {
            let status = Some(GatewayStatus {
                uptime_ms: heartbeat.uptime_ms,
                backlog_messages: heartbeat.backlog_messages,
                backlog_bytes: heartbeat.backlog_bytes,
                backlog_bytes_max: heartbeat.backlog_bytes_max,
                dead_letters: heartbeat.dead_letters,
                devices: heartbeat.devices,
                health: heartbeat.health,
            });
            table.heard.insert(gateway.clone(), LastHeard { at: now, status });
        }
    }

    /// Tells a gateway that `desired` of a twin became this version by these operations, if it is connected.
    pub fn desired_became(&self, gateway: &GatewayId, twin: &TwinId, version: Version, ops: &[Op]) {
        if let Some(session) = self.table.read().open.get(gateway) {
            session.downlink.desired_became(twin, version, ops);
        }
    }

    /// Tells a gateway that a twin is no longer attached through it.
    pub fn detached(&self, gateway: &GatewayId, twin: &TwinId) {
        if let Some(session) = self.table.read().open.get(gateway) {
            session.downlink.detached(twin);
        }
    }

    /// Sends a method call down; `false` if the gateway is not connected or its queue of calls is full.
    pub fn call(&self, gateway: &GatewayId, call: Call) -> bool {
        self.table.read().open.get(gateway).is_some_and(|session| session.downlink.call(call))
    }

    /// Has the gateway a session?
    pub fn is_connected(&self, gateway: &GatewayId) -> bool {
        self.table.read().open.contains_key(gateway)
    }

    /// Reads a gateway's session and what was last heard of it.
    pub fn look<T>(&self, gateway: &GatewayId, read: impl FnOnce(Option<&Session>, Option<&LastHeard>) -> T) -> T {
        let table = self.table.read();
        read(table.open.get(gateway), table.heard.get(gateway))
    }

    /// What all gateways with sessions say of themselves, in sum.
    pub fn summary(&self) -> GatewaysSummary {
        let table = self.table.read();
        let mut summary = GatewaysSummary::default();
        for (gateway, session) in &table.open {
            let by_certificate = matches!(session.hello.key, GatewayKey::Certificate(_));
            summary.add(by_certificate, table.heard.get(gateway).and_then(|heard| heard.status));
        }
        summary
    }

    /// Open sessions.
    pub fn count(&self) -> usize {
        self.table.read().open.len()
    }
}
