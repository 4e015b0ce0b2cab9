//! What comes down on the control stream.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use quinn::RecvStream;
use twin_core::rules::check_payload;
use twin_core::value::Value;
use twin_transports::codec::{Frame, FrameReader};
use twin_transports::frames::device::{Call, CallOutcome};

use crate::core::calls::CallStep;
use crate::method::{Handler, MethodAnswer, MethodCall};
use crate::session::due::Due;
use crate::session::end::End;
use crate::shared::Shared;

/// Gives each frame to the core; runs the handlers of calls.
pub(crate) async fn downlink(shared: &Arc<Shared>, mut reader: FrameReader<RecvStream>, due: &Due) -> End {
    loop {
        match reader.next().await {
            Ok(Some(Frame::Refused(refused))) => return refused.into(),
            Ok(Some(Frame::Notice(notice))) => {
                tracing::warn!(code = notice.code, message = notice.message, "the node gives notice");
                shared.with(|core, _| core.notice = Some((notice.code, notice.message)));
            }
            Ok(Some(Frame::Call(call))) => {
                if let CallStep::Run(call) = shared.with(|core, _| core.call(call)) {
                    run(shared, call);
                }
            }
            Ok(Some(frame)) => {
                if is_answer(&frame) {
                    due.answered();
                }
                shared.with(|core, now| match frame {
                    Frame::AttachResults(answer) => core.attach_results(answer.request, answer.results, now),
                    Frame::Desired(desired) => core.desired(desired, now),
                    Frame::DesiredMany(many) => many.items.into_iter().for_each(|desired| core.desired(desired, now)),
                    // A stay that is over is over, whatever the answer.
                    Frame::DetachResults(_) => {}
                    other => tracing::warn!(kind = other.kind_name(), "the node sent a frame that has no place here"),
                });
            }
            Ok(None) => return End::Failed("the node finished the control stream".into()),
            Err(error) => return error.into(),
        }
    }
}

/// Is it the answer to a request?
fn is_answer(frame: &Frame) -> bool {
    matches!(frame, Frame::AttachResults(_) | Frame::DetachResults(_))
}

/// Runs a call's handler on its own, for at most as long as the caller waits.
fn run(shared: &Arc<Shared>, call: Call) {
    let Some(handler) = shared.methods.get(&call.method) else {
        shared.with(|core, _| core.answer_call(call.twin, call.call, CallOutcome::NoSuchMethod));
        return;
    };
    let Ok(permit) = Arc::clone(&shared.methods.running).try_acquire_owned() else {
        let outcome = answered(MethodAnswer::new(503, "the gateway runs as many methods as it may"));
        shared.with(|core, _| core.answer_call(call.twin, call.call, outcome));
        return;
    };
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let _permit = permit;
        let timeout = Duration::from_millis(call.timeout_ms);
        let asked = MethodCall { twin: call.twin.clone(), method: call.method, payload: call.payload };
        let answer = tokio::select! {
            answer = tokio::time::timeout(timeout, handle(&handler, asked)) => answer,
            () = shared.stop.cancelled() => return,
        };
        // Past the timeout nobody waits for the answer any more.
        if let Ok(answer) = answer {
            shared.with(|core, _| core.answer_call(call.twin, call.call, answered(answer)));
        }
    });
}

async fn handle(handler: &Handler, call: MethodCall) -> MethodAnswer {
    let method = call.method.clone();
    // The application's panic is the application's answer: the gateway goes on.
    let Ok(future) = std::panic::catch_unwind(AssertUnwindSafe(|| handler(call))) else {
        return MethodAnswer::new(500, format!("the handler of {method} panicked").as_str());
    };
    future.await
}

/// An answer that the node would not take is told as such.
fn answered(answer: MethodAnswer) -> CallOutcome {
    let MethodAnswer { status, payload } = answer;
    match check_payload(&payload, "method answer") {
        Ok(()) => CallOutcome::Answered { status, payload },
        Err(refusal) => CallOutcome::Answered { status: 500, payload: Value::from(refusal.to_string().as_str()) },
    }
}
