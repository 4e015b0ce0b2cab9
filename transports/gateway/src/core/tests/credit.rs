//! Credit of the node: what is not covered waits in the outbox, and nothing else changes.

use twin_core::numbers::OwnerOrder;
use twin_transports::credit::cost;
use twin_transports::frames::session::FirstCredit;
use twin_transports::limits::{CREDIT_WINDOW_BYTES_MAX, MESSAGE_CREDIT_BYTES};

use super::harness::{Bench, NaiveNode, Taken};
use crate::core::Session;
use crate::outbox::format::Class;

fn session(state: u64) -> Session {
    let credit = Some(FirstCredit { state, telemetry: state, alarms: 4096 });
    Session { number: 1, owner: OwnerOrder::default(), alarms: true, credit }
}

/// As the stream's writer does.
fn charge(bench: &mut Bench, class: Class, taken: &Taken) -> u64 {
    let bodies: usize = taken.messages.iter().map(|message| message.body.as_ref().unwrap().len() + 40).sum();
    let cost = cost(bodies, taken.messages.len());
    bench.core.charged(class, taken.batch, cost);
    cost
}

/// Batches and their sizes, taken as fast as the gateway gives them, with this credit at first.
fn batches(credit: Option<u64>) -> Vec<usize> {
    let mut bench = Bench::new(8 << 20, false);
    let mut node = NaiveNode::default();
    for n in 0..2300 {
        bench.report(&format!("twin-{}", n % 100), "v", n).unwrap();
    }
    let session = credit.map_or(Session { credit: None, ..session(0) }, session);
    assert!(bench.core.connected(session, bench.now));
    bench.attach(&mut node);
    let mut sizes = Vec::new();
    while let Some(taken) = bench.take() {
        charge(&mut bench, Class::State, &taken);
        sizes.push(taken.messages.len());
    }
    sizes
}

#[test]
fn the_usual_window_changes_no_batch() {
    let free = batches(None);
    assert_eq!(free, [256; 8], "as many as may be under way");
    assert_eq!(batches(Some(CREDIT_WINDOW_BYTES_MAX)), free);
}

#[test]
fn what_is_not_covered_stays_in_the_outbox_and_goes_as_credit_comes() {
    assert_eq!(batches(Some(1)), [1], "the first always goes");
    let few = batches(Some(50 * MESSAGE_CREDIT_BYTES));
    assert!(few.len() <= 2 && (40..=50).contains(&few.iter().sum::<usize>()), "{few:?}");

    let mut bench = Bench::new(8 << 20, false);
    let mut node = NaiveNode::default();
    for n in 0..500 {
        bench.report(&format!("twin-{}", n % 100), "v", n).unwrap();
    }
    let window = 50 * MESSAGE_CREDIT_BYTES;
    assert!(bench.core.connected(session(window), bench.now));
    bench.attach(&mut node);
    let (mut answered, mut batches) = (0, 0);
    while bench.core.messages() > 0 {
        let taken = bench.take().unwrap_or_else(|| panic!("{} wait", bench.core.messages()));
        let status = bench.core.status().credit.expect("a session with credit");
        answered += charge(&mut bench, Class::State, &taken);
        assert!(bench.core.status().credit.unwrap().state_bytes < status.state_bytes);
        let refused = node.take(&taken);
        // The ack names the total first; then it is an ack.
        bench.core.credited(Class::State, answered + window);
        bench.core.batch_acked(Class::State, taken.batch, refused, bench.now);
        batches += 1;
    }
    assert!(batches <= 15, "{batches} batches: they keep the size of the window");
    assert_eq!(node.effects.len(), 500);
}

#[test]
fn where_state_has_no_credit_left_alarms_go_all_the_same() {
    let mut bench = Bench::new(8 << 20, false);
    let mut node = NaiveNode::default();
    for n in 0..50 {
        bench.report("a", "v", n).unwrap();
    }
    assert!(bench.core.connected(session(1), bench.now));
    bench.attach(&mut node);
    let taken = bench.take().unwrap();
    charge(&mut bench, Class::State, &taken);
    bench.core.credited(Class::State, 1);
    let refused = node.take(&taken);
    bench.core.batch_acked(Class::State, taken.batch, refused, bench.now);
    assert!(bench.take().is_none());
    assert_eq!(bench.core.counters.credit_waits, 1);
    bench.alarm("a", "door").unwrap();
    assert!(bench.exchange_of(Class::Alarm, &mut node));
    assert_eq!(node.alarms.len(), 1);
    // A new session begins anew, and one without credit needs none.
    bench.core.disconnected();
    assert_eq!(bench.core.status().credit, None);
    bench.drain(&mut node);
}
