//! Dead letters in their owner's hands.

use twin_core::refusal::{Refusal, RuleViolation};

use super::harness::{Bench, NaiveNode};
use crate::core::admission::AppendError;
use crate::core::dead_letters::{NotReplayed, Outlook};
use crate::limits::DEAD_LETTERS_MAX;
use crate::outbox::dead_letters::DeadLetterId;

/// A device whose report was superseded, and one whose report broke a rule.
fn buried(bench: &mut Bench, node: &mut NaiveNode) {
    let rule = RuleViolation { code: "depth".into(), pointer: "/v".into(), message: "no".into(), limit: None };
    node.refuse = Some(Box::new(move |twin, body| match (twin, body) {
        ("roamed", _) => Some(Refusal::Superseded),
        ("wrong", crate::outbox::body::Body::State(twin_core::command::StateBody::Report(_))) => {
            Some(Refusal::Rule(rule.clone()))
        }
        _ => None,
    }));
    bench.report("roamed", "v", 1).unwrap();
    bench.report("wrong", "v", 2).unwrap();
    bench.drain(node);
    node.refuse = None;
}

fn ids(bench: &Bench) -> Vec<DeadLetterId> {
    bench.core.dead_letter_page(None, usize::MAX).letters.iter().map(|listed| listed.id).collect()
}

fn outlooks(bench: &Bench) -> Vec<(String, Outlook)> {
    let letters = bench.core.dead_letter_page(None, usize::MAX).letters;
    letters.into_iter().map(|listed| (listed.letter.twin.to_string(), listed.outlook)).collect()
}

fn outlook_of(bench: &Bench, twin: &str) -> Outlook {
    outlooks(bench).into_iter().find(|(other, _)| other == twin).unwrap().1
}

fn id_of(bench: &Bench, twin: &str) -> DeadLetterId {
    let letters = bench.core.dead_letter_page(None, usize::MAX).letters;
    letters.iter().find(|listed| listed.letter.twin.as_str() == twin).unwrap().id
}

#[test]
fn a_replay_is_a_new_message_of_the_present_stay_and_takes_effect_once() {
    let mut bench = Bench::new(1 << 20, true);
    let mut node = NaiveNode::default();
    buried(&mut bench, &mut node);
    let id = id_of(&bench, "roamed");
    let appended = bench.core.replay(id, bench.now).unwrap();
    assert!(!appended.promises.are_kept());
    // Not sent before the letter is gone from the file, so a crash here brings the letter back and nothing else.
    bench.connect();
    bench.attach(&mut node);
    assert!(!bench.exchange(&mut node));
    bench.crash();
    assert_eq!((ids(&bench).len(), bench.core.messages()), (2, 0));
    bench.core.replay(id, bench.now).unwrap();
    bench.commit_busy();
    // And here the message, without the letter.
    bench.crash();
    assert_eq!((ids(&bench).len(), bench.core.messages()), (1, 1));
    assert_eq!(bench.core.replay(id, bench.now).unwrap_err(), NotReplayed::NotFound { id });
    // The crash forgot under which number it was attached last: so the device must be heard once more.
    assert!(!bench.settle(&mut node, 4));
    bench.core.attach(&"roamed".parse().unwrap(), bench.now).unwrap();
    bench.drain(&mut node);
    assert_eq!(node.values.get(&("roamed".parse().unwrap(), "1".into())), Some(&1));
}

#[test]
fn what_a_replay_cannot_help_is_said_and_left() {
    let mut bench = Bench::new(1 << 20, true);
    let mut node = NaiveNode::default();
    buried(&mut bench, &mut node);
    let Outlook::None(why) = outlook_of(&bench, "wrong") else { panic!("{:?}", outlooks(&bench)) };
    assert!(why.contains("rule"), "{why}");
    let error = bench.core.replay(id_of(&bench, "wrong"), bench.now).unwrap_err();
    assert!(matches!(error, NotReplayed::Useless { .. }) && error.to_string().contains("discard it"), "{error}");
    assert_eq!(ids(&bench).len(), 2);
}

