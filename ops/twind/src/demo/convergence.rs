//! What becomes of desired prices, as the REST's event stream tells it.

use std::collections::{BTreeMap, VecDeque};
use std::io::BufRead;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use twin_core::clock::Clock;

use super::rest::RestClient;
use super::setup::SITE;

/// The last so many times from "set" to "applied" make the median.
const TIMES_KEPT: usize = 512;
/// Prices on their way that are followed; beyond, the oldest is no longer.
const FOLLOWED_MAX: usize = 50_000;

/// How many prices went which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) set: u64,
    pub(crate) delivered: u64,
    pub(crate) applied: u64,
    pub(crate) rejected: u64,
    pub(crate) superseded: u64,
    /// Set, and nothing final heard.
    pub(crate) on_their_way: u64,
    /// Of these, delivered to the gateway.
    pub(crate) at_the_device: u64,
    /// Half of the prices were applied within this.
    pub(crate) applied_p50: Option<Duration>,
    /// Events that we were too slow for.
    pub(crate) missed: u64,
    /// Events of devices.
    pub(crate) device_events: u64,
}

#[derive(Debug)]
struct Followed {
    version: u64,
    price: Value,
    set_at: Duration,
    delivered: bool,
}

/// Follows prices from event to event.
#[derive(Debug, Default)]
pub(crate) struct Convergence {
    tally: Tally,
    followed: BTreeMap<String, Followed>,
    times: VecDeque<Duration>,
}

impl Convergence {
    pub(crate) fn tally(&self) -> Tally {
        let mut times: Vec<Duration> = self.times.iter().copied().collect();
        times.sort_unstable();
        Tally {
            on_their_way: self.followed.len() as u64,
            at_the_device: self.followed.values().filter(|followed| followed.delivered).count() as u64,
            applied_p50: times.get(times.len() / 2).copied(),
            ..self.tally
        }
    }

    /// Takes an event of the stream.
    pub(crate) fn event(&mut self, kind: &str, data: &Value, now: Duration) {
        if kind == "lagged" {
            self.tally.missed += data["missed"].as_u64().unwrap_or(0);
            return;
        }
        if kind == "event" {
            self.tally.device_events += 1;
            return;
        }
        let (Some(twin), Some(version)) = (data["deviceId"].as_str(), data["version"].as_u64()) else { return };
        match kind {
            "desired" => self.desired(twin, version, data, now),
            "delivered" => {
                if let Some(followed) = self.followed.get_mut(twin).filter(|f| f.version <= version && !f.delivered) {
                    followed.delivered = true;
                    self.tally.delivered += 1;
                }
            }
            "applied" if self.followed.get(twin).is_some_and(|f| f.version <= version) => self.applied(twin, now),
            "rejected" if data["path"] == "/price" && self.followed.get(twin).is_some_and(|f| f.version == version) => {
                let followed = self.followed.remove(twin);
                self.tally.delivered += u64::from(followed.is_some_and(|followed| !followed.delivered));
                self.tally.rejected += 1;
            }
            // A device that shows what is desired has applied it: that is how the twin sees it, too.
            "reported" if self.followed.get(twin).is_some_and(|f| price_in(data) == Some(&f.price)) => {
                self.applied(twin, now);
            }
            _ => {}
        }
    }

    fn desired(&mut self, twin: &str, version: u64, data: &Value, now: Duration) {
        let Some(price) = price_in(data) else { return };
        self.tally.set += 1;
        let followed = Followed { version, price: price.clone(), set_at: now, delivered: false };
        if self.followed.insert(twin.to_owned(), followed).is_some() {
            self.tally.superseded += 1;
        }
        if self.followed.len() > FOLLOWED_MAX {
            self.followed.pop_first();
        }
    }

    fn applied(&mut self, twin: &str, now: Duration) {
        let Some(followed) = self.followed.remove(twin) else { return };
        self.tally.applied += 1;
        // Its receipt is told in batches and may be overtaken by what the device says.
        self.tally.delivered += u64::from(!followed.delivered);
        self.times.push_back(now.saturating_sub(followed.set_at));
        if self.times.len() > TIMES_KEPT {
            self.times.pop_front();
        }
    }
}

/// The price that the operations of an event set.
fn price_in(data: &Value) -> Option<&Value> {
    let set = |op: &&Value| op["op"] == "set" && op["path"] == "/price";
    data["ops"].as_array()?.iter().rev().find(set).map(|op| &op["value"])
}

/// Listens on a thread of its own until the node closes the stream.
pub(crate) fn listen(rest: &RestClient, clock: Arc<dyn Clock>) -> anyhow::Result<Arc<Mutex<Convergence>>> {
    let mut stream = rest.events(SITE)?;
    let shared = Arc::new(Mutex::new(Convergence::default()));
    let heard = Arc::clone(&shared);
    std::thread::Builder::new().name("demo-events".into()).spawn(move || {
        let (mut line, mut kind) = (String::new(), String::new());
        while stream.read_line(&mut line).is_ok_and(|read| read > 0) {
            if let Some(name) = line.strip_prefix("event: ") {
                name.trim_end().clone_into(&mut kind);
            } else if let Some(data) = line.strip_prefix("data: ")
                // Most events are measurements, which are not followed.
                && (kind != "reported" || data.contains("/price"))
                && let Ok(data) = serde_json::from_str(data)
            {
                heard.lock().event(&kind, &data, clock.monotonic());
            }
            line.clear();
        }
    })?;
    Ok(shared)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn after(events: &[(&str, Value)]) -> Tally {
        let mut convergence = Convergence::default();
        for (at, (kind, data)) in events.iter().enumerate() {
            let mut data = data.clone();
            data["deviceId"] = json!("label-1");
            convergence.event(kind, &data, Duration::from_secs(at as u64));
        }
        convergence.tally()
    }

    fn set(version: u64, price: f64) -> (&'static str, Value) {
        ("desired", json!({"version": version, "ops": [{"op": "set", "path": "/price", "value": price}]}))
    }

    #[test]
    fn a_price_is_applied_by_what_the_device_shows_or_by_its_ack() {
        let shows = json!({"version": 9, "ops": [{"op": "set", "path": "/price", "value": 1.5}]});
        for last in [("reported", shows), ("applied", json!({"version": 2}))] {
            let tally = after(&[set(2, 1.5), ("delivered", json!({"version": 2})), last]);
            let expected = Tally {
                set: 1,
                delivered: 1,
                applied: 1,
                applied_p50: Some(Duration::from_secs(2)),
                ..Tally::default()
            };
            assert_eq!(tally, expected);
        }
    }

    #[test]
    fn an_older_price_shown_does_not_count_for_a_newer_one() {
        let shows_old = json!({"version": 9, "ops": [{"op": "set", "path": "/price", "value": 1.5}]});
        let tally = after(&[set(2, 1.5), set(3, 2.5), ("applied", json!({"version": 2})), ("reported", shows_old)]);
        assert_eq!((tally.set, tally.applied, tally.superseded, tally.on_their_way), (2, 0, 1, 1));
    }

    #[test]
    fn a_rejected_price_is_on_its_way_no_more() {
        let rejected = ("rejected", json!({"version": 2, "path": "/price", "reason": "a price below zero"}));
        let tally = after(&[set(2, -1.0), ("delivered", json!({"version": 2})), rejected]);
        assert_eq!((tally.rejected, tally.on_their_way, tally.delivered), (1, 0, 1));
    }
}
