//! Leadership lost and taken again, and grains that come and go.

use std::time::Duration;

use twin_cluster::ClusterOptions;
use twin_core::command::Answer;
use twin_core::refusal::Refusal;

use crate::world::{World, reported, sender};

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_chain_loses_nothing_acknowledged_and_doubles_nothing() {
    let world = World::new().await;
    world.put("s").await;
    let gateway = sender("g");
    world.attach("s", &gateway, 0).await.unwrap();
    let mut number = 1;
    let mut refused = 0;
    let mut windows = 0;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while number <= 600 {
        assert!(tokio::time::Instant::now() < deadline, "stuck at {number} after {refused} refusals");
        windows += 1;
        // A window of reports in flight, as a gateway has them; a usurper in the middle of every third.
        let window: Vec<u64> = (number..(number + 20).min(601)).collect();
        let answers = window.iter().map(|n| world.report("s", &gateway, *n, *n));
        let reports = futures_util::future::join_all(answers);
        let (answers, ()) = tokio::join!(reports, async {
            if windows % 3 == 0 {
                world.cluster.usurp().await;
            }
        });
        for (n, answer) in window.iter().zip(answers) {
            match answer {
                Ok(Answer::Done | Answer::Duplicate) => {
                    assert!(*n >= number, "acknowledged in order");
                    number = n + 1;
                }
                Err(Refusal::Unavailable { .. } | Refusal::Gap { .. } | Refusal::Busy { .. }) => {
                    refused += 1;
                    break;
                }
                other => panic!("{n}: {other:?}"),
            }
        }
        world.cluster.ready().await;
    }
    let document = world.read("s").await.unwrap();
    assert_eq!(reported(&document), Some(&600.into()));
    assert_eq!(document.reported_version.get(), 601, "each took effect once");
    assert!(world.cluster.stats().poisonings > 0, "the test broke no chain");
}

#[tokio::test(flavor = "multi_thread")]
async fn grains_make_room_for_others_and_come_back_as_they_were() {
    let world = World::with(ClusterOptions { active_grains_max: 64, ..ClusterOptions::default() }).await;
    let gateway = sender("g");
    for number in 0..300 {
        let id = format!("s-{number}");
        world.put(&id).await;
        world.attach(&id, &gateway, 0).await.unwrap();
        world.report(&id, &gateway, 1, number).await.unwrap();
    }
    let stats = world.cluster.stats();
    assert!(stats.grains_active <= 64, "{stats:?}");
    assert!(stats.passivations >= 236, "{stats:?}");
    for number in 0..300 {
        assert_eq!(reported(&world.read(&format!("s-{number}")).await.unwrap()), Some(&number.into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_budget_commands_are_refused_with_a_time_to_come_back() {
    let world = World::with(ClusterOptions { admitted_bytes_max: 2000, ..ClusterOptions::default() }).await;
    world.put("s").await;
    let gateway = sender("g");
    world.attach("s", &gateway, 0).await.unwrap();
    let answers = futures_util::future::join_all((1..=100).map(|n| world.report("s", &gateway, n, n))).await;
    let busy = answers.iter().filter(|answer| matches!(answer, Err(Refusal::Busy { retry_after_ms: 1.., .. }))).count();
    assert!(busy > 0, "{answers:?}");
    assert_eq!(world.cluster.stats().admitted_bytes, 0, "everything admitted was given back");
}
