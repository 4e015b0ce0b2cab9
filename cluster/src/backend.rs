//! The cluster as gateway sessions see it.

use std::net::SocketAddr;
use std::sync::Arc;

use twin_core::command::Command;
use twin_core::grain::Reply;
use twin_core::ids::{GatewayId, SiteId, TwinId};
use twin_core::refusal::Refusal;
use twin_transports::credit::Load;
use twin_transports::frames::device::CallResult;
use twin_transports::frames::session::Heartbeat;
use twin_transports::server::{Backend, Downlink, GatewayCredential, SessionGrant, Submission, VerifiedHello};

use crate::cluster::Cluster;
use crate::security::SecurityEvent;
use crate::view::Enrolment;

impl Cluster {
    fn enrolment(&self, site: &SiteId) -> Enrolment {
        self.inner.directory.open_site(site).map(|row| row.enrolment).unwrap_or_default()
    }

    /// May the first attach of a device register it?
    fn enrols(&self, site: &SiteId, twin: &TwinId) -> bool {
        match self.enrolment(site) {
            Enrolment::Open => true,
            Enrolment::List => self.is_listed(site, twin),
            Enrolment::Registered => false,
        }
    }

    pub(crate) fn tell(&self, event: SecurityEvent) {
        if let Some(tell) = &self.inner.options.on_security_event {
            tell(event);
        }
    }

    /// **Both sides hear of it:** the newer one by its refusal or by a notice, the older one by a notice or by how its session ends.
    fn conflict(&self, hello: &VerifiedHello, standing: String, denied: bool) {
        let gateway = &hello.gateway;
        tracing::warn!(%gateway, peer = hello.peer, standing, denied, "two gateways with one credential");
        if denied {
            let message = format!(
                "another gateway came from {} with the credentials of {gateway} and was refused; if it is not yours, rotate them",
                hello.peer
            );
            self.inner.sessions.notice(gateway, CREDENTIAL_CONFLICT, &message);
        }
        let (gateway, peer) = (gateway.clone(), hello.peer.clone());
        self.tell(SecurityEvent::CredentialConflict { gateway, peer, standing, denied });
    }
}

impl Cluster {
    /// An attach that finds no twin, and may not make one, is a device that nobody knows; and another site's device is not this
    /// gateway's to attach.
    fn watched(&self, twin: TwinId, gateway: GatewayId, reply: Reply) -> Reply {
        let cluster = self.clone();
        Reply::once(move |answer| {
            if let Err(refusal @ (Refusal::NotFound { .. } | Refusal::OtherSite { .. })) = &answer {
                let how = refusal.to_string();
                cluster.tell(SecurityEvent::DeviceRefused { gateway, twin, how });
            }
            reply.send(answer);
        })
    }
}

impl Cluster {
    fn submit_as(&self, twin: &TwinId, mut command: Command, bytes: usize, mut reply: Reply, urgent: bool) {
        if let Command::Attach { sender, may_create, .. } = &mut command {
            let inside = match self.inner.gates.enter(&sender.gateway.site) {
                Ok(inside) => inside,
                Err(refusal) => return reply.send(Err(refusal)),
            };
            // As the site is now, not as it was when the session was opened.
            *may_create = self.enrols(&sender.gateway.site, twin);
            if *may_create {
                reply = inside.until_answered(reply);
            }
            reply = self.watched(twin.clone(), sender.gateway.clone(), reply);
        }
        if urgent {
            self.inner.cell.submit_urgent(twin, command, bytes, reply);
        } else {
            self.inner.cell.submit(twin, command, bytes, reply);
        }
    }
}

/// What a notice about two gateways with one credential is called.
const CREDENTIAL_CONFLICT: &str = "credential-conflict";

impl Backend for Cluster {
    async fn credential(&self, gateway: &GatewayId) -> Option<GatewayCredential> {
        self.inner.gateways.credential(gateway, self.inner.clock.wall()).ok().flatten()
    }

    fn credential_refused(&self, gateway: &GatewayId, peer: SocketAddr, how: &str) {
        let (gateway, peer, how) = (gateway.clone(), peer.ip().to_string(), how.to_owned());
        self.tell(SecurityEvent::CredentialRefused { gateway, peer, how });
    }

    fn messages_refused(&self, gateway: &GatewayId, count: u64, how: &str) {
        let (gateway, how) = (gateway.clone(), how.to_owned());
        self.tell(SecurityEvent::MessagesRefused { gateway, count, how });
    }

    async fn open_session(&self, hello: VerifiedHello, downlink: Arc<dyn Downlink>) -> Result<SessionGrant, Refusal> {
        let gateway = hello.gateway.clone();
        let owner = self.owner_order(&gateway.site)?;
        let policy = self.inner.directory.site(&gateway.site)?.map(|row| row.conflict).unwrap_or_default();
        let in_use = || self.inner.sessions.other_outbox(&gateway, hello.outbox);
        let welcomed = match self.inner.gateways.hello(&hello, policy, in_use).await {
            Ok(welcomed) => welcomed,
            Err((refusal, standing)) => {
                if let Some(standing) = standing {
                    self.conflict(&hello, standing, true);
                }
                return Err(refusal);
            }
        };
        if let Some(standing) = welcomed.standing.clone() {
            let message = format!(
                "a session with these credentials was open from {standing} and was closed; if it is not yours, rotate them"
            );
            downlink.notice(CREDENTIAL_CONFLICT, &message);
            self.conflict(&hello, standing, false);
        }
        let number = self.inner.sessions.next_number();
        let key = hello.key;
        // Calls that went down an older session will not be answered on this one.
        self.inner.methods.link_lost(&gateway);
        self.inner.sessions.open(number, hello, downlink, self.inner.clock.wall());
        drop(welcomed);
        // The credentials may have been removed or their key may have ended while the hello was committed: whoever did that looked
        // for a session before this one was open, so it is this side that must look again.
        let row = self.inner.gateways.get(&gateway)?;
        if row.as_ref().is_some_and(|row| row.key() != key) {
            self.inner.sessions.watch_key(&gateway);
        }
        if !row.is_some_and(|row| row.takes(&key, self.inner.clock.wall())) {
            self.inner.sessions.revoke(&gateway);
            return Err(Refusal::GatewayNotFound { site: gateway.site, name: gateway.name });
        }
        Ok(SessionGrant { session: number, owner, enrolment_open: self.enrolment(&gateway.site) == Enrolment::Open })
    }

    fn close_session(&self, gateway: &GatewayId, session: u64) {
        if self.inner.sessions.close(gateway, session, self.inner.clock.wall()) {
            self.inner.methods.link_lost(gateway);
        }
    }

    fn submit(&self, twin: &TwinId, command: Command, bytes: usize, reply: Reply) {
        self.submit_as(twin, command, bytes, reply, false);
    }

    fn submit_urgent(&self, twin: &TwinId, command: Command, bytes: usize, reply: Reply) {
        self.submit_as(twin, command, bytes, reply, true);
    }

    fn submit_all(&self, batch: Vec<Submission>) {
        self.inner.cell.submit_all(batch);
    }

    fn call_answered(&self, gateway: &GatewayId, result: CallResult) {
        self.inner.methods.answered(gateway, &result.twin, result.call, result.outcome);
    }

    fn load(&self) -> Load {
        self.inner.cell.load()
    }

    fn heartbeat(&self, gateway: &GatewayId, session: u64, heartbeat: Heartbeat) {
        self.inner.sessions.heartbeat(gateway, session, &heartbeat, self.inner.clock.wall());
    }
}
