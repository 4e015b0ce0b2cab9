//! Changes with an idempotency key through the whole of grain, committer and storage.

use twin_cluster::ClusterOptions;
use twin_core::command::{Answer, ChangeKind, Command, Precondition, SectionChange};
use twin_core::ids::IdempotencyKey;
use twin_core::once::{Fingerprint, Once, OnceAnswer};
use twin_core::path::Path;
use twin_core::refusal::Refusal;

use crate::world::{World, twin};

fn patch(n: i64) -> Command {
    let value = twin_core::json::parse(format!(r#"{{"n": {n}}}"#).as_bytes(), "test").unwrap();
    let change = SectionChange { at: Path::root(), kind: ChangeKind::Merge(value) };
    Command::SteerBriefly { tags: None, desired: Some(change), precondition: Precondition::None }
}

fn once(key: &str, n: i64) -> Command {
    let key = IdempotencyKey::new(key).unwrap();
    Command::Once(Box::new(Once { key, fingerprint: Fingerprint(n.cast_unsigned(), 0), change: patch(n) }))
}

async fn send(world: &World, key: &str, n: i64) -> Result<OnceAnswer, Refusal> {
    match world.cluster.call(&twin("label"), once(key, n), 100).await? {
        Answer::Once(answer) => Ok(*answer),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_survives_passivation_a_broken_chain_and_a_restart() {
    // One grain a shard: the others push this one out.
    let world = World::with(ClusterOptions { active_grains_max: 64, ..ClusterOptions::default() }).await;
    world.put("label").await;
    let first = send(&world, "k", 1).await.unwrap();
    assert!(!first.replayed);
    world.cluster.call(&twin("label"), patch(2), 10).await.unwrap();

    for n in 0..400 {
        world.put(&format!("other-{n}")).await;
    }
    assert!(world.cluster.stats().passivations >= 300, "{:?}", world.cluster.stats());
    let again = send(&world, "k", 1).await.unwrap();
    assert_eq!((again.replayed, &again.outcome), (true, &first.outcome));

    world.cluster.usurp().await;
    world.cluster.ready().await;
    let again = loop {
        match send(&world, "k", 1).await {
            Err(Refusal::Unavailable { .. }) => tokio::task::yield_now().await,
            answer => break answer.unwrap(),
        }
    };
    assert_eq!((again.replayed, &again.outcome), (true, &first.outcome));

    let world = world.restart().await;
    let again = send(&world, "k", 1).await.unwrap();
    assert_eq!((again.replayed, &again.outcome), (true, &first.outcome));
    let refused = send(&world, "k", 3).await;
    assert!(matches!(refused, Err(Refusal::KeyReused { .. })), "{refused:?}");
    assert_eq!(world.read("label").await.unwrap().desired_version.get(), 3);
}

/// The repeats overtake the answer of the first, and each other.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_sent_many_times_at_once_takes_effect_once() {
    let world = World::new().await;
    world.put("label").await;
    for round in 1..=5 {
        let key = format!("k-{round}");
        let answers = futures_util::future::join_all((0..50).map(|_| send(&world, &key, round))).await;
        let fresh = answers.iter().filter(|answer| !answer.as_ref().unwrap().replayed).count();
        assert_eq!(fresh, 1);
        let outcome = &answers[0].as_ref().unwrap().outcome;
        assert!(answers.iter().all(|answer| answer.as_ref().unwrap().outcome == *outcome));
    }
    assert_eq!(world.read("label").await.unwrap().desired_version.get(), 6);
}
