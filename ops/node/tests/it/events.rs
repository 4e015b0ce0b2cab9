//! Server-sent events.

use serde_json::json;

use crate::world::{World, client_of, start_in};

#[tokio::test(flavor = "multi_thread")]
async fn observers_hear_of_what_was_committed_and_only_of_their_site() {
    let world = World::start().await;
    let client = world.client();
    client.put("sites/a", json!({})).expect(201);
    let (mut all, mut of_a) = (client.observe("events"), client.observe("events?site=a"));
    client.put("twins/x", json!({})).expect(201);
    client.put("twins/y", json!({"site": "a"})).expect(201);
    client.patch("twins/y", json!({"desired": {"p": 1}})).expect(200);

    let (kind, data) = of_a.next();
    assert_eq!((kind.as_str(), data["deviceId"].as_str()), ("created", Some("y")));
    let (kind, data) = of_a.next();
    assert_eq!(kind, "desired");
    assert_eq!(data["version"], 2);
    assert_eq!(data["ops"], json!([{"op": "set", "path": "/p", "value": 1}]));
    assert_eq!(all.next().1["deviceId"], "x");

    let mut of_y = client.observe("twins/y/events");
    client.patch("twins/x", json!({"tags": {"t": 1}})).expect(200);
    client.patch("twins/y", json!({"tags": {"t": 1}})).expect(200);
    let (kind, data) = of_y.next();
    assert_eq!((kind.as_str(), data["deviceId"].as_str()), ("tags", Some("y")));
    client.get("twins/none/events").problem(404);
    client.get("events?site=%2F").problem(400);

    // A stop ends the streams rather than waiting for them.
    world.node.shutdown().await;
    while !of_y.line().is_empty() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn observers_are_bounded() {
    let world = World::start().await;
    let client = world.client();
    let open: Vec<_> = (0..twin_node::limits::OBSERVERS_MAX).map(|_| client.observe("events")).collect();
    assert_eq!(client.get("events").problem(429), "busy");
    drop(open);
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_closes_the_connection_leaves_its_place_within_what_retry_after_says() {
    let world = World::start().await;
    let client = world.client();
    for round in 0..2 {
        let open: Vec<_> = (0..twin_node::limits::OBSERVERS_MAX).map(|_| client.observe("events")).collect();
        let refused = client.get("events");
        assert_eq!(refused.problem(429), "busy", "round {round}");
        drop(open);
        let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!(after <= 4, "{after}");
        // With a second for slow machines.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(after + 1);
        loop {
            let metrics = String::from_utf8(client.get("/metrics").expect(200).body).unwrap();
            if metrics.contains("\ntwinmesh_observers 0\n") {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{metrics}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_the_head_takes_no_place() {
    let world = World::start().await;
    let client = world.client();
    client.put("twins/t", json!({})).expect(201);
    // Places for the two observers below, and no more.
    let mut open: Vec<_> = (2..twin_node::limits::OBSERVERS_MAX).map(|_| client.observe("events")).collect();
    for path in ["events", "twins/t/events"] {
        // The connections stay open.
        let heads: Vec<_> = (0..3).map(|_| client.open("HEAD", path)).collect();
        for (status, headers, _) in &heads {
            assert_eq!(*status, 200);
            assert!(headers.contains(&("content-type".to_owned(), "text/event-stream".to_owned())), "{headers:?}");
        }
        open.push(client.observe(path));
        drop(heads);
    }
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_that_was_cut_off_hears_what_it_missed_before_what_comes() {
    let world = World::start().await;
    let client = world.client();
    client.put("twins/t", json!({})).expect(201);
    let mut events = client.observe("events");
    let begun = events.next_id();
    client.patch("twins/t", json!({"desired": {"n": 1}})).expect(200);
    assert_eq!(events.next().1["version"], 2);
    let heard = events.id.clone();
    drop(events);
    for n in 2..=3 {
        client.patch("twins/t", json!({"desired": {"n": n}})).expect(200);
    }
    let (mut again, mut from_the_first) =
        (client.observe_after("events", &heard), client.observe_after("twins/t/events", &begun));
    client.patch("twins/t", json!({"desired": {"n": 4}})).expect(200);
    let versions = |events: &mut crate::http::Events, count: usize| -> Vec<_> {
        (0..count).map(|_| events.next()).map(|(kind, data)| (kind, data["version"].as_u64().unwrap())).collect()
    };
    let desired =
        |versions: std::ops::RangeInclusive<u64>| -> Vec<_> { versions.map(|v| ("desired".to_owned(), v)).collect() };
    assert_eq!(versions(&mut again, 3), desired(3..=5));
    assert_eq!(versions(&mut from_the_first, 4), desired(2..=5));
    assert_eq!(again.id, from_the_first.id);
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_up_is_a_reset_and_never_silence() {
    let dir = tempfile::tempdir().unwrap();
    let node = start_in(dir.path()).await;
    let heard = client_of(&node).observe("events").next_id();
    node.shutdown().await;
    let node = start_in(dir.path()).await;
    let client = client_of(&node);
    for (id, reason) in [(heard.as_str(), "restarted"), ("nonsense", "unknown"), ("7", "unknown")] {
        let mut events = client.observe_after("events", id);
        let (kind, data) = events.next();
        assert_eq!((kind.as_str(), &data), ("reset", &json!({"reason": reason})), "{id}");
        // From here on it is this node's.
        client.put(&format!("twins/of-{id}"), json!({})).expect(201);
        let mut again = client.observe_after("events", &events.id);
        assert_eq!((again.next().0.as_str(), events.next().0.as_str()), ("created", "created"));
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_hears_only_of_the_twins_and_the_place_that_it_asked_for() {
    let world = World::start().await;
    let client = world.client();
    let mut place = client.observe("events?prefix=label-&path=/desired/price");
    for id in ["label-1", "screen-1"] {
        client.put(&format!("twins/{id}"), json!({})).expect(201);
        client.patch(&format!("twins/{id}"), json!({"desired": {"unit": "kg"}, "tags": {"a": 1}})).expect(200);
        client.patch(&format!("twins/{id}"), json!({"desired": {"price": 2}})).expect(200);
    }
    client.delete("twins/label-1").expect(204);
    assert_eq!(place.next().0, "created");
    let (kind, data) = place.next();
    assert_eq!((kind.as_str(), &data["deviceId"], &data["version"]), ("desired", &json!("label-1"), &json!(3)));
    assert_eq!(place.next().0, "deleted");
    let told = place.id.clone();
    // What was filtered out counts as heard: in the silence the stream says where it is.
    client.put("twins/screen-2", json!({})).expect(201);
    assert_ne!(place.next_id(), told);
    client.get("events?path=price").problem(400);
    client.get("twins/screen-1/events?prefix=a").problem(400);
    world.node.shutdown().await;
}

/// The number in an event's id.
fn number(id: &str) -> u64 {
    id.split_once('-').unwrap().1.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_that_does_not_read_is_told_how_much_it_missed_and_can_have_it() {
    /// More than an observer may be behind (8,192), and than the buffers of both sides hold, with events of so many bytes.
    const EVENTS: usize = 16_000;
    const EVENT_BYTES: usize = 500;
    let world = World::start().await;
    let client = world.client();
    client.put("twins/t", json!({})).expect(201);
    let mut events = client.observe_narrowly("events");
    let begun = events.next_id();
    let text = "x".repeat(EVENT_BYTES);
    for batch in 0..EVENTS / 500 {
        let line = |n: usize| json!({"id": "t", "desired": {"n": format!("{batch} {n} {text}")}}).to_string();
        let lines = (0..500).map(line).collect::<Vec<_>>().join("\n");
        let ndjson = [("Content-Type", "application/x-ndjson")];
        client.send("POST", "twins:batchUpdate", &ndjson, Some(lines.as_bytes())).expect(200);
    }
    // Only now it reads.
    let (mut told, mut missed, mut last) = (0, 0, number(&begun));
    let mut before_the_gap = None;
    while told + missed < EVENTS as u64 {
        let (kind, data) = events.next();
        if kind == "lagged" {
            let id = if events.id.is_empty() { begun.clone() } else { events.id.clone() };
            before_the_gap.get_or_insert((id, data["missed"].as_u64().unwrap()));
            missed += data["missed"].as_u64().unwrap();
            last += data["missed"].as_u64().unwrap();
            continue;
        }
        told += 1;
        last += 1;
        assert_eq!(
            (kind.as_str(), number(&events.id)),
            ("desired", last),
            "what it was not told it was told that it missed"
        );
    }
    println!("{told} told, {missed} missed");
    let (heard, gap) = before_the_gap.expect("it was told of a gap");
    // All of the gap is there for whoever comes back to where it began.
    let mut again = client.observe_after("events", &heard);
    for n in 1..=gap + 1 {
        assert_eq!(again.next().0, "desired");
        assert_eq!(number(&again.id), number(&heard) + n);
    }
    world.node.shutdown().await;
}
