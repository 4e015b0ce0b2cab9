//! Readings of twins: bounded, and each refusal by its name.

use tokio::sync::oneshot;
use twin_core::ids::TwinId;

use super::harness::Bench;
use crate::error::GetError;
use crate::limits::GETS_MAX;

#[test]
fn readings_need_a_session_and_have_a_bound_that_who_gave_up_does_not_count_against() {
    let mut bench = Bench::new(1 << 20, true);
    let twin: TwinId = "a".parse().unwrap();
    assert_eq!(bench.core.ask(twin.clone(), oneshot::channel().0), Err(GetError::NotConnected));
    bench.connect();
    let mut waiting = Vec::new();
    for _ in 0..GETS_MAX {
        let (sender, receiver) = oneshot::channel();
        bench.core.ask(twin.clone(), sender).unwrap();
        waiting.push(receiver);
    }
    assert_eq!(bench.core.ask(twin.clone(), oneshot::channel().0), Err(GetError::Busy));
    waiting.pop();
    assert_eq!(bench.core.ask(twin, oneshot::channel().0), Ok(()));
}
