//! The budget of bytes written to flash.

use std::sync::Arc;
use std::time::Duration;

use twin_faulty_disk::FaultyDisk;

use super::harness::{Bench, NaiveNode};
use crate::core::admission::AppendError;
use crate::core::append::Drafts;
use crate::limits::{FLASH_GATHER_MAX, FLASH_PATIENCE_MAX, IDLE_FLUSH_AFTER};
use crate::outbox::body::Body;

const DAY_BYTES: u64 = 8 * 1024 * 1024;
const HOUR: Duration = Duration::from_secs(3600);

/// In memory: thousands of commits.
fn bench() -> Bench {
    Bench::with_budget(Arc::new(FaultyDisk::new()), 1 << 24, true, Some(DAY_BYTES)).unwrap()
}

/// Reports, each in a commit of its own, until it is refused; how often, and why not.
fn exhaust(bench: &mut Bench) -> (u64, AppendError) {
    for taken in 0..100_000u64 {
        if let Err(error) = bench.report(&format!("label-{}", taken % 50), "v", taken.cast_signed()) {
            return (taken, error);
        }
        bench.commit();
    }
    panic!("it never ends")
}

fn event(bench: &mut Bench) -> Result<(), AppendError> {
    let body = Body::Event("alarm".into(), 1i64.into());
    let drafts = Drafts::one("label-1".parse().unwrap(), &body, &bench.core.dictionary);
    bench.append(drafts).map(drop)
}

fn left(bench: &Bench) -> u64 {
    bench.core.flash.left_bytes().unwrap()
}

#[test]
fn state_is_refused_with_a_time_when_only_the_reserve_is_left_and_events_when_that_is_gone() {
    let mut bench = bench();
    let (taken, error) = exhaust(&mut bench);
    let AppendError::FlashBudget { day_bytes: DAY_BYTES, retry_after_ms } = error else { panic!("{error}") };
    assert!(error.to_string().contains("flash_bytes_per_day"), "{error}");
    assert!(left(&bench) <= DAY_BYTES / 8 && left(&bench) > DAY_BYTES / 16, "{}", left(&bench));
    // The reserve.
    let mut events = 0;
    while event(&mut bench).is_ok() {
        bench.commit();
        events += 1;
    }
    assert!(events > 10 && left(&bench) == 0, "{events}");
    assert!(matches!(event(&mut bench), Err(AppendError::FlashBudget { .. })));
    // Time brings it back: to state what was promised, and no sooner.
    assert!(Duration::from_millis(retry_after_ms) < HOUR);
    bench.now += 5 * HOUR;
    bench.report("label-1", "v", -1).unwrap();
    bench.commit();
    // Nothing that was taken is gone.
    bench.crash();
    let mut node = NaiveNode::default();
    bench.drain(&mut node);
    assert_eq!(node.effects.values().map(|effects| u64::from(*effects)).sum::<u64>(), taken + events + 1);
}

#[test]
fn a_restart_gains_nothing_and_costs_little() {
    let mut bench = bench();
    exhaust(&mut bench);
    for _ in 0..5 {
        let before = left(&bench);
        bench.crash();
        bench.core.flash.advance(bench.now, bench.core.space.written_bytes());
        assert!(left(&bench) <= before && left(&bench) + DAY_BYTES / 8 >= before, "{before} -> {}", left(&bench));
    }
    let error = bench.report("label-1", "v", 1).unwrap_err();
    assert!(matches!(error, AppendError::FlashBudget { .. }), "{error}");
}

#[test]
fn in_days_of_reports_without_a_link_no_more_is_written_than_the_budgets_of_one_day_more() {
    let mut bench = bench();
    const DAYS: u64 = 3;
    let (mut taken, mut refused) = (0u64, 0u64);
    for _ in 0..DAYS * 24 * 30 {
        bench.now += HOUR / 30;
        for twin in ["a", "b"] {
            match bench.report(twin, "v", taken.cast_signed()) {
                Ok(_) => taken += 1,
                Err(AppendError::FlashBudget { .. }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
            bench.commit();
        }
    }
    let written = bench.core.space.written_bytes();
    assert!(refused > 100 && written > DAYS * DAY_BYTES, "{written} bytes, {refused} refused, {taken} taken");
    assert!(written <= (DAYS + 1) * DAY_BYTES, "{written} bytes, {refused} refused, {taken} taken");
}

#[test]
fn what_the_node_acks_needs_no_budget() {
    let mut bench = bench();
    let mut node = NaiveNode::default();
    exhaust(&mut bench);
    bench.drain(&mut node);
    bench.commit();
    while event(&mut bench).is_ok() {
        bench.commit();
    }
    bench.drain(&mut node);
    bench.commit();
    let before = bench.core.space.written_bytes();
    for n in 0..100 {
        bench.report("label-1", "v", n).unwrap();
        let promise = std::mem::take(&mut bench.promises);
        assert!(bench.core.writes.due() >= Some(bench.now + FLASH_PATIENCE_MAX), "it is given time");
        assert!(!bench.core.writes.is_urgent());
        assert!(bench.exchange(&mut node));
        assert!(promise.are_kept());
    }
    assert_eq!(bench.core.space.written_bytes(), before);
    // Without the link it is refused.
    bench.core.disconnected();
    let error = bench.report("label-1", "v", 100).unwrap_err();
    assert!(matches!(error, AppendError::FlashBudget { .. }), "{error}");
}

#[test]
fn as_the_budget_runs_out_commits_become_fewer() {
    let mut bench = bench();
    assert_eq!((bench.core.patience(), bench.core.idle_flush_after()), (Duration::ZERO, IDLE_FLUSH_AFTER));
    let mut patience = Duration::ZERO;
    loop {
        let before = bench.core.counters.coalesced;
        if bench.report("label-1", "v", 1).is_err() {
            break;
        }
        assert!(bench.core.patience() >= patience, "it never shrinks while it runs out");
        patience = bench.core.patience();
        assert_eq!(patience > Duration::ZERO, left(&bench) < DAY_BYTES / 2);
        // Nobody urges the writer: others share the commit. And what is unsent becomes one message.
        assert_eq!(bench.core.writes.is_urgent(), patience.is_zero());
        assert_eq!(bench.core.counters.coalesced > before, !patience.is_zero() && bench.core.messages() > 0);
        bench.commit();
    }
    assert_eq!(bench.core.patience(), FLASH_GATHER_MAX);
    assert!(bench.core.idle_flush_after() > Duration::from_secs(60));
    bench.connect();
    assert_eq!(bench.core.patience(), FLASH_PATIENCE_MAX);
}
