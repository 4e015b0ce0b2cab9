//! What goes up on the control stream: attach, detach, received, answers to calls. Keeps the core's time, too.

use quinn::SendStream;
use tokio::io::AsyncWrite;
use twin_transports::codec::{Frame, FrameError, FrameWriter};
use twin_transports::frames::device::{CallOutcome, CallResult};

use crate::session::due::Due;
use crate::session::end::End;
use crate::shared::Shared;

/// Sends what there is, then waits for more, or until something's time has come.
pub(crate) async fn control(shared: &Shared, mut writer: FrameWriter<SendStream>, due: &Due) -> End {
    loop {
        let (frames, next, now) = shared.with(|core, now| {
            let next = core.tick(now);
            (core.take_control(now), next, now)
        });
        if !frames.is_empty() {
            for frame in &frames {
                if let Err(error) = put(&mut writer, frame) {
                    return error.into();
                }
            }
            if let Err(error) = writer.flush().await {
                return error.into();
            }
            due.asked(frames.iter().filter(|frame| is_request(frame)).count() as u64);
            continue;
        }
        match next {
            // Elapsed or notified, it looks again.
            Some(time) => drop(tokio::time::timeout(time.saturating_sub(now), shared.control_wake.notified()).await),
            None => shared.control_wake.notified().await,
        }
    }
}

/// An answer to a call that fits no frame is no reason to end the session: the caller is told so.
fn put<W: AsyncWrite + Unpin>(writer: &mut FrameWriter<W>, frame: &Frame) -> Result<(), FrameError> {
    let error = match writer.put(frame) {
        Err(error) if !matches!(error, FrameError::Io(_)) => error,
        put => return put,
    };
    let Frame::CallResult(CallResult { twin, call, .. }) = frame else { return Err(error) };
    tracing::error!(%twin, %error, "the answer to a call cannot be sent");
    let payload = format!("the gateway cannot send the answer: {error}").as_str().into();
    let outcome = CallOutcome::Answered { status: 500, payload };
    writer.put(&CallResult { twin: twin.clone(), call: *call, outcome }.into())
}

/// Does the node answer it?
fn is_request(frame: &Frame) -> bool {
    matches!(frame, Frame::Attach(_) | Frame::Detach(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use twin_core::ids::TwinId;
    use twin_core::numbers::CallNo;
    use twin_core::value::Value;
    use twin_transports::limits::{FRAME_BYTES_MAX, FRAME_DEPTH_MAX};

    #[test]
    fn an_answer_that_fits_no_frame_becomes_an_error_for_its_caller() {
        let payload = (0..=FRAME_DEPTH_MAX).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        let outcome = CallOutcome::Answered { status: 200, payload };
        let frame = CallResult { twin: TwinId::new("t").unwrap(), call: CallNo::new(1), outcome }.into();
        let mut writer = FrameWriter::new(tokio::io::sink(), FRAME_BYTES_MAX);
        put(&mut writer, &frame).unwrap();
        assert!(writer.pending_bytes() > 0);
    }
}
