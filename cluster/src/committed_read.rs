//! Reads while the chain is stalled: of a twin whose change waits for room on the disk, what was committed before it is read.
//!
//! That is linearizable: the change was acknowledged to nobody, and this owner still is the owner when the rows have been read.

use std::sync::Arc;

use twin_core::command::Command;
use twin_core::grain::Reply;
use twin_core::ids::TwinId;
use twin_core::numbers::Floor;
use twin_core::refusal::Refusal;
use twin_core::twin::StepContext;

use crate::cell::{Tenure, owner_changed};
use crate::loader::load;

/// A reply that, where the grain cannot answer a read, gives the answer of the committed rows instead.
pub(crate) fn or_committed(tenure: &Arc<Tenure>, twin: &TwinId, command: &Command, reply: Reply) -> Reply {
    if !command.is_read() {
        return reply;
    }
    let (tenure, twin, command) = (Arc::clone(tenure), twin.clone(), command.clone());
    Reply::once(move |answer| match answer {
        Err(Refusal::Unavailable { .. }) => {
            let runtime = tenure.runtime().clone();
            runtime.spawn(async move { reply.send(read(&tenure, &twin, command).await) });
        }
        answer => reply.send(answer),
    })
}

async fn read(tenure: &Tenure, twin: &TwinId, command: Command) -> Result<twin_core::command::Answer, Refusal> {
    let mut loaded = load(tenure.reader(), twin).await?;
    let context = StepContext { now: tenure.now(), floor: Floor::default(), observed: false };
    let step = loaded.step(command, context);
    if tenure.is_current() { step.answer } else { Err(owner_changed()) }
}
