//! What is acknowledged is kept.

use twin_core::command::Answer;

use crate::world::{World, reported, sender};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_crash() {
    let world = World::new().await;
    let gateway = sender("g");
    for number in 0..50 {
        let id = format!("s-{number}");
        world.put(&id).await;
        world.attach(&id, &gateway, 0).await.unwrap();
        for n in 1..=10 {
            assert_eq!(world.report(&id, &gateway, n, n).await, Ok(Answer::Done));
        }
    }
    // A copy of the files as they are now, without any goodbye: what a power cut leaves (as far as synced).
    let crashed = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(world.directory.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), crashed.path().join(file.file_name())).unwrap();
    }
    world.cluster.shutdown().await;
    let world = World { directory: crashed, cluster: world.cluster };
    let world = world.restart().await;
    for number in 0..50 {
        let document = world.read(&format!("s-{number}")).await.unwrap();
        assert_eq!(reported(&document), Some(&10.into()));
        assert_eq!(document.reported_version.get(), 11);
    }
}
