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
use crate::limits::{AUDIT_SOURCES_MAX, AUDIT_TARGETS_MAX};

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
    /// A device that nobody registered and that its site's list does not have, or that another site has.
    DeviceRefused,
    /// A batch of messages with some that are of no device of its gateway.
    MessagesRefused,
}

impl Event {
    const ALL: [Self; 7] = [
        Self::TokenRefused,
        Self::TokenExpired,
        Self::ScopeRefused,
        Self::CredentialRefused,
        Self::CredentialConflict,
        Self::DeviceRefused,
        Self::MessagesRefused,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::TokenRefused => "token-refused",
            Self::TokenExpired => "token-expired",
            Self::ScopeRefused => "scope-refused",
            Self::CredentialRefused => "credential-refused",
            Self::CredentialConflict => "credential-conflict",
            Self::DeviceRefused => "device-refused",
            Self::MessagesRefused => "messages-refused",
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
    /// What was seen since the last [`Watch::gather`], by event and source.
    window: Mutex<HashMap<(Event, String), Gathered>>,
}

/// More of what was written once: by whom, how often, and what it was about, as far as there is room.
#[derive(Default)]
struct Gathered {
    more: u64,
    who: Option<String>,
    from: Option<String>,
    targets: Vec<String>,
    /// Further ones were left out.
    and_others: bool,
}

impl Gathered {
    fn of(first: &Record) -> Self {
        let targets = first.target.iter().cloned().collect();
        Self { more: 0, who: first.who.clone(), from: first.from.clone(), targets, and_others: false }
    }

    fn add(&mut self, next: Record) {
        self.more += 1;
        if self.from != next.from {
            self.from = Some(OTHERS.to_owned());
        }
        match next.target {
            Some(target) if !self.targets.contains(&target) => {
                if self.targets.len() < AUDIT_TARGETS_MAX {
                    self.targets.push(target);
                } else {
                    self.and_others = true;
                }
            }
            _ => {}
        }
    }

    fn into_record(self, event: Event) -> Record {
        let mut record = Record::new(Kind::Security, event.as_str());
        record.count = Some(self.more);
        (record.who, record.from) = (self.who, self.from);
        let others = if self.and_others { ", and others" } else { "" };
        record.target = (!self.targets.is_empty()).then(|| self.targets.join(", ") + others);
        record.detail = Some("more of the same within a minute".to_owned());
        record
    }
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
        let mut record = Record::new(Kind::Security, event.as_str());
        details(&mut record);
        record.clip();
        {
            let mut window = self.0.window.lock();
            let full = window.len() >= AUDIT_SOURCES_MAX;
            if let Some(gathered) = window.get_mut(&(event, source.clone())) {
                return gathered.add(record);
            }
            if full {
                let others = window.entry((event, OTHERS.to_owned())).or_default();
                others.from = Some(OTHERS.to_owned());
                return others.add(record);
            }
            window.insert((event, source), Gathered::of(&record));
        }
        self.0.audit.note(record);
    }

    /// Writes what came after each first one, and begins anew. Called once a minute, and at the end.
    pub(crate) fn gather(&self) {
        let window = std::mem::take(&mut *self.0.window.lock());
        for ((event, _), gathered) in window {
            if gathered.more > 0 {
                self.0.audit.note(gathered.into_record(event));
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
            watch.seen(Event::TokenRefused, "10.0.0.1".to_owned(), |record| record.from = Some("10.0.0.1".to_owned()));
        }
        watch.gather();
        audit.stop().await;
        let page = audit.read(vec![Kind::Security], u64::MAX, 10_000).await.unwrap();
        assert!(page.lines.len() <= 2 * AUDIT_SOURCES_MAX + Event::ALL.len(), "{}", page.lines.len());
        let told: u64 = page.lines.iter().map(|line| line.record.count.unwrap_or(1)).sum();
        assert_eq!(told, 10_500, "each of them is told of");
        assert_eq!(watch.0.counted.get_or_create(&EventLabels { event: "token-refused" }).get(), 10_500);
    }

    #[tokio::test]
    async fn what_came_after_the_first_says_who_it_was_and_what_was_tried() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::open(dir.path(), Arc::new(SystemClock::new())).unwrap();
        let watch = Watch::new(audit.clone());
        let tried = ["GET /a", "POST /tokens", "POST /tokens", "DELETE /sites/s"].map(str::to_owned);
        for target in tried.into_iter().chain((0..20).map(|n| format!("GET /{n}"))) {
            watch.seen(Event::ScopeRefused, "ci".to_owned(), |record| {
                (record.who, record.from) = (Some("ci".to_owned()), Some("10.0.0.1".to_owned()));
                record.target = Some(target);
            });
        }
        watch.gather();
        audit.stop().await;
        let page = audit.read(vec![Kind::Security], u64::MAX, 10).await.unwrap();
        let more = &page.lines[0].record;
        assert_eq!((more.who.as_deref(), more.from.as_deref()), (Some("ci"), Some("10.0.0.1")));
        assert_eq!(more.count, Some(23));
        let target = more.target.as_deref().unwrap();
        assert!(target.starts_with("GET /a, POST /tokens, DELETE /sites/s, GET /0"), "{target}");
        assert!(target.ends_with(", and others"), "{target}");
    }
}
