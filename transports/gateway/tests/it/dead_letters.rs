//! Dead letters in the hands of an application that runs.

use serde_json::json;
use twin_core::command::Command;
use twin_core::refusal::{Refusal, RuleViolation};
use twin_gateway::{NotReplayed, Outlook, ReplayError};

use crate::node::{Node, World, id, within};

#[tokio::test]
async fn what_was_refused_for_a_while_is_replayed_once_and_what_is_wrong_is_discarded() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let gateway = node.gateway("g1", dir.path());
    let (label, wrong) = (id("label"), id("wrong"));
    // Events need no attach, but a twin.
    for twin in [&label, &wrong] {
        within("the ack", gateway.report(twin, &json!({"a": 1})).await.unwrap().acked()).await.unwrap();
    }
    let rule = RuleViolation { code: "test".into(), pointer: "/v".into(), message: "no".into(), limit: None };
    node.world.refuse({
        let (label, wrong) = (label.clone(), wrong.clone());
        move |twin, command| match command {
            Command::Event { name, .. } if *twin == label && name == "opened" => Some(Refusal::Superseded),
            Command::Event { name, .. } if *twin == wrong && name == "opened" => Some(Refusal::Rule(rule.clone())),
            _ => None,
        }
    });
    for (twin, n) in [(&label, 1), (&wrong, 2), (&label, 3)] {
        let receipt = gateway.event(twin, "opened", &json!({ "n": n })).await.unwrap();
        within("the refusal", receipt.acked()).await.unwrap_err();
    }
    node.world.refuse(|_, _| None);
    let page = gateway.dead_letter_page(None, 2);
    assert_eq!((page.letters.len(), page.more, page.dropped), (2, true, 0));
    assert!(matches!(page.letters[1].outlook, Outlook::None(_)), "{page:?}");
    let wrong_id = page.letters[1].id;
    let error = gateway.replay_dead_letter(wrong_id).await.unwrap_err();
    assert!(matches!(error, ReplayError::NotReplayed(NotReplayed::Useless { .. })), "{error}");

    let replayed = gateway.replay_dead_letters().await.unwrap();
    assert_eq!((replayed.receipts.len(), replayed.outdated, replayed.useless), (2, 0, 1));
    assert!(replayed.stopped.is_none());
    within("the acks", replayed.receipts.acked()).await.unwrap();
    let took = node.world.log(|done| match &done.command {
        Command::Event { payload, .. } if done.answer.is_ok() => Some(twin_core::json::to_compact(payload)),
        _ => None,
    });
    assert_eq!(took.iter().filter(|payload| payload.contains("\"n\"")).count(), 2, "{took:?}");
    assert_eq!(gateway.status().counters.replayed, 2);

    assert_eq!(gateway.discard_dead_letters(&[wrong_id, wrong_id]).await.unwrap(), 1);
    gateway.shutdown().await;
    drop(gateway);
    let gateway = crate::sessions::reopened(node.options("g1", dir.path())).await;
    assert!(gateway.dead_letters().is_empty());
}
