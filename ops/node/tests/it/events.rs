//! Server-sent events.

use serde_json::json;

use crate::world::World;

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
