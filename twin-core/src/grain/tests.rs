//! Turns over an owner that commits when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::Span;

use super::{Answers, Ask, Change, Done, Grain, Owner, Reply, Ticket, Turns};
use crate::command::{Answer, Command, Precondition};
use crate::ids::{IdempotencyKey, TwinId};
use crate::numbers::{Floor, WallTime};
use crate::once::{Fingerprint, Once, OwnerTime};
use crate::refusal::Refusal;
use crate::twin::Twin;
use crate::value::Value;

/// Keeps what is given to it, until [`Held::apply`].
#[derive(Default)]
struct Held {
    given: AtomicU64,
    applied: AtomicU64,
    waiting: Mutex<Vec<Done<()>>>,
}

impl Held {
    fn apply(&self) {
        self.applied.store(self.given.load(Ordering::SeqCst), Ordering::SeqCst);
        let waiting = std::mem::take(&mut *self.waiting.lock());
        for done in waiting {
            done.tell(Ok(()));
        }
    }
}

impl Owner for Held {
    type Admission = ();

    /// Asked inside a turn that makes a twin: the one way to make a turn fail.
    fn floor(&self, twin: &TwinId) -> Floor {
        assert!(twin.as_str() != "faulty", "this panic belongs to the test");
        Floor::default()
    }

    fn time(&self) -> OwnerTime {
        OwnerTime::default()
    }

    fn observed(&self, _: &TwinId) -> bool {
        false
    }

