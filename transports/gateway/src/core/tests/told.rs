//! What people are told, and how often.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use twin_core::ids::{SiteId, TwinId};
use twin_core::numbers::{Seq, Stay};
use twin_core::refusal::Refusal;
use twin_faulty_disk::FaultyDisk;

use super::harness::{Bench, NaiveNode};
use crate::limits::DEAD_LETTERS_MAX;
use crate::outbox::dead_letters::{DeadLetter, DeadLetters};
use crate::outbox::format::Class;

/// Counts lines that people see.
struct Lines(Arc<AtomicUsize>);

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Lines from here on, in this thread.
fn watch() -> (Arc<AtomicUsize>, tracing::subscriber::DefaultGuard) {
    let lines = Arc::new(AtomicUsize::new(0));
    let guard = tracing::subscriber::set_default(Lines(Arc::clone(&lines)));
    (lines, guard)
}

#[test]
fn a_device_whose_stays_are_refused_by_the_hundred_is_told_once_for_each_reason_and_counted() {
    const ROWS: u64 = 300;
    let (lines, _guard) = watch();
    let mut bench = Bench::on(Arc::new(FaultyDisk::new()), 1 << 20, true).unwrap();
    let mut node = NaiveNode::refusing(|_, _| Some(Refusal::OtherSite { site: SiteId::default_site() }));
    for row in 0..ROWS {
        bench.report("elsewhere", "v", row.cast_signed()).unwrap();
        bench.drain(&mut node);
    }
    assert_eq!((bench.core.counters.stays_given_up, bench.core.counters.dead_lettered), (ROWS, ROWS));
    assert_eq!(lines.load(Ordering::Relaxed), 1);
    node.refuse = Some(Box::new(|_, _| Some(Refusal::Superseded)));
    bench.report("elsewhere", "v", 0).unwrap();
    bench.drain(&mut node);
    assert_eq!(lines.load(Ordering::Relaxed), 2, "another reason");
}

#[test]
fn letters_that_are_dropped_by_the_thousand_are_told_as_their_number_doubles() {
    let (lines, _guard) = watch();
    let mut letters = DeadLetters::default();
    for number in 0..DEAD_LETTERS_MAX as u64 + 1000 {
        letters.bury(letter(number), 1);
    }
    assert_eq!((letters.dropped(), lines.load(Ordering::Relaxed)), (1000, 10));
}

fn letter(number: u64) -> DeadLetter {
    let number = Seq::new(number);
    DeadLetter {
        twin: TwinId::new("d").unwrap(),
        class: Class::State,
        stay: Stay::default(),
        first: number,
        last: number,
        code: "superseded".into(),
        message: String::new(),
        body: None,
    }
}
