//! The back office: it changes prices, now one, now a whole shelf.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use twin_core::ids::TwinId;
use ureq::http::Method;

use super::rest::RestClient;

/// Between two price changes.
const PRICE_EVERY: Duration = Duration::from_millis(500);
/// Every so many changes a shelf is on offer.
const OFFER_EVERY: u64 = 20;
/// Labels of a shelf.
const SHELF_LABELS: usize = 40;
/// One in so many prices is a mistake, below zero, that the label rejects.
const MISTAKE_ONE_IN: u32 = 12;

/// Steers until it is told to stop.
pub(crate) async fn run(rest: RestClient, labels: Vec<TwinId>, seed: u64, stop: CancellationToken) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut every = tokio::time::interval(PRICE_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    if labels.is_empty() {
        return;
    }
    for round in 1.. {
        tokio::select! {
            _ = every.tick() => {}
            () = stop.cancelled() => return,
        }
        let count = if round % OFFER_EVERY == 0 { SHELF_LABELS.min(labels.len()) } else { 1 };
        let first = rng.random_range(0..labels.len());
        let prices: Vec<(TwinId, f64)> = (0..count)
            .map(|offset| {
                let cents = f64::from(rng.random_range(29_u32..4_999));
                let sign = if rng.random_ratio(1, MISTAKE_ONE_IN) { -1.0 } else { 1.0 };
                (labels[(first + offset) % labels.len()].clone(), sign * cents / 100.0)
            })
            .collect();
        let rest = rest.clone();
        // Blocking HTTP has no place on the runtime's own threads.
        let set =
            tokio::task::spawn_blocking(move || prices.iter().try_for_each(|(label, price)| set(&rest, label, *price)));
        match set.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if !stop.is_cancelled() => tracing::warn!(%error, "a price could not be set"),
            _ => return,
        }
    }
}

fn set(rest: &RestClient, label: &TwinId, price: f64) -> anyhow::Result<()> {
    let answer = rest.ask(Method::PATCH, &format!("/twins/{label}/desired"), Some(&json!({"price": price})))?;
    if answer.status == 404 {
        // Not attached yet, so it has no twin yet.
        return Ok(());
    }
    answer.good("setting a price").map(drop)
}
