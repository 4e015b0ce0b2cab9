//! Takes a request's body from the actix worker that has it to the task that works on it.

use actix_web::web::{Bytes, Payload};
use futures_util::StreamExt as _;
use tokio::sync::mpsc::Sender;

/// A part of the body, or how it ended.
#[derive(Debug)]
pub(super) enum Fed {
    Chunk(Bytes),
    /// The body is complete.
    End,
    /// It broke off.
    Broken(String),
}

/// Reads the body as fast as the chunks are taken and no faster: what is not taken stays with the client.
pub(super) async fn feed(mut payload: Payload, chunks: Sender<Fed>) {
    loop {
        let next = tokio::select! {
            () = chunks.closed() => return,
            next = payload.next() => next,
        };
        let (fed, is_last) = match next {
            Some(Ok(chunk)) => (Fed::Chunk(chunk), false),
            Some(Err(error)) => (Fed::Broken(error.to_string()), true),
            None => (Fed::End, true),
        };
        if chunks.send(fed).await.is_err() || is_last {
            return;
        }
    }
}
