//! What people are told, and how often.

use std::cell::Cell;
use std::sync::{Arc, Once};

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

thread_local! {
    static LINES: Cell<usize> = const { Cell::new(0) };
}

/// Counts lines that people see, for each thread, which is each test.
struct Lines;

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
        LINES.set(LINES.get() + 1);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Lines from here on, in this thread.
///
/// The subscriber is everybody's: of one that is a thread's own, tracing may not hear what another thread came to first.
fn watch() {
    static EVERYBODY: Once = Once::new();
    EVERYBODY.call_once(|| tracing::subscriber::set_global_default(Lines).unwrap());
    LINES.set(0);
}

#[test]
fn a_device_whose_stays_are_refused_by_the_hundred_is_told_once_for_each_reason_and_counted() {
    const ROWS: u64 = 300;
    watch();
    let mut bench = Bench::on(Arc::new(FaultyDisk::new()), 1 << 20, true).unwrap();
    let mut node = NaiveNode::refusing(|_, _| Some(Refusal::OtherSite { site: SiteId::default_site() }));
    for row in 0..ROWS {
        bench.report("elsewhere", "v", row.cast_signed()).unwrap();
        bench.drain(&mut node);
    }
    assert_eq!((bench.core.counters.stays_given_up, bench.core.counters.dead_lettered), (ROWS, ROWS));
    assert_eq!(LINES.get(), 1);
    node.refuse = Some(Box::new(|_, _| Some(Refusal::Superseded)));
    bench.report("elsewhere", "v", 0).unwrap();
    bench.drain(&mut node);
    assert_eq!(LINES.get(), 2, "another reason");
}

#[test]
fn letters_that_are_dropped_by_the_thousand_are_told_as_their_number_doubles() {
    watch();
    let mut letters = DeadLetters::default();
    for number in 0..DEAD_LETTERS_MAX as u64 + 1000 {
        letters.bury(letter(number), 1);
    }
    assert_eq!((letters.dropped(), LINES.get()), (1000, 10));
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
