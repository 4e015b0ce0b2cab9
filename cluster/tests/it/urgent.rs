//! What alarms wait for comes in where the node is full.

use std::sync::Arc;
use std::time::Duration;

use twin_cluster::{Cluster, ClusterOptions};
use twin_core::alarm::{Alarm, Severity};
use twin_core::clock::SystemClock;
use twin_core::command::{Answer, Command, Sender};
use twin_core::grain::Reply;
use twin_core::numbers::{AttachmentNo, Seq, WallTime};
use twin_core::refusal::Refusal;
use twin_core::value::Value;
use twin_faulty_disk::FaultyDisk;
use twin_storage::{Options, Storage};
use twin_transports::server::Backend as _;

use crate::faulty_disk::NodeDisk;
use crate::world::{World, report, sender, twin};

const BUDGET_BYTES: usize = 64 * 1024;

impl World {
    /// As a session submits it, and as it submits what alarms wait for.
    fn begin(
        &self,
        id: &str,
        command: Command,
        bytes: usize,
        urgent: bool,
    ) -> tokio::sync::oneshot::Receiver<Result<Answer, Refusal>> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let reply = Reply::once(move |answer| sender.send(answer).unwrap());
        if urgent {
            self.cluster.submit_urgent(&twin(id), command, bytes, reply);
        } else {
            twin_transports::server::Backend::submit(&self.cluster, &twin(id), command, bytes, reply);
        }
        receiver
    }
}

fn attach(sender: &Sender) -> Command {
    Command::Attach { sender: sender.clone(), saw: AttachmentNo::new(0), may_create: false }
}

fn alarm(sender: &Sender) -> Command {
    let alarm = Alarm {
        name: "door".into(),
        severity: Severity::Major,
        raised_at: WallTime::new(1),
        payload: Value::from("open"),
    };
    let first = Seq::new(1);
    Command::Alarm { sender: sender.clone(), first, last: first, alarm: Some(Box::new(alarm)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_attaches_the_device_that_an_alarm_waits_for_and_takes_the_alarm() {
    let disk = FaultyDisk::new();
    let storage = Storage::open(Options::on_disk(Arc::new(NodeDisk(disk.clone())))).unwrap();
    let options = ClusterOptions { admitted_bytes_max: BUDGET_BYTES, ..ClusterOptions::default() };
    let cluster = Cluster::start(storage, options, Arc::new(SystemClock::new())).await.unwrap();
    let world = World { directory: tempfile::tempdir().unwrap(), cluster };
    let gateway = sender("g");
    for id in ["hog", "label", "freezer"] {
        world.put(id).await;
    }
    world.attach("hog", &gateway, 0).await.unwrap();

    // Nothing is committed soon, so what is under way fills the budget.
    disk.be_slow(Duration::from_millis(300));
    let hog = world.begin("hog", report(&gateway, 1, 7), 2 * BUDGET_BYTES, false);
    let refused = world.begin("label", attach(&gateway), 100, false).await.unwrap();
    assert!(matches!(refused, Err(Refusal::Busy { .. })), "{refused:?}");
    let attached = world.begin("freezer", attach(&gateway), 100, true);
    // Their share has an end: as many attaches as fit into it, and no more.
    let many: Vec<_> = (0..100).map(|_| world.begin("label", attach(&gateway), 100, true)).collect();
    assert!(world.cluster.stats().admitted_bytes <= (2 * BUDGET_BYTES + BUDGET_BYTES / 8) as u64);
    disk.be_slow(Duration::ZERO);
    assert!(matches!(attached.await.unwrap(), Ok(Answer::Attached { .. })));
    let mut busy = 0;
    for answer in many {
        busy += u32::from(matches!(answer.await.unwrap(), Err(Refusal::Busy { .. })));
    }
    assert!(busy >= 80, "{busy} of 100 were refused");
    let taken = world.begin("freezer", alarm(&gateway), 100, false).await.unwrap();
    assert_eq!(taken, Ok(Answer::Done));
    assert_eq!(hog.await.unwrap(), Ok(Answer::Done));
    world.cluster.shutdown().await;
}
