//! What goes up on the control stream: attach, detach, get, received, answers to calls. Keeps the core's time, too.

use quinn::SendStream;
use twin_transports::codec::FrameWriter;

use crate::session::end::End;
use crate::shared::Shared;

/// Sends what there is, then waits for more, or until something's time has come.
pub(crate) async fn control(shared: &Shared, mut writer: FrameWriter<SendStream>) -> End {
    loop {
        let (frames, next, now) = shared.with(|core, now| {
            let next = core.tick(now);
            (core.take_control(now), next, now)
        });
        if !frames.is_empty() {
            for frame in &frames {
                if let Err(error) = writer.put(frame) {
                    return error.into();
                }
            }
            if let Err(error) = writer.flush().await {
                return error.into();
            }
            continue;
        }
        match next {
            // Elapsed or notified, it looks again.
            Some(time) => drop(tokio::time::timeout(time.saturating_sub(now), shared.control_wake.notified()).await),
            None => shared.control_wake.notified().await,
        }
    }
}
