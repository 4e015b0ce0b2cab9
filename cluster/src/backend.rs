//! The cluster as gateway sessions see it.

use std::sync::Arc;

use twin_core::command::Command;
use twin_core::grain::Reply;
use twin_core::ids::{GatewayId, TwinId};
use twin_core::refusal::Refusal;
use twin_transports::frames::device::CallResult;
use twin_transports::frames::session::Heartbeat;
use twin_transports::server::{Backend, Downlink, GatewayCredential, SessionGrant, Submission, VerifiedHello};

use crate::cluster::Cluster;
use crate::view::Enrolment;

impl Cluster {
    fn enrolment_open(&self, site: &twin_core::ids::SiteId) -> bool {
        matches!(self.inner.directory.site(site), Ok(Some(row)) if row.enrolment == Enrolment::Open)
    }
}

impl Backend for Cluster {
    async fn credential(&self, gateway: &GatewayId) -> Option<GatewayCredential> {
        self.inner.gateways.credential(gateway).ok().flatten()
    }

    async fn open_session(&self, hello: VerifiedHello, downlink: Arc<dyn Downlink>) -> Result<SessionGrant, Refusal> {
        self.inner.gateways.hello(&hello).await?;
        let gateway = hello.gateway.clone();
        let owner = self.owner_order(&gateway.site)?;
        let number = self.inner.sessions.next_number();
        // Calls that went down an older session will not be answered on this one.
        self.inner.methods.link_lost(&gateway);
        self.inner.sessions.open(number, hello, downlink, self.inner.clock.wall());
        // The credentials may have been removed while the hello was committed: the removal looked for a session before this
        // one was open, so it is this side that must look again.
        if self.inner.gateways.get(&gateway)?.is_none() {
            self.inner.sessions.revoke(&gateway);
            return Err(Refusal::GatewayNotFound { site: gateway.site, name: gateway.name });
        }
        Ok(SessionGrant { session: number, owner, enrolment_open: self.enrolment_open(&gateway.site) })
    }

    fn close_session(&self, gateway: &GatewayId, session: u64) {
        if self.inner.sessions.close(gateway, session, self.inner.clock.wall()) {
            self.inner.methods.link_lost(gateway);
        }
    }

    fn submit(&self, twin: &TwinId, mut command: Command, bytes: usize, reply: Reply) {
        if let Command::Attach { sender, may_create, .. } = &mut command {
            // As the site is now, not as it was when the session was opened.
            *may_create = self.enrolment_open(&sender.gateway.site);
        }
        self.inner.cell.submit(twin, command, bytes, reply);
    }

    fn submit_all(&self, batch: Vec<Submission>) {
        self.inner.cell.submit_all(batch);
    }

    fn call_answered(&self, gateway: &GatewayId, result: CallResult) {
        self.inner.methods.answered(gateway, &result.twin, result.call, result.outcome);
    }

    fn heartbeat(&self, gateway: &GatewayId, session: u64, heartbeat: Heartbeat) {
        self.inner.sessions.heartbeat(gateway, session, &heartbeat, self.inner.clock.wall());
    }
}
