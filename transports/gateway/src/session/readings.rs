//! Readings up, views down: one stream, opened when there is something to read.

use std::time::Duration;

use quinn::{Connection, RecvStream, SendStream};
use twin_transports::codec::{Frame, FrameReader, FrameWriter};
use twin_transports::frames::readings::write_get;
use twin_transports::frames::session::{Open, StreamClass};
use twin_transports::limits::FRAME_BYTES_MAX;

use crate::readings::{Answered, Outgoing};
use crate::session::due::Due;
use crate::session::end::End;
use crate::shared::Shared;

/// Asks and takes answers until the session ends.
pub(crate) async fn readings(shared: &Shared, connection: &Connection, due: &Due) -> End {
    let first = next(shared).await;
    let (send, recv) = match connection.open_bi().await {
        Ok(stream) => stream,
        Err(error) => return error.into(),
    };
    let mut writer = FrameWriter::new(send, FRAME_BYTES_MAX);
    if let Err(error) = writer.put(&Open { class: StreamClass::Readings }.into()) {
        return error.into();
    }
    tokio::select! {
        end = ask(shared, writer, first, due) => end,
        end = listen(shared, FrameReader::new(recv, FRAME_BYTES_MAX), due) => end,
    }
}

/// Waits for a frame that it is time to send.
async fn next(shared: &Shared) -> Outgoing {
    loop {
        let now = shared.clock.monotonic();
        // Not in the match, which would keep the lock.
        let taken = shared.readings.lock().take(now);
        match taken {
            Ok(outgoing) => return outgoing,
            // Elapsed or notified, it looks again.
            Err(Some(time)) => {
                drop(tokio::time::timeout(time.saturating_sub(now), shared.readings_wake.notified()).await);
            }
            Err(None) => shared.readings_wake.notified().await,
        }
    }
}

async fn ask(shared: &Shared, mut writer: FrameWriter<SendStream>, first: Outgoing, due: &Due) -> End {
    let mut outgoing = first;
    loop {
        if let Err(error) = writer.put_encoded(|out| write_get(out, outgoing.request, &outgoing.twins)) {
            return error.into();
        }
        if let Err(error) = writer.flush().await {
            return error.into();
        }
        due.asked(1);
        outgoing = next(shared).await;
    }
}

async fn listen(shared: &Shared, mut reader: FrameReader<RecvStream>, due: &Due) -> End {
    loop {
        match reader.next_reading().await {
            Ok(Some(Frame::Views(views))) => {
                let now: Duration = shared.clock.monotonic();
                let (answered, complete) = shared.readings.lock().answered(views, now);
                if complete {
                    due.answered();
                    // Others may have waited for this one, to be asked together.
                    shared.readings_wake.notify_one();
                }
                answered.into_iter().for_each(Answered::tell);
            }
            Ok(Some(Frame::Refused(refused))) => return refused.into(),
            Ok(Some(other)) => {
                tracing::warn!(kind = other.kind_name(), "the node sent a frame that has no place here");
            }
            Ok(None) => return End::Failed("the node finished the stream of readings".into()),
            Err(error) => return error.into(),
        }
    }
}
