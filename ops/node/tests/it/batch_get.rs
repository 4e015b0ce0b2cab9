//! What a batch of readings answers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::batch_stream::{Batch, register, setting};
use crate::http::Client;
use crate::world::World;

const PATH: &str = "twins:batchGet";

fn asking(id: &str) -> String {
    format!("{}\n", json!({"id": id}))
}

fn in_flight(client: &Client) -> u64 {
    let text = String::from_utf8(client.get("/metrics").expect(200).body).unwrap();
    let name = "twinmesh_batch_update_items_in_flight ";
    text.lines().find_map(|line| line.strip_prefix(name)?.parse().ok()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_id_is_answered_in_order_with_what_get_shows() {
    let world = World::start().await;
    let client = world.client();
    register(&world.node, "t", 3_000).await;
    let steered: String = (0..3_000).map(|n| setting(&format!("t-{n}"), n)).collect();
    Batch::open(&client).exchange(steered);
    client.put("twins/a%25%23'", json!({"tags": {"a": "\u{e9}\"\n"}, "desired": {"x": {"y": [1, 2.5]}}})).expect(201);

    let mut body = String::from("\n \r\n");
    let special = ["a%#'", "none", "a b", "t-7"];
    body.extend(special.iter().map(|id| asking(id)));
    body.push_str("{\"id\": \"t-8\"\n{\"id\": \"t-8\", \"x\": 1}\n");
    body.extend((0..3_000).map(|n| asking(&format!("t-{n}"))));
    let results = Batch::open_at(&client, PATH).exchange(body);
    assert_eq!(results.len(), 3_006);

    let shown = client.get("twins/a%25%23'").expect(200).json();
    assert_eq!(results[0], json!({"id": "a%#'", "status": 200, "twin": shown}));
    let told = |result: &Value| {
        (result["id"].clone(), result["line"].clone(), result["status"].clone(), result["code"].clone())
    };
    assert_eq!(told(&results[1]), (json!("none"), json!(4), json!(404), json!("twin-not-found")));
    assert_eq!(told(&results[2]), (json!("a b"), json!(5), json!(400), json!("bad-id")));
    assert_eq!(results[3]["twin"], client.get("twins/t-7").expect(200).json());
    assert_eq!(told(&results[4]), (Value::Null, json!(7), json!(400), json!("malformed-json")));
    assert_eq!(told(&results[5]), (json!("t-8"), json!(8), json!(422), json!("document-rule")));
    for (n, result) in results[6..].iter().enumerate() {
        let twin = &result["twin"];
        assert_eq!((&result["id"], &result["status"]), (&json!(format!("t-{n}")), &json!(200)));
        assert_eq!((&twin["deviceId"], &twin["properties"]["desired"]["n"]), (&result["id"], &json!(n)));
    }
    let metrics = String::from_utf8(client.get("/metrics").expect(200).body).unwrap();
    for line in [
        "twinmesh_batch_get_items_total{outcome=\"ok\"} 3002",
        "twinmesh_batch_get_items_total{outcome=\"twin-not-found\"} 1",
        "twinmesh_batch_update_items_in_flight 0",
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line} is not in\n{metrics}");
    }
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_shows_what_was_committed_before_its_line_was_sent() {
    let world = World::start().await;
    let client = world.client();
    register(&world.node, "t", 1).await;
    let mut readings = Batch::open_at(&client, PATH);
    for n in 0..100 {
        client.patch("twins/t-0", json!({"desired": {"n": n}})).expect(200);
        readings.send(&asking("t-0"));
        assert_eq!(readings.next().unwrap()["twin"]["properties"]["desired"]["n"], n);
    }
    client.delete("twins/t-0").expect(204);
    readings.send(&asking("t-0"));
    assert_eq!(readings.next().unwrap()["code"], "twin-not-found");
    readings.end();
    assert_eq!(readings.next(), None);
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_large_twins_whose_readings_nobody_takes_a_batch_holds_few() {
    const ITEMS: usize = 10_000;
    // Of 4 MiB.
    const IN_FLIGHT_MAX: u64 = 150;
    let world = World::start().await;
    let client = world.client();
    let large: serde_json::Map<String, Value> = (0..8).map(|n| (format!("k{n}"), json!("x".repeat(4_000)))).collect();
    client.put("twins/large", json!({"desired": large})).expect(201);
    let mut readings = Batch::open_at(&client, PATH);
    let body = asking("large").repeat(ITEMS);
    let mut to = readings.to().try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        use std::io::Write as _;
        write!(to, "{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).unwrap();
    });
    // Until it stands still.
    let (mut before, mut since) = (0, Instant::now());
    while since.elapsed() < Duration::from_millis(500) {
        let now = in_flight(&client);
        assert!(now <= IN_FLIGHT_MAX, "{now} readings of 32 KiB are held");
        if std::mem::replace(&mut before, now) != now {
            since = Instant::now();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(before > 20, "{before}: it should be held up by what is not read");
    let mut count = 0;
    while let Some(result) = readings.next() {
        assert_eq!(result["twin"]["properties"]["desired"]["k7"].as_str().map(str::len), Some(4_000));
        count += 1;
    }
    sender.join().unwrap();
    assert_eq!((count, in_flight(&client)), (ITEMS, 0));
    world.node.shutdown().await;
}