    fn commit(&self, _: Vec<Change>, done: Done<()>) -> Ticket {
        self.waiting.lock().push(done);
        Ticket(self.given.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn is_applied(&self, ticket: Ticket) -> bool {
        ticket.0 <= self.applied.load(Ordering::SeqCst)
    }

    fn confirm(&self, rests_on_in_flight: bool, done: Done<()>) {
        if rests_on_in_flight { self.waiting.lock().push(done) } else { done.tell(Ok(())) }
    }
}

struct Told(mpsc::UnboundedSender<(u32, Result<Answer, Refusal>)>);

impl Answers for Told {
    fn answer(&self, index: u32, answer: Result<Answer, Refusal>) {
        self.0.send((index, answer)).unwrap();
    }
}

type Answered = mpsc::UnboundedReceiver<(u32, Result<Answer, Refusal>)>;

fn answers() -> (Arc<dyn Answers>, Answered) {
    let (told, answered) = mpsc::unbounded_channel();
    (Arc::new(Told(told)), answered)
}

fn put() -> Command {
    let empty = Value::empty_object;
    Command::Put { site: None, tags: empty(), desired: empty(), precondition: Precondition::None }
}

/// A grain whose twin is loaded.
fn grain(owner: &Arc<Held>, id: &str) -> Grain {
    let grain = Grain::default();
    assert!(!grain.is_loaded() && grain.try_sit().is_none());
    drop(grain.settle_in(&**owner, Twin::absent(TwinId::new(id).unwrap()), WallTime::new(1)));
    assert!(grain.is_loaded());
    grain
}

fn turns(owner: &Arc<Held>) -> Turns<'_, Held> {
    Turns::new(owner, WallTime::new(1))
}

fn take(turns: &mut Turns<'_, Held>, grain: &Grain, command: Command, reply: Reply) {
    turns.take(grain.try_sit().unwrap(), command, reply, &Span::none());
}

#[tokio::test]
async fn a_reading_waits_for_the_change_in_flight_that_it_saw_and_the_grain_stays_until_then() {
    let owner = Arc::<Held>::default();
    let grain = grain(&owner, "lamp");
    let (told, mut answered) = answers();
    let is_quiet = || grain.is_applied(|ticket| owner.is_applied(ticket));
    assert!(is_quiet());

    let mut batch = turns(&owner);
    take(&mut batch, &grain, put(), Reply::shared(told.clone(), 1));
    assert!(grain.try_sit().is_none(), "held until the change is given to the owner");
    assert!(!is_quiet());
    batch.give();
    take(&mut batch, &grain, Command::Read, Reply::shared(told, 2));
    drop(batch);
    assert!(answered.try_recv().is_err(), "neither left before the commit");
    assert!(!is_quiet(), "what it did is not applied yet");

    owner.apply();
    assert!(matches!(answered.recv().await, Some((1, Ok(Answer::Document { created: true, .. })))));
    assert!(matches!(answered.recv().await, Some((2, Ok(Answer::Document { created: false, .. })))));
    assert!(is_quiet());
}

#[tokio::test]
async fn the_repeat_of_a_change_with_a_key_waits_for_the_change_in_flight() {
    let owner = Arc::<Held>::default();
    let grain = grain(&owner, "lamp");
    let (told, mut answered) = answers();
    let once = || {
        let key = IdempotencyKey::new("k").unwrap();
        Command::Once(Box::new(Once { key, fingerprint: Fingerprint(1, 2), change: put() }))
    };
    for index in [1, 2] {
        let mut batch = turns(&owner);
        take(&mut batch, &grain, once(), Reply::shared(told.clone(), index));
    }
    assert_eq!(owner.given.load(Ordering::SeqCst), 1, "the repeat changed nothing");
    assert!(answered.try_recv().is_err(), "neither left before the commit");
    owner.apply();
    for (index, replayed) in [(1, false), (2, true)] {
        match answered.recv().await {
            Some((told, Ok(Answer::Once(answer)))) => {
                assert_eq!((told, answer.replayed, answer.outcome.created), (index, replayed, true));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_waited_is_carried_out_in_its_order_each_on_top_of_the_one_before() {
    let owner = Arc::<Held>::default();
    let (lamp, door) = (grain(&owner, "lamp"), grain(&owner, "door"));
    let (told, mut answered) = answers();
    let ask =
        |index, command| Ask { command, reply: Reply::shared(told.clone(), index), admission: (), span: Span::none() };
    let delete = || Command::Delete { precondition: Precondition::None };
    let mut batch = turns(&owner);
    take(&mut batch, &door, put(), Reply::shared(told.clone(), 0));
    batch.take_all(
        lamp.sit(),
        [ask(1, put()), ask(2, Command::Read), ask(3, delete()), ask(4, Command::Read), ask(5, put())],
    );
    assert!(lamp.try_sit().is_none(), "held until the last change is given to the owner");
    batch.give();
    // The first with the other twin's, the delete, the last.
    assert_eq!(owner.given.load(Ordering::SeqCst), 3);
    assert!(!lamp.is_applied(|ticket| owner.is_applied(ticket)));
    assert!(answered.try_recv().is_err(), "none left before what it rests on");
    owner.apply();
    let mut outcomes = Vec::new();
    while let Ok((index, answer)) = answered.try_recv() {
        outcomes.push((index, answer.is_ok()));
    }
    assert_eq!(outcomes, [(0, true), (1, true), (2, true), (3, true), (4, false), (5, true)]);
    assert!(lamp.is_applied(|ticket| owner.is_applied(ticket)));
}

#[tokio::test]
async fn a_turn_that_panics_breaks_its_own_grain_and_the_batch_goes_on() {
    let owner = Arc::<Held>::default();
    let (faulty, sound) = (grain(&owner, "faulty"), grain(&owner, "sound"));
    let (told, mut answered) = answers();
    let mut batch = turns(&owner);
    take(&mut batch, &faulty, put(), Reply::shared(told.clone(), 1));
    take(&mut batch, &sound, put(), Reply::shared(told.clone(), 2));
    drop(batch);
    owner.apply();
    assert!(matches!(answered.recv().await, Some((1, Err(Refusal::Unavailable { .. })))));
    assert!(matches!(answered.recv().await, Some((2, Ok(_)))));
    assert!(faulty.is_broken() && faulty.try_sit().is_none());
    assert!(!sound.is_broken());

    // What waited for it computes nothing on what is left.
    let reply = Reply::shared(told, 3);
    turns(&owner).take_all(faulty.sit(), [Ask { command: Command::Read, reply, admission: (), span: Span::none() }]);
    assert!(matches!(answered.recv().await, Some((3, Err(Refusal::Unavailable { .. })))));
    assert!(faulty.is_broken(), "it stays broken until it is replaced");
}

#[test]
fn two_batches_that_want_the_same_grains_do_not_wait_for_each_other() {
    let owner = Arc::<Held>::default();
    let one = grain(&owner, "one");
    let (told, _answered) = answers();
    let mut batch = turns(&owner);
    take(&mut batch, &one, put(), Reply::shared(told, 1));
    std::thread::scope(|scope| assert!(scope.spawn(|| one.try_sit().is_none()).join().unwrap()));
    drop(batch);
    owner.apply();
}

/// Most bytes that an active grain takes, without what its twin holds and the table's entry, by what is asked of the allocator.
const GRAIN_BYTES_MAX: i64 = 600;

#[test]
fn a_grain_keeps_little_beside_its_twin() {
    const GRAINS: usize = 64;
    let owner = Arc::<Held>::default();
    let mut grains = Vec::with_capacity(GRAINS);
    let counted = allocation_counter::measure(|| {
        grains.extend((0..GRAINS).map(|at| grain(&owner, &format!("lamp-{at}"))));
    });
    let per_grain = counted.bytes_current / i64::try_from(GRAINS).unwrap();
    println!("{per_grain} bytes a grain, {} an ask", size_of::<Ask<()>>());
    assert!(per_grain <= GRAIN_BYTES_MAX, "{per_grain} bytes a grain");
}
