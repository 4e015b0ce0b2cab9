//! Security events on their way to the audit log: counted all, written so that nobody can fill it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::line::{Kind, Record};
use super::writer::Audit;
use crate::limits::AUDIT_SOURCES_MAX;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// A token that is none.
    TokenRefused,
    /// A token that has ended.
    TokenExpired,
    /// A token whose scope is not enough.
    ScopeRefused,
    /// A gateway's proof that does not hold.
    CredentialRefused,
    /// Two gateways with one credential.
    CredentialConflict,
    /// A device that nobody registered, and that its site's list does not have.
    DeviceRefused,
}

impl Event {
    const ALL: [Self; 6] = [
        Self::TokenRefused,
        Self::TokenExpired,
        Self::ScopeRefused,
        Self::CredentialRefused,
        Self::CredentialConflict,
        Self::DeviceRefused,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::TokenRefused => "token-refused",
            Self::TokenExpired => "token-expired",
            Self::ScopeRefused => "scope-refused",
            Self::CredentialRefused => "credential-refused",
            Self::CredentialConflict => "credential-conflict",
            Self::DeviceRefused => "device-refused",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EventLabels {
    event: &'static str,
}

/// Where all sources beyond the bound are counted.
const OTHERS: &str = "others";

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Watch(Arc<Inner>);

struct Inner {
    audit: Audit,
    counted: Family<EventLabels, Counter>,
    /// What was seen since the last [`Watch::gather`], by event and source: the first was written, these came after it.
    window: Mutex<HashMap<(Event, String), u64>>,
}

impl Watch {
    pub(crate) fn new(audit: Audit) -> Self {
        let counted = Family::<EventLabels, Counter>::default();
        for event in Event::ALL {
            // Shown from the start, so that a first one is an increase.
            drop(counted.get_or_create(&EventLabels { event: event.as_str() }));
        }
        Self(Arc::new(Inner { audit, counted, window: Mutex::default() }))
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "twinmesh_security_events",
            "Credentials refused or used twice, scopes exceeded, unknown devices",
            self.0.counted.clone(),
        );
    }

    /// Something happened. Of one `source` only the first in a while is written by itself.
    pub(crate) fn seen(&self, event: Event, source: String, details: impl FnOnce(&mut Record)) {
        self.0.counted.get_or_create(&EventLabels { event: event.as_str() }).inc();
        {
            let mut window = self.0.window.lock();
            let full = window.len() >= AUDIT_SOURCES_MAX;
            if let Some(more) = window.get_mut(&(event, source.clone())) {
                *more += 1;
                return;
            }
            if full {
                *window.entry((event, OTHERS.to_owned())).or_default() += 1;
                return;
            }
            window.insert((event, source), 0);
        }
        let mut record = Record::new(Kind::Security, event.as_str());
        details(&mut record);
        self.0.audit.note(record);
    }

    /// Writes what came after each first one, and begins anew. Called once a minute, and at the end.
    pub(crate) fn gather(&self) {
        let window = std::mem::take(&mut *self.0.window.lock());
        for ((event, source), more) in window {
            if more > 0 {
                let mut record = Record::new(Kind::Security, event.as_str());
                record.count = Some(more);
                record.from = Some(source);
                record.detail = Some("more of the same within a minute".to_owned());
                self.0.audit.note(record);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twin_core::clock::SystemClock;

    #[tokio::test]
    async fn a_flood_leaves_few_lines_and_all_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::open(dir.path(), Arc::new(SystemClock::new())).unwrap();
        let watch = Watch::new(audit.clone());
        for n in 0..10_000 {
            let from = format!("10.0.{}.{}", n / 250 % 250, n % 250);
            watch.seen(Event::TokenRefused, from.clone(), |record| record.from = Some(from));
        }
        for _ in 0..500 {
            watch.seen(Event::TokenRefused, "10.0.0.1".to_owned(), |_| {});
        }
        watch.gather();
        audit.stop().await;
        let page = audit.read(vec![Kind::Security], u64::MAX, 10_000).await.unwrap();
        assert!(page.lines.len() <= 2 * AUDIT_SOURCES_MAX + Event::ALL.len(), "{}", page.lines.len());
        let told: u64 = page.lines.iter().map(|line| line.record.count.unwrap_or(1)).sum();
        assert_eq!(told, 10_500, "each of them is told of");
        assert_eq!(watch.0.counted.get_or_create(&EventLabels { event: "token-refused" }).get(), 10_500);
    }
}
