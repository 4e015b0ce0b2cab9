//! Stays and numbers through the whole of grain, committer and storage.

use twin_core::command::Answer;
use twin_core::grain::Reply;
use twin_core::numbers::{AttachmentNo, Seq};
use twin_core::refusal::Refusal;

use crate::world::{World, reported, sender};

#[tokio::test(flavor = "multi_thread")]
async fn a_report_resent_after_a_restart_takes_effect_once() {
    let world = World::new().await;
    world.put("s").await;
    let gateway = sender("g");
    assert!(matches!(world.report("s", &gateway, 1, 5).await, Err(Refusal::NotAttached)));
    assert!(matches!(
        world.attach("s", &gateway, 0).await,
        Ok(Answer::Attached { attachment, .. }) if attachment == AttachmentNo::new(1)
    ));
    assert_eq!(world.report("s", &gateway, 1, 5).await, Ok(Answer::Done));
    assert_eq!(world.report("s", &gateway, 2, 6).await, Ok(Answer::Done));

    let world = world.restart().await;
    assert_eq!(world.report("s", &gateway, 1, 5).await, Ok(Answer::Duplicate));
    assert_eq!(world.report("s", &gateway, 4, 9).await, Err(Refusal::Gap { next: Seq::new(3) }));
    assert_eq!(world.report("s", &gateway, 3, 7).await, Ok(Answer::Done));
    let document = world.read("s").await.unwrap();
    assert_eq!(reported(&document), Some(&7.into()));
    assert_eq!(document.reported_version.get(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roamed_devices_old_gateway_cannot_overwrite() {
    let world = World::new().await;
    world.put("s").await;
    let (old, new) = (sender("old"), sender("newer"));
    world.attach("s", &old, 0).await.unwrap();
    world.report("s", &old, 1, 1).await.unwrap();
    assert_eq!(world.attach("s", &new, 0).await, Err(Refusal::Conflict { last: AttachmentNo::new(1) }));
    world.attach("s", &new, 1).await.unwrap();
    world.report("s", &new, 1, 2).await.unwrap();
    assert_eq!(world.report("s", &old, 2, 1).await, Err(Refusal::Superseded));
    assert_eq!(reported(&world.read("s").await.unwrap()), Some(&2.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_reports_in_flight_keep_their_order() {
    let world = World::new().await;
    world.put("s").await;
    let gateway = sender("g");
    world.attach("s", &gateway, 0).await.unwrap();
    let mut answers = Vec::new();
    for number in 1..=2000 {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        world.cluster.submit(
            &crate::world::twin("s"),
            crate::world::report(&gateway, number, number),
            100,
            Reply::once(move |answer| sender.send(answer).unwrap()),
        );
        answers.push(receiver);
    }
    for answer in answers {
        assert_eq!(answer.await.unwrap(), Ok(Answer::Done));
    }
    let document = world.read("s").await.unwrap();
    assert_eq!(reported(&document), Some(&2000.into()));
    assert_eq!(document.reported_version.get(), 2001);
    assert!(world.cluster.stats().entries < 1000, "changes share entries: {:?}", world.cluster.stats());
}
