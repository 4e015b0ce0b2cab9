//! Back offices: clients that open connections, make, change, read and delete twins, and close them; some in the middle of a request.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use rand::RngExt as _;
use serde_json::json;
use tokio::task::JoinSet;

use super::scene::{Scene, Tally, between_ms};
use crate::rest::Rest;
use crate::stage::SITE;

/// Clients at a time, a thread each.
const CLIENTS: u32 = 3;
/// Requests of a client before it closes its connections.
const REQUESTS: u32 = 40;
/// The pause between two of them.
const PAUSE_MS: (u64, u64) = (5, 25);
/// One client in so many leaves in the middle of a request.
const BREAKS_OFF_OF: u32 = 5;
/// Twins that each made and did not delete yet: then the oldest goes.
const OWN_MAX: usize = 300;

/// Lets them work until it is over.
pub(super) fn spawn(scene: &Arc<Scene>, tasks: &mut JoinSet<anyhow::Result<()>>) {
    for number in 0..CLIENTS {
        let scene = Arc::clone(scene);
        tasks.spawn_blocking(move || {
            Client { scene: &scene, number, made: 0, own: VecDeque::new() }.run();
            Ok(())
        });
    }
}

struct Client<'a> {
    scene: &'a Scene,
    number: u32,
    made: u64,
    own: VecDeque<String>,
}

impl Client<'_> {
    fn run(mut self) {
        while !self.scene.is_over() {
            let rest = self.scene.rest.anew();
            Tally::add(&self.scene.tally.clients, 1);
            for _ in 0..REQUESTS {
                self.request(&rest);
                if self.scene.rest_a_while(between_ms(PAUSE_MS.0, PAUSE_MS.1)) {
                    return;
                }
            }
            if rand::rng().random_range(0..BREAKS_OFF_OF) == 0 {
                self.break_off();
            }
        }
    }

    fn request(&mut self, rest: &Rest) {
        let mut random = rand::rng();
        let price = json!({ "desired": { "price": random.random_range(1..1000), "page": random.random_range(0..4) } });
        match random.random_range(0..10) {
            0 => self.make(rest),
            1..4 => {
                let twin = self.scene.some_registered();
                self.send(rest, Method::PATCH, &format!("/api/v1/twins/{twin}"), Some(price), None);
            }
            // With a key, on devices that are there: what is desired goes down to them.
            4 | 5 => {
                let Some(twin) = self.scene.some_device() else { return };
                let key = format!("soak-{}", random.random::<u64>());
                self.send(rest, Method::PATCH, &format!("/api/v1/twins/{twin}"), Some(price), Some(&key));
            }
            6 => {
                let Some(twin) = self.scene.some_device() else { return };
                self.send(rest, Method::GET, &format!("/api/v1/twins/{twin}/reported"), None, None);
            }
            7 => {
                self.send(rest, Method::GET, &format!("/api/v1/twins?site={SITE}&limit=20"), None, None);
            }
            _ => {
                let twin = self.scene.some_registered();
                self.send(rest, Method::GET, &format!("/api/v1/twins/{twin}"), None, None);
            }
        }
    }

    /// Makes a twin, and deletes the oldest once there are enough.
    fn make(&mut self, rest: &Rest) {
        let twin = format!("made-{}-{}", self.number, self.made);
        self.made += 1;
        let body = json!({ "site": SITE, "tags": { "aisle": self.made % 40 }, "desired": { "price": 1.99 } });
        if self.send(rest, Method::PUT, &format!("/api/v1/twins/{twin}"), Some(body), None) {
            Tally::add(&self.scene.tally.twins_made, 1);
            self.own.push_back(twin);
        }
        if self.own.len() > OWN_MAX
            && let Some(twin) = self.own.pop_front()
            && self.send(rest, Method::DELETE, &format!("/api/v1/twins/{twin}"), None, None)
        {
            Tally::add(&self.scene.tally.twins_deleted, 1);
        }
    }

    /// `true`: done. A refusal is an answer: twins come and go, and a node may be busy.
    fn send(
        &self,
        rest: &Rest,
        method: Method,
        path: &str,
        body: Option<serde_json::Value>,
        key: Option<&str>,
    ) -> bool {
        let tally = &self.scene.tally;
        Tally::add(&tally.requests, 1);
        match rest.send(method.clone(), path, body.as_ref(), key) {
            Ok(200..300) => return true,
            Ok(404 | 429 | 503) => Tally::add(&tally.refused, 1),
            Ok(status) => tally.unexpected(|| format!("{method} {path}: {status}")),
            Err(error) => tally.unexpected(|| format!("{method} {path}: {error:#}")),
        }
        false
    }

    /// A request that ends in its middle, with its connection.
    fn break_off(&self) {
        let head = format!(
            "PUT /api/v1/twins/broken-off HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: 4000\r\n\r\n{{\"tags\": {{",
            self.scene.http,
            self.scene.rest.token()
        );
        if let Ok(mut stream) = TcpStream::connect_timeout(&self.scene.http, Duration::from_secs(5))
            && stream.write_all(head.as_bytes()).is_ok()
        {
            Tally::add(&self.scene.tally.broken_off, 1);
        }
    }
}
