//! Stays and numbers through the whole of grain, committer and storage.

use std::sync::Arc;

use tokio::sync::mpsc;
use twin_core::command::{Answer, Command};
use twin_core::grain::{Answers, Reply};
use twin_core::numbers::{AttachmentNo, Seq};
use twin_core::refusal::Refusal;
use twin_transports::server::Submission;

use crate::world::{World, report, reported, sender, twin};

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

struct Told(mpsc::UnboundedSender<Result<Answer, Refusal>>);

impl Answers for Told {
    fn answer(&self, _: u32, answer: Result<Answer, Refusal>) {
        self.0.send(answer).unwrap();
    }
}

/// Batches of one session, each with a report for every twin (so that grains are free at times, taken at others, and still
/// being loaded at first), while others read the same twins from several tasks.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_and_readings_at_once_keep_the_order_of_each_twin() {
    const TWINS: u64 = 40;
    const BATCHES: u64 = 150;
    let world = World::new().await;
    let gateway = sender("g");
    for number in 0..TWINS {
        world.put(&format!("s{number}")).await;
        world.attach(&format!("s{number}"), &gateway, 0).await.unwrap();
    }
    let world = world.restart().await;

    let readers: Vec<_> = (0..3)
        .map(|_| {
            let cluster = world.cluster.clone();
            tokio::spawn(async move {
                let mut newest = vec![0; TWINS as usize];
                for round in 0..20 * TWINS {
                    let at = round % TWINS;
                    let read = cluster.call(&twin(&format!("s{at}")), Command::Read, 0).await;
                    let Ok(Answer::Document { document, .. }) = read else { panic!("{read:?}") };
                    assert!(document.reported_version.get() >= newest[at as usize], "a reading went back");
                    newest[at as usize] = document.reported_version.get();
                }
            })
        })
        .collect();

    let (told, mut answers) = mpsc::unbounded_channel();
    let told: Arc<dyn Answers> = Arc::new(Told(told));
    for number in 1..=BATCHES {
        // Each twin twice in a batch: the second time its seat is held by the batch itself.
        let batch = (0..2 * TWINS).map(|at| Submission {
            twin: twin(&format!("s{}", at % TWINS)),
            command: report(&gateway, 2 * number - 1 + at / TWINS, 2 * number + at / TWINS),
            bytes: 100,
            reply: Reply::shared(told.clone(), at as u32),
        });
        world.cluster.submit_all(batch.collect());
        tokio::task::yield_now().await;
    }
    drop(told);
    let mut count = 0;
    while let Some(answer) = answers.recv().await {
        assert_eq!(answer, Ok(Answer::Done));
        count += 1;
    }
    assert_eq!(count, 2 * TWINS * BATCHES);
    for reader in readers {
        reader.await.unwrap();
    }
    let document = world.read("s7").await.unwrap();
    assert_eq!(document.reported_version.get(), 1 + 2 * BATCHES);
}
