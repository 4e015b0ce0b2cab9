//! Looks at the twins over REST while nodes die: one thread reads them all again and again, one follows the event stream.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::audit::SITE;
use crate::audit::counts::Observer;
use crate::rest::{Reported, Rest};

/// Pause between two readings of all twins: they should take little from the load.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Pause before a connection that broke is made again.
const RECONNECT_AFTER: Duration = Duration::from_millis(20);

/// Both observers.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
    read: Arc<Mutex<Observer>>,
    heard: Arc<Mutex<Observer>>,
}

/// What they saw.
pub(crate) struct Observed {
    pub(crate) read: Observer,
    pub(crate) heard: Observer,
}

impl Watch {
    pub(crate) fn start(rest: &Rest) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let (read, heard) = (Arc::<Mutex<Observer>>::default(), Arc::<Mutex<Observer>>::default());
        let reader = {
            let (rest, stop, read) = (rest.clone(), Arc::clone(&stop), Arc::clone(&read));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // An error is a node that is dead at the moment.
                    if let (Ok(twins), Ok(mut read)) = (rest.reported(SITE), read.lock()) {
                        for twin in twins {
                            read.look(twin);
                        }
                    }
                    std::thread::sleep(POLL_INTERVAL);
                }
            })
        };
        {
            let (rest, stop, heard) = (rest.clone(), Arc::clone(&stop), Arc::clone(&heard));
            // Not joined: it sits in a read until the node is gone.
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // The stream ends with the node; what happens until the next one is read by the other observer.
                    let _ = rest.watch_reported(SITE, |event| {
                        if let (Some(seen), Ok(mut heard)) = (reported_of(event), heard.lock()) {
                            heard.look_at_event(seen);
                        }
                    });
                    std::thread::sleep(RECONNECT_AFTER);
                }
            });
        }
        Self { stop, reader: Some(reader), read, heard }
    }

    /// Ends the looking.
    pub(crate) fn stop(mut self) -> Observed {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            // A panic in it is shown by its lack of looks.
            let _ = reader.join();
        }
        let take = |observer: &Mutex<Observer>| observer.lock().map(|observer| observer.clone()).unwrap_or_default();
        Observed { read: take(&self.read), heard: take(&self.heard) }
    }
}

/// `{"deviceId", "version", "ops": [{"op": "set", "path": "/counter", "value": n}]}`
fn reported_of(event: &serde_json::Value) -> Option<Reported> {
    let ops = event["ops"].as_array()?;
    let counter = ops.iter().find(|op| op["path"] == "/counter")?["value"].as_u64()?;
    Some(Reported { device: event["deviceId"].as_str()?.to_owned(), version: event["version"].as_u64()?, counter })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_tells_version_and_counter() {
        let event = serde_json::json!({
            "deviceId": "label", "site": "audit", "version": 8,
            "ops": [{ "op": "set", "path": "/counter", "value": 7 }],
        });
        let expected = Reported { device: "label".into(), version: 8, counter: 7 };
        assert_eq!(reported_of(&event), Some(expected));
    }
}
