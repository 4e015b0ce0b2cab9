//! Who may begin something in a site, while sites are being deleted.
//!
//! A site's row is in the directory and its twins are in a cell: no entry covers both. So whoever is about to put something into
//! a site (a twin, a gateway) enters its gate, then looks at the row, and leaves when what it did is committed or refused; and
//! whoever deletes the site closes the gate first, which waits until nobody is inside.
//!
//! **Invariant:** while a gate is closed, nothing is under way that was begun on an older look at the site's row.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use twin_core::grain::Reply;
use twin_core::ids::SiteId;
use twin_core::refusal::Refusal;

use crate::limits::RETRY_GATE_MS;

#[derive(Debug, Default)]
struct Gate {
    inside: usize,
    is_closed: bool,
}

/// The gates of all sites. Only those that somebody uses are kept.
#[derive(Debug, Default)]
pub struct Gates {
    gates: Mutex<HashMap<SiteId, Gate>>,
    changed: Notify,
}

impl Gates {
    /// Goes in, unless the gate is closed just now. Whether there is a site at all is to be looked at from inside.
    pub fn enter(self: &Arc<Self>, site: &SiteId) -> Result<Inside, Refusal> {
        let mut gates = self.gates.lock();
        let gate = gates.entry(site.clone()).or_default();
        if gate.is_closed {
            let what = format!("the gate of site {site}, which somebody asked to delete,");
            return Err(Refusal::Busy { what, retry_after_ms: RETRY_GATE_MS });
        }
        gate.inside += 1;
        drop(gates);
        Ok(Inside { gates: Arc::clone(self), site: site.clone() })
    }

    /// Closes the gate until what this returns is dropped, and waits for those inside: a commit's deadline at most.
    pub async fn close(self: &Arc<Self>, site: &SiteId) -> Closed {
        self.until(|gates| {
            let gate = gates.entry(site.clone()).or_default();
            !std::mem::replace(&mut gate.is_closed, true)
        })
        .await;
        // Made at once: should the caller give up while it waits, the gate opens again.
        let closed = Closed { gates: Arc::clone(self), site: site.clone() };
        self.until(|gates| gates.get(site).is_none_or(|gate| gate.inside == 0)).await;
        closed
    }

    async fn until(&self, holds: impl Fn(&mut HashMap<SiteId, Gate>) -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            // Before the look: what changes after it wakes this up.
            changed.as_mut().enable();
            if holds(&mut self.gates.lock()) {
                return;
            }
            changed.await;
        }
    }

    fn change(&self, site: &SiteId, change: impl FnOnce(&mut Gate)) {
        let mut gates = self.gates.lock();
        if let Some(gate) = gates.get_mut(site) {
            change(gate);
            if gate.inside == 0 {
                if !gate.is_closed {
                    gates.remove(site);
                }
                drop(gates);
                self.changed.notify_waiters();
            }
        }
    }
}

/// Somebody who is inside a gate, until this is dropped.
#[derive(Debug)]
pub struct Inside {
    gates: Arc<Gates>,
    site: SiteId,
}

impl Inside {
    /// Stays inside until the command is answered, whatever becomes of whoever asked.
    pub fn until_answered(self, reply: Reply) -> Reply {
        Reply::once(move |answer| {
            reply.send(answer);
            drop(self);
        })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.gates.change(&self.site, |gate| gate.inside -= 1);
    }
}

/// A gate that is closed, until this is dropped.
#[derive(Debug)]
pub struct Closed {
    gates: Arc<Gates>,
    site: SiteId,
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.gates.change(&self.site, |gate| gate.is_closed = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_gate_closes_when_nobody_is_inside_and_keeps_everybody_out() {
        let gates = Arc::<Gates>::default();
        let site = SiteId::new("s").unwrap();
        let (one, two) = (gates.enter(&site).unwrap(), gates.enter(&site).unwrap());
        let mut closing = pin!(gates.close(&site));
        assert!(futures_util::poll!(closing.as_mut()).is_pending());
        assert!(matches!(gates.enter(&site), Err(Refusal::Busy { .. })), "while it waits, too");
        drop(gates.enter(&SiteId::new("other").unwrap()).unwrap());
        drop(one);
        assert!(futures_util::poll!(closing.as_mut()).is_pending());
        drop(two.until_answered(Reply::once(|_| ())));
        let closed = closing.await;
        assert!(gates.enter(&site).is_err());
        let mut again = pin!(gates.close(&site));
        assert!(futures_util::poll!(again.as_mut()).is_pending(), "one at a time");
        drop(closed);
        drop(again.await);
        drop(gates.enter(&site).unwrap());
        assert!(gates.gates.lock().is_empty(), "nothing is kept");
    }

    #[tokio::test]
    async fn whoever_gives_up_waiting_leaves_the_gate_open() {
        let gates = Arc::<Gates>::default();
        let site = SiteId::new("s").unwrap();
        let inside = gates.enter(&site).unwrap();
        {
            let mut closing = pin!(gates.close(&site));
            assert!(futures_util::poll!(closing.as_mut()).is_pending());
        }
        drop(gates.enter(&site).unwrap());
        drop(inside);
        assert!(gates.gates.lock().is_empty());
    }
}
