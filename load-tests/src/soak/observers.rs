//! Observers: they follow event streams for a while, come back with `Last-Event-ID`, or never read what they asked for.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use rand::RngExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::scene::{Scene, Tally, between_ms};
use crate::stage::SITE;

/// Observers at a time.
const OBSERVERS: u32 = 6;
/// How long one follows, and how long it is away.
const FOLLOW_MS: (u64, u64) = (5_000, 30_000);
const AWAY_MS: (u64, u64) = (100, 2_000);
/// One visit in so many reads nothing.
const READS_NOTHING_OF: u32 = 6;
/// What is read at a time.
const READ_BYTES: usize = 64 * 1024;

/// Lets them come and go until it is over.
pub(super) fn spawn(scene: &Arc<Scene>, tasks: &mut JoinSet<anyhow::Result<()>>) {
    for _ in 0..OBSERVERS {
        tasks.spawn(observe(Arc::clone(scene)));
    }
}

async fn observe(scene: Arc<Scene>) -> anyhow::Result<()> {
    let mut last = None;
    while !scene.pause(between_ms(AWAY_MS.0, AWAY_MS.1)).await {
        let path = wanted(&scene);
        // Every other one goes on where it was.
        let resumed = last.take().filter(|_| rand::rng().random_bool(0.5));
        let following = between_ms(FOLLOW_MS.0, FOLLOW_MS.1);
        match follow(&scene, &path, resumed.as_deref(), following).await {
            Ok(id) => last = id,
            Err(error) => scene.tally.unexpected(|| format!("observer of {path}: {error:#}")),
        }
    }
    Ok(())
}

/// A hundredth of the devices of one place, or what is desired in the whole site.
fn wanted(scene: &Scene) -> String {
    let mut random = rand::rng();
    let prefix = scene.prefixes[random.random_range(0..scene.prefixes.len())].lock().clone();
    if prefix.is_empty() || random.random_bool(0.3) {
        format!("/api/v1/events?site={SITE}&path=/desired")
    } else {
        format!("/api/v1/events?site={SITE}&prefix={prefix}{}", random.random_range(10..100))
    }
}

/// Follows for a while; the last id that it heard.
async fn follow(scene: &Scene, path: &str, last: Option<&str>, lasting: Duration) -> anyhow::Result<Option<String>> {
    let mut stream = TcpStream::connect(scene.http).await?;
    let resume = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
    let (host, token) = (scene.http, scene.rest.token());
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{resume}\r\n");
    stream.write_all(request.as_bytes()).await?;
    Tally::add(&scene.tally.streams, 1);
    if rand::rng().random_range(0..READS_NOTHING_OF) == 0 {
        scene.pause(lasting).await;
        return Ok(None);
    }
    let until = tokio::time::Instant::now() + lasting;
    let (mut input, mut head_read, mut id) = (Vec::with_capacity(READ_BYTES), false, None);
    loop {
        tokio::select! {
            read = stream.read_buf(&mut input) => if read? == 0 {
                bail!("the node ended the stream");
            },
            () = tokio::time::sleep_until(until) => return Ok(id),
            () = scene.ended() => return Ok(id),
        }
        if !head_read {
            let head = b"HTTP/1.1 200";
            if input.len() >= head.len() && !input.starts_with(head) {
                bail!("the node answered {}", String::from_utf8_lossy(&input[..input.len().min(300)]));
            }
            head_read = input.len() >= head.len();
        }
        // Whole lines; a chunk's size in between is a line that says nothing.
        while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            if let Some(heard) = input[..end].strip_prefix(b"id:") {
                id = Some(String::from_utf8_lossy(heard).trim().to_owned());
                Tally::add(&scene.tally.events, 1);
            }
            input.drain(..=end);
        }
    }
}
