//! Bulk work over twins that are used now and then: changes up, readings and exports down.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use rand::RngExt as _;
use tokio::task::JoinSet;

use super::scene::{Scene, Tally};
use crate::ndjson::batch;

/// Items of a batch, and how often there is one.
const ITEMS: usize = 500;
const INTERVAL: Duration = Duration::from_secs(2);
/// An export every so many batches, of a thousand twins.
const EXPORT_OF: u64 = 10;

/// Lets them run until it is over.
pub(super) fn spawn(scene: &Arc<Scene>, tasks: &mut JoinSet<anyhow::Result<()>>) {
    tasks.spawn(run(Arc::clone(scene)));
}

async fn run(scene: Arc<Scene>) -> anyhow::Result<()> {
    let mut number = 0;
    while !scene.pause(INTERVAL).await {
        number += 1;
        let twins: Vec<String> = (0..ITEMS).map(|_| scene.some_registered()).collect();
        let price: u32 = rand::rng().random_range(1..1000);
        let (path, lines): (_, Vec<String>) = if number % 2 == 0 {
            let line = |twin| format!("{{\"id\":\"{twin}\",\"desired\":{{\"price\":{price}}}}}");
            ("/api/v1/twins:batchUpdate", twins.iter().map(line).collect())
        } else {
            ("/api/v1/twins:batchGet", twins.iter().map(|twin| format!("{{\"id\":\"{twin}\"}}")).collect())
        };
        match batch(scene.http, scene.rest.token(), path, lines.into_iter()).await {
            Ok(done) => Tally::add(&scene.tally.items, done),
            Err(error) => scene.tally.unexpected(|| format!("{path}: {error:#}")),
        }
        if number % EXPORT_OF == 0 {
            export(&scene, number).await?;
        }
    }
    Ok(())
}

async fn export(scene: &Arc<Scene>, number: u64) -> anyhow::Result<()> {
    // Ids have ten digits, so this is by the thousand.
    let prefix = format!("cold-{:07}", number % (scene.registered / 1000).max(1));
    let path = format!("/api/v1/exports?prefix={prefix}");
    let (rest, asked) = (scene.rest.anew(), path.clone());
    match tokio::task::spawn_blocking(move || rest.send(Method::GET, &asked, None, None)).await? {
        Ok(200) => {}
        Ok(503) => Tally::add(&scene.tally.refused, 1),
        Ok(status) => scene.tally.unexpected(|| format!("GET {path}: {status}")),
        Err(error) => scene.tally.unexpected(|| format!("GET {path}: {error:#}")),
    }
    Ok(())
}
