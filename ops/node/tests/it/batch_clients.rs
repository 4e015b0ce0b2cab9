//! What a batch does with its client.

use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;
use twin_node::{Node, NodeOptions};

use crate::batch_stream::{Batch, Results, head, register, setting};
use crate::world::World;

fn until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_bounded_then_cut_off_and_holds_up_nobody() {
    let world = World::start().await;
    register(&world.node, "t", 1_000).await;
    let client = world.client();
    let mut batch = Batch::open(&client);
    batch.to().set_write_timeout(Some(Duration::from_secs(3))).unwrap();
    let text: String = (0..1_000).map(|n| setting(&format!("t-{n}"), n)).collect();
    let chunk = format!("{:x}\r\n{text}\r\n", text.len()).into_bytes();
    let mut sent = 0_usize;
    // Socket buffers and the window, and then no more.
    while batch.send_raw(&chunk).is_ok() {
        sent += 1_000;
        assert!(sent < 10_000_000, "it takes everything, though nothing is read");
    }
    assert_eq!(client.metric::<u64>("twinmesh_batch_update_items_in_flight"), 4_096, "a window, full and no fuller");
    let done = client.metric::<u64>("twinmesh_batch_update_items_total{outcome=\"ok\"}");
    assert!(done < sent as u64);

    // Others go on, in a batch as well.
    client.patch("twins/t-0", json!({"desired": {"other": 1}})).expect(200);
    let body: String = (0..1_000).map(|n| setting(&format!("t-{n}"), 7)).collect();
    assert_eq!(Batch::open(&client).exchange(body).len(), 1_000);
    assert_eq!(client.metric::<u64>("twinmesh_batch_updates_open"), 1);

    until("the batch ends", Duration::from_secs(45), || client.metric::<u64>("twinmesh_batch_updates_open") == 0);
    assert_eq!(client.metric::<u64>("twinmesh_batch_update_items_in_flight"), 0);
    // The connection, too: the system does not wait for ever for an acknowledgement.
    until("the connection is cut", Duration::from_secs(45), || {
        matches!(batch.to().take_error(), Ok(Some(_))) || batch.send_raw(b"x").is_err_and(|error| !is_timeout(&error))
    });
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_late_gets_every_result() {
    let world = World::start().await;
    register(&world.node, "t", 1_000).await;
    let client = world.client();
    let batch = Batch::open(&client);
    let mut to = batch.to().try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        for round in 0..60 {
            let text: String = (0..1_000).map(|n| setting(&format!("t-{n}"), round)).collect();
            write!(to, "{:x}\r\n{text}\r\n", text.len()).unwrap();
        }
        to.write_all(b"0\r\n\r\n").unwrap();
    });
    let items = || client.metric::<u64>("twinmesh_batch_update_items_total{outcome=\"ok\"}");
    // Until nothing moves any more, as nothing is read, or far more is done than a window. Not longer: the system waits for 30 s
    // for what lies in the sockets, which a slow machine takes long to fill.
    let mut before = 0;
    until("the batch stands still", Duration::from_secs(60), || {
        std::thread::sleep(Duration::from_millis(300));
        let now = items();
        std::mem::replace(&mut before, now) == now && now > 0 || now > 12_000
    });
    assert!(before < 60_000, "it would take more than the sockets hold to see anything");
    let mut batch = batch;
    let results: Vec<_> = std::iter::from_fn(|| batch.next()).collect();
    sender.join().unwrap();
    assert_eq!(results.len(), 60_000);
    assert!(results.iter().enumerate().all(|(n, result)| result["desiredVersion"] == n / 1_000 + 2));
    world.node.shutdown().await;
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_body_that_breaks_off_whole_lines_are_done_and_the_last_is_told() {
    let world = World::start().await;
    register(&world.node, "t", 3).await;
    let client = world.client();
    let whole = setting("t-0", 1) + &setting("t-1", 1);
    // Complete as JSON, but nobody knows what would have followed.
    let torn = r#"{"id":"t-2","desired":{"n":1}}"#;
    for framing in ["chunked", "length"] {
        let mut batch = match framing {
            "chunked" => Batch::open(&client),
            _ => Batch::open_with_length(&client, 1000),
        };
        if framing == "chunked" {
            batch.send(&whole);
            batch.send(torn);
        } else {
            batch.send_raw((whole.clone() + torn).as_bytes()).unwrap();
        }
        batch.half_close();
        for id in ["t-0", "t-1"] {
            let result = batch.next().unwrap();
            assert_eq!((&result["id"], &result["status"]), (&json!(id), &json!(200)), "{framing}");
        }
        let last = batch.next().unwrap();
        assert_eq!((&last["line"], &last["code"]), (&json!(3), &json!("broken-body")), "{framing} {last}");
        assert_eq!(batch.next(), None);
    }
    assert_eq!(client.get("twins/t-2").expect(200).json()["version"], 1);

    // Gone for good, once everything has arrived: it is done all the same.
    let mut batch = Batch::open(&client);
    batch.send(&(setting("t-0", 9) + &setting("t-1", 9) + torn));
    assert_eq!(batch.next().unwrap()["id"], "t-0");
    drop(batch);
    for id in ["t-0", "t-1"] {
        until("it is done", Duration::from_secs(20), || {
            client.get(&format!("twins/{id}/desired")).expect(200).json()["n"] == 9
        });
    }
    until("the batch ends", Duration::from_secs(20), || client.metric::<u64>("twinmesh_batch_updates_open") == 0);
    assert_eq!(client.get("twins/t-2").expect(200).json()["version"], 1);
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_most_batches_the_next_is_told_to_come_back() {
    let world = World::start().await;
    register(&world.node, "t", 1).await;
    let client = world.client();
    let mut open: Vec<Batch> = (0..16).map(|_| Batch::open(&client)).collect();
    for batch in &mut open {
        batch.send(&setting("t-0", 1));
        assert_eq!(batch.next().unwrap()["status"], 200);
    }
    let ndjson = [("Content-Type", "application/x-ndjson")];
    let refused = client.send("POST", "twins:batchUpdate", &ndjson, Some(b""));
    assert_eq!(refused.problem(429), "busy");
    assert_eq!(refused.json()["limit"], 16);
    let mut one = open.pop().unwrap();
    one.end();
    assert_eq!(one.next(), None);
    until("there is room again", Duration::from_secs(20), || client.metric::<u64>("twinmesh_batch_updates_open") == 15);
    client.send("POST", "twins:batchUpdate", &ndjson, Some(b"")).expect(200);
    // A node that stops ends the answers of clients that say nothing.
    let (stopped, ended) = tokio::join!(
        async { tokio::time::timeout(Duration::from_secs(15), world.node.shutdown()).await },
        tokio::task::spawn_blocking(move || open.iter_mut().all(|batch| batch.next().is_none())),
    );
    stopped.unwrap();
    assert!(ended.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_it_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = NodeOptions::local(dir.path());
    options.http = ([0, 0, 0, 0], 0).into();
    let node = Node::start(options).await.unwrap();
    register(&node, "t", 500).await;
    let port: u16 = node.http_url().rsplit_once(':').unwrap().1.parse().unwrap();
    let mut config = twin_transports::tls::client_config(&node.ca_pem()).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let token = node.admin_token().to_owned();
    let exchange = tokio::task::spawn_blocking(move || {
        let connection =
            rustls::ClientConnection::new(std::sync::Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let socket = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, socket);
        stream.write_all(head(&token, "Transfer-Encoding: chunked").as_bytes()).unwrap();
        let text: String = (0..500).map(|n| setting(&format!("t-{n}"), n)).collect();
        write!(stream, "{:x}\r\n{text}\r\n0\r\n\r\n", text.len()).unwrap();
        let mut results = Results::new(stream);
        std::iter::from_fn(|| results.next()).filter(|result| result["status"] == 200).count()
    });
    assert_eq!(exchange.await.unwrap(), 500);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_batches_at_once_have_no_more_under_way_than_one_may() {
    const SHARE_ITEMS_MAX: usize = 2_048;
    // What an item is admitted with: its line, and what a request and a command weigh beside it.
    const ITEM_BYTES_MAX: usize = 512 + 512 + 100;
    let world = World::start().await;
    register(&world.node, "t", 1_600).await;
    let client = world.client();
    let batches: Vec<_> = (0..16)
        .map(|batch| {
            let body: String = (0..1_000).map(|n| setting(&format!("t-{}", batch * 100 + n % 100), n)).collect();
            let batch = Batch::open(&client);
            tokio::task::spawn_blocking(move || batch.exchange(body))
        })
        .collect();
    let mut most = 0;
    while !batches.iter().all(tokio::task::JoinHandle::is_finished) {
        most = most.max(world.node.cluster().stats().admitted_bytes as usize);
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    for batch in batches {
        let results = batch.await.unwrap();
        assert_eq!(results.len(), 1_000);
        assert!(results.iter().all(|result| result["status"] == 200));
    }
    assert!(most > 0, "never looked at the right moment");
    assert!(most <= SHARE_ITEMS_MAX * ITEM_BYTES_MAX, "{most} bytes were under way");
    let window = client.metric::<u64>("twinmesh_batch_update_window_items");
    assert!((256..=SHARE_ITEMS_MAX as u64).contains(&window), "{window}");
    world.node.shutdown().await;
}
