//! Readings: shared frames, sessions that end, refusals for the moment, bounds.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn twin(number: usize) -> TwinId {
    TwinId::new(&format!("t{number}")).unwrap()
}

fn twins(numbers: std::ops::Range<usize>) -> Vec<TwinId> {
    numbers.map(twin).collect()
}

fn open() -> Readings {
    let mut readings = Readings::default();
    readings.connected();
    readings
}

/// The node's answer to a part of a frame: each view is its twin's name.
fn views(outgoing: &Outgoing, part: std::ops::Range<usize>) -> Views {
    let view = |twin: &TwinId| Ok(Bytes::copy_from_slice(twin.as_str().as_bytes()));
    Views {
        request: outgoing.request,
        first: part.start as u32,
        results: outgoing.twins[part].iter().map(view).collect(),
    }
}

fn answer(readings: &mut Readings, outgoing: &Outgoing, now: Duration) -> bool {
    let (answered, complete) = readings.answered(views(outgoing, 0..outgoing.twins.len()), now);
    answered.into_iter().for_each(Answered::tell);
    complete
}

fn names(viewed: Viewed) -> Vec<String> {
    viewed.into_iter().map(|view| String::from_utf8(view.unwrap().packed().to_vec()).unwrap()).collect()
}

#[test]
fn who_asks_at_the_same_time_shares_a_frame_and_each_gets_its_own() {
    let mut readings = open();
    let mut asked: Vec<_> = (0..10).map(|n| readings.ask(vec![twin(n)], SECOND).unwrap()).collect();
    let mut many = readings.ask(twins(100..103), SECOND).unwrap();
    let frame = readings.take(Duration::ZERO).unwrap();
    assert_eq!(frame.twins, [twins(0..10), twins(100..103)].concat());
    assert_eq!(readings.take(Duration::ZERO), Err(None));
    assert!(answer(&mut readings, &frame, Duration::ZERO));
    for (n, asked) in asked.iter_mut().enumerate() {
        assert_eq!(names(asked.try_recv().unwrap()), [twin(n).as_str()]);
    }
    assert_eq!(names(many.try_recv().unwrap()), ["t100", "t101", "t102"]);
    assert_eq!((readings.twins, readings.asks.len(), readings.sent.len()), (0, 0, 0));
}

#[test]
fn with_frames_under_way_a_further_one_is_sent_when_it_is_worth_while_up_to_the_bound() {
    let mut readings = open();
    let mut kept = Vec::new();
    let mut frames = Vec::new();
    for n in 0..EAGER_BATCHES {
        kept.push(readings.ask(vec![twin(n)], SECOND).unwrap());
        frames.push(readings.take(Duration::ZERO).unwrap());
    }
    kept.push(readings.ask(vec![twin(9)], SECOND).unwrap());
    assert_eq!(readings.take(Duration::ZERO), Err(None));
    assert!(answer(&mut readings, &frames.remove(0), Duration::ZERO));
    assert_eq!(readings.take(Duration::ZERO).unwrap().twins, [twin(9)]);
    kept.push(readings.ask(twins(0..READ_CALLS), SECOND).unwrap());
    let mut sent = EAGER_BATCHES;
    while readings.take(Duration::ZERO).is_ok() {
        sent += 1;
    }
    assert_eq!(sent, READS_IN_FLIGHT_MAX);
}

/// More than the frames in flight take.
const READ_CALLS: usize = READ_TWINS_MAX * (READS_IN_FLIGHT_MAX + 1);

#[test]
fn a_session_that_ends_answers_nothing_and_the_rest_is_asked_again_before_anything_newer() {
    let mut readings = open();
    let mut first = readings.ask(twins(0..300), SECOND).unwrap();
    let frames = [readings.take(Duration::ZERO).unwrap(), readings.take(Duration::ZERO).unwrap()];
    assert_eq!((frames[0].twins.len(), frames[1].twins.len()), (READ_TWINS_MAX, 300 - READ_TWINS_MAX));
    let mut second = readings.ask(vec![twin(900)], SECOND).unwrap();
    let (answered, complete) = readings.answered(views(&frames[0], 0..100), Duration::ZERO);
    assert!(answered.is_empty() && !complete);
    readings.replacing();
    readings.disconnected();
    let mut third = readings.ask(vec![twin(901)], SECOND).unwrap();
    readings.connected();
    let again = readings.take(Duration::ZERO).unwrap();
    assert_eq!(again.twins, [twins(100..300), vec![twin(900), twin(901)]].concat());
    // What the old session still says is not heard.
    let (answered, complete) = readings.answered(views(&frames[1], 0..44), Duration::ZERO);
    assert!(answered.is_empty() && !complete);
    assert!(answer(&mut readings, &again, Duration::ZERO));
    assert_eq!(first.try_recv().unwrap().len(), 300);
    assert_eq!(names(second.try_recv().unwrap()), ["t900"]);
    assert_eq!(names(third.try_recv().unwrap()), ["t901"]);
}

#[test]
fn without_a_session_or_one_in_sight_nothing_is_taken_but_what_was_taken_waits() {
    let mut readings = Readings::default();
    assert!(matches!(readings.ask(vec![twin(1)], SECOND), Err(GetError::NotConnected)));
    readings.connected();
    let mut asked = readings.ask(vec![twin(1)], SECOND).unwrap();
    readings.disconnected();
    readings.away();
    assert!(!readings.is_linked());
    assert!(matches!(readings.ask(vec![twin(2)], SECOND), Err(GetError::NotConnected)));
    readings.connected();
    let frame = readings.take(Duration::ZERO).unwrap();
    assert!(answer(&mut readings, &frame, Duration::ZERO));
    assert_eq!(names(asked.try_recv().unwrap()), ["t1"]);
}

