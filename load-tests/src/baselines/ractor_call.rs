//! Calls of ractor actors that do nothing: what the actors alone would allow.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

use crate::measure::{Client, closed_loop};

/// Actors that are called in turn, by each caller: as many as a gateway has hot twins.
const ACTORS: usize = 2_500;
/// Callers, each with calls under way.
const CALLERS: usize = 10;
/// Calls of a caller under way.
const WINDOW: usize = 256;

struct Idle;

struct Call(RpcReplyPort<u64>);

impl Actor for Idle {
    type Msg = Call;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Call>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(&self, _: ActorRef<Call>, Call(reply): Call, calls: &mut u64) -> Result<(), ActorProcessingErr> {
        *calls += 1;
        // The caller may have gone.
        let _ = reply.send(*calls);
        Ok(())
    }
}

struct Caller {
    actors: Vec<ActorRef<Call>>,
    next: usize,
}

impl Client for Caller {
    async fn step(&mut self) -> anyhow::Result<u64> {
        let calls = (0..WINDOW).map(|_| {
            self.next = (self.next + 1) % self.actors.len();
            let (sender, receiver) = tokio::sync::oneshot::channel();
            self.actors[self.next].send_message(Call(sender.into())).map(|()| receiver)
        });
        for call in calls.collect::<Vec<_>>() {
            call.map_err(|error| anyhow::anyhow!("{error}"))?.await?;
        }
        Ok(WINDOW as u64)
    }
}

/// Calls a second.
pub(crate) async fn ractor_calls(warm_up: Duration, lasting: Duration) -> anyhow::Result<f64> {
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        let mut actors = Vec::new();
        for _ in 0..ACTORS {
            actors.push(Actor::spawn(None, Idle, ()).await?.0);
        }
        callers.push(Caller { actors, next: 0 });
    }
    let (loaded, callers) = closed_loop(callers, warm_up, lasting, || {}).await?;
    callers.iter().flat_map(|caller| &caller.actors).for_each(|actor| actor.stop(None));
    Ok(loaded.per_s())
}
