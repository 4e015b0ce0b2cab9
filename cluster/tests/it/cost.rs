//! What a report costs between the session and the committer, counted rather than timed: a turn in place allocates little, and
//! a message to an actor would show.

use std::sync::Arc;

use tokio::sync::mpsc;
use twin_core::command::{Answer, Command, Sender};
use twin_core::grain::{Answers, Reply};
use twin_core::numbers::Seq;
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::refusal::Refusal;
use twin_core::report::PackedReport;
use twin_transports::server::Submission;

use crate::world::{World, sender, twin};

const TWINS: usize = 256;
/// Most allocations of one update: the row, its shared handle, its key. Measured 3.2.
const ALLOCATIONS_MAX: f64 = 3.7;
/// With fewer on this thread, the turns were taken elsewhere.
const ALLOCATIONS_MIN: f64 = 2.5;

struct Told(mpsc::UnboundedSender<Result<Answer, Refusal>>);

impl Answers for Told {
    fn answer(&self, _: u32, answer: Result<Answer, Refusal>) {
        self.0.send(answer).unwrap();
    }
}

fn report(sender: &Sender, round: u64) -> Command {
    let set = |property| Op::Set {
        path: Path::from_keys([format!("property-{property:02}")]),
        value: (round as f64 + f64::from(property) / 8.0).into(),
    };
    let ops: Vec<Op> = (0..12).map(set).collect();
    let number = Seq::new(round);
    Command::Report { sender: sender.clone(), first: number, last: number, report: PackedReport::from(&ops[..]) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_to_an_active_twin_costs_a_few_allocations() {
    let world = World::new().await;
    let gateway = sender("g");
    for at in 0..TWINS {
        world.put(&format!("s{at}")).await;
        world.attach(&format!("s{at}"), &gateway, 0).await.unwrap();
    }
    let mut per_update: f64 = 0.0;
    for round in 1..=6 {
        let (told, mut answers) = mpsc::unbounded_channel();
        let told: Arc<dyn Answers> = Arc::new(Told(told));
        let submission = |at| Submission {
            twin: twin(&format!("s{at}")),
            command: report(&gateway, round),
            bytes: 300,
            reply: Reply::shared(told.clone(), at as u32),
        };
        let batch: Vec<Submission> = (0..TWINS).map(submission).collect();
        // Turns in place are this thread's, so that counting what this thread allocates counts all of them.
        let cost = allocation_counter::measure(|| world.cluster.submit_all(batch));
        drop(told);
        for _ in 0..TWINS {
            assert_eq!(answers.recv().await, Some(Ok(Answer::Done)));
        }
        // The first round makes the properties. A twin that was busy for a moment counts less here, not more.
        if round > 1 {
            per_update = per_update.max(cost.count_total as f64 / TWINS as f64);
        }
    }
    println!("{per_update:.2} allocations an update");
    assert!(per_update <= ALLOCATIONS_MAX, "{per_update:.2} allocations an update");
    assert!(per_update >= ALLOCATIONS_MIN, "{per_update:.2} allocations an update: it was not carried out in place");
}