#[test]
fn state_that_the_device_has_replaced_since_is_outdated() {
    let mut bench = Bench::new(1 << 20, true);
    let mut node = NaiveNode::default();
    buried(&mut bench, &mut node);
    bench.report("roamed", "v", 3).unwrap();
    assert_eq!(outlook_of(&bench, "roamed"), Outlook::Outdated);
    bench.drain(&mut node);
    bench.crash();
    assert_eq!(outlook_of(&bench, "roamed"), Outlook::Outdated, "also after a restart");
    // Its owner may know better.
    bench.core.replay(id_of(&bench, "roamed"), bench.now).unwrap();
    bench.commit();
    bench.drain(&mut node);
    assert_eq!(twin_core::json::to_compact(node.document("roamed").unwrap()), r#"{"v":1}"#);
}

#[test]
fn a_replay_does_not_claim_a_device_that_another_gateway_serves() {
    let mut bench = Bench::new(1 << 20, true);
    let mut node = NaiveNode::default();
    buried(&mut bench, &mut node);
    let id = id_of(&bench, "roamed");
    bench.core.attach(&"roamed".parse().unwrap(), bench.now).unwrap();
    node.attached_elsewhere("roamed");
    bench.core.disconnected();
    bench.connect();
    bench.attach(&mut node);
    let error = bench.core.replay(id, bench.now).unwrap_err();
    assert!(matches!(error, NotReplayed::Elsewhere { .. }), "{error}");
    assert!(ids(&bench).contains(&id));
}

#[test]
fn a_device_that_is_not_served_is_attached_for_its_replay_and_no_longer() {
    let mut bench = Bench::new(1 << 20, true);
    let mut node = NaiveNode::default();
    buried(&mut bench, &mut node);
    let twin = "roamed".parse().unwrap();
    bench.core.detach(&twin, bench.now);
    bench.core.replay(id_of(&bench, "roamed"), bench.now).unwrap();
    bench.drain(&mut node);
    assert_eq!(twin_core::json::to_compact(node.document("roamed").unwrap()), r#"{"v":1}"#);
    assert!(bench.core.twin(&twin).is_some_and(|twin| !twin.serving));
    let detached: Vec<_> = std::iter::from_fn(|| bench.core.take_detach()).flat_map(|frame| frame.items).collect();
    assert!(detached.iter().any(|(id, _)| *id == twin), "the node is told");
}

#[test]
fn discarded_letters_are_gone_and_their_ids_are_not_used_again() {
    let mut bench = Bench::new(1 << 20, true);
    let mut node = NaiveNode::default();
    buried(&mut bench, &mut node);
    let before = ids(&bench);
    assert_eq!(bench.core.discard(&before).1, 2);
    assert_eq!(bench.core.discard(&before).1, 0);
    bench.commit();
    bench.crash();
    assert!(ids(&bench).is_empty());
    buried(&mut bench, &mut node);
    assert!(ids(&bench).iter().all(|id| *id > before[1]), "{:?} after {before:?}", ids(&bench));
}

#[test]
fn pages_are_bounded_the_oldest_go_and_are_counted_also_after_a_restart() {
    let mut bench = Bench::new(1 << 24, true);
    let mut node = NaiveNode::refusing(|_, _| Some(Refusal::Superseded));
    for n in 0..DEAD_LETTERS_MAX + 3 {
        bench.report(&format!("label-{n}"), "v", 1).unwrap();
    }
    bench.drain(&mut node);
    let mut seen = Vec::new();
    loop {
        let page = bench.core.dead_letter_page(seen.last().copied(), 1000);
        assert!(page.letters.len() <= 1000 && page.dropped == 3);
        seen.extend(page.letters.iter().map(|listed| listed.id));
        if !page.more {
            break;
        }
    }
    assert_eq!((seen.len(), seen.is_sorted()), (DEAD_LETTERS_MAX, true));
    bench.crash();
    assert_eq!((ids(&bench), bench.core.dead.dropped()), (seen, 3));
}

#[test]
fn at_the_cap_a_letter_stays() {
    let mut bench = Bench::new(2_000, false);
    let mut node = NaiveNode::default();
    buried(&mut bench, &mut node);
    while bench.report("a", "v", 1).is_ok() {}
    let error = bench.core.replay(id_of(&bench, "roamed"), bench.now).unwrap_err();
    assert!(matches!(error, NotReplayed::Append(AppendError::Full { .. })), "{error}");
    assert_eq!(ids(&bench).len(), 2);
}