#[test]
fn what_is_refused_for_the_moment_is_asked_again_in_time_and_told_past_the_deadline() {
    let mut readings = open();
    let mut asked = readings.ask(twins(0..3), SECOND).unwrap();
    let frame = readings.take(Duration::ZERO).unwrap();
    let busy = |ms| Refusal::Busy { what: "test".into(), retry_after_ms: ms };
    let refused = |outgoing: &Outgoing, refusal: Refusal| {
        let mut views = views(outgoing, 0..outgoing.twins.len());
        views.results[outgoing.twins.len() - 1] = Err(refusal);
        views
    };
    let (answered, complete) = readings.answered(refused(&frame, busy(100)), Duration::ZERO);
    assert!(answered.is_empty() && complete);
    let due = Duration::from_millis(100);
    assert_eq!(readings.take(Duration::ZERO), Err(Some(due)));
    let again = readings.take(due).unwrap();
    assert_eq!(again.twins, [twin(2)]);
    let (answered, _) = readings.answered(refused(&again, busy(900)), due);
    answered.into_iter().for_each(Answered::tell);
    let viewed = asked.try_recv().unwrap();
    assert!(viewed[..2].iter().all(Result::is_ok));
    assert_eq!(viewed[2], Err(busy(900)), "too late to ask again");
    // What will not be otherwise is told at once.
    let mut asked = readings.ask(vec![twin(0)], SECOND).unwrap();
    let frame = readings.take(due).unwrap();
    let (answered, _) = readings.answered(refused(&frame, Refusal::NotFound { twin: "t0".into() }), due);
    answered.into_iter().for_each(Answered::tell);
    assert_eq!(asked.try_recv().unwrap(), [Err(Refusal::NotFound { twin: "t0".into() })]);
}

#[test]
fn readings_have_a_bound_that_who_gave_up_does_not_count_against() {
    let mut readings = open();
    let mut kept = readings.ask(twins(0..READINGS_MAX - 1), SECOND).unwrap();
    let given_up = readings.ask(vec![twin(1)], SECOND).unwrap();
    assert!(matches!(readings.ask(vec![twin(2)], SECOND), Err(GetError::Busy)));
    drop(given_up);
    assert!(readings.ask(vec![twin(2)], SECOND).is_ok());
    kept.close();
    drop(kept);
    // Nobody waits for any of them: nothing is sent, and all room is free.
    assert_eq!(readings.take(Duration::ZERO), Err(None));
    assert_eq!((readings.twins, readings.waiting_twins, readings.asks.len()), (0, 0, 0));
}

#[derive(Clone, Debug)]
enum Act {
    Ask(usize),
    Take,
    /// A part of the oldest frame under way, of which every so many-th twin is refused for the moment.
    Answer(usize, usize),
    Cut,
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => prop_oneof![3 => 1..4_usize, 1 => 200..600_usize].prop_map(Act::Ask),
        4 => Just(Act::Take),
        6 => (1..300_usize, 1..9_usize).prop_map(|(count, every)| Act::Answer(count, every)),
        1 => Just(Act::Cut),
        1 => (1..30_u64).prop_map(Act::Wait),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_each_call_gets_each_of_its_twins_once(acts in prop::collection::vec(act(), 1..80)) {
        let mut readings = open();
        let (mut now, mut next) = (Duration::ZERO, 0);
        let mut asked: Vec<(std::ops::Range<usize>, oneshot::Receiver<Viewed>)> = Vec::new();
        let mut under_way: VecDeque<(Outgoing, usize)> = VecDeque::new();
        let finish = (0..2000).flat_map(|_| [Act::Take, Act::Answer(300, 1000), Act::Wait(10)]);
        for act in acts.into_iter().chain(finish) {
            match act {
                Act::Ask(count) => {
                    if let Ok(receiver) = readings.ask(twins(next..next + count), 3600 * SECOND) {
                        asked.push((next..next + count, receiver));
                        next += count;
                    }
                }
                Act::Take => under_way.extend(readings.take(now).ok().map(|frame| (frame, 0))),
                Act::Answer(count, every) => {
                    let Some((frame, from)) = under_way.pop_front() else { continue };
                    let to = frame.twins.len().min(from + count);
                    let mut views = views(&frame, from..to);
                    for result in views.results.iter_mut().skip(every).step_by(every) {
                        *result = Err(Refusal::Unavailable { message: "test".into(), retry_after_ms: 5 });
                    }
                    let (answered, complete) = readings.answered(views, now);
                    answered.into_iter().for_each(Answered::tell);
                    prop_assert_eq!(complete, to == frame.twins.len());
                    if !complete {
                        under_way.push_front((frame, to));
                    }
                }
                Act::Cut => {
                    readings.disconnected();
                    under_way.clear();
                    readings.connected();
                }
                Act::Wait(ms) => now += Duration::from_millis(ms),
            }
            if readings.asks.is_empty() && asked.len() > 50 {
                break;
            }
        }
        for (wanted, mut receiver) in asked {
            let wanted: Vec<String> = wanted.map(|n| twin(n).as_str().to_owned()).collect();
            prop_assert_eq!(names(receiver.try_recv().unwrap()), wanted);
        }
        prop_assert_eq!((readings.twins, readings.waiting_twins, readings.later.len()), (0, 0, 0));
    }
}
