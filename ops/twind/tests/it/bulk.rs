//! Imports and the deletion of sites on the real process, killed in the middle.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::Twind;

fn item(site: &str, n: usize) -> String {
    format!("{}\n", json!({"id": format!("l-{n:05}"), "site": site, "tags": {"row": n % 9}, "desired": {"n": n}}))
}

/// Sends `items` to the import and reads results; kills the node after so many. The results that came.
fn import(node: Twind, items: &[String], kill_after: Option<usize>) -> (Option<Twind>, Vec<Value>) {
    let addr = node.ready["http"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    let mut to = TcpStream::connect(&addr).unwrap();
    to.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = format!(
        "POST /api/v1/imports HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\
         Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n",
        node.token
    );
    to.write_all(head.as_bytes()).unwrap();
    let reader = BufReader::new(to.try_clone().unwrap());
    let parts: Vec<String> = items.chunks(100).map(<[String]>::concat).collect();
    let sender = std::thread::spawn(move || {
        for part in parts {
            if write!(to, "{:x}\r\n{part}\r\n", part.len()).is_err() {
                return;
            }
        }
        let _ = to.write_all(b"0\r\n\r\n");
    });
    let (mut node, mut results) = (Some(node), Vec::new());
    // A chunk holds whole lines, so only the kill can cut one in two; the others on the wire are chunk sizes.
    for line in reader.lines().map_while(Result::ok) {
        if let Ok(result @ Value::Object(_)) = serde_json::from_str(&line) {
            results.push(result);
        }
        if kill_after.is_some_and(|after| results.len() >= after)
            && let Some(node) = node.take()
        {
            node.kill();
        }
    }
    sender.join().unwrap();
    (node, results)
}

fn exported(node: &Twind, query: &str) -> Vec<Value> {
    let request = format!(
        "GET /api/v1/exports{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        node.token
    );
    let answer = node.raw(&request);
    // A chunk holds whole lines; the others are chunk sizes and the head.
    let mut lines: Vec<Value> =
        answer.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.pop(), Some(json!({"end": true, "twins": lines.len()})));
    lines
}

#[test]
fn killed_in_an_import_it_goes_on_from_the_first_item_without_a_result() {
    const ITEMS: usize = 12_000;
    let dir = tempfile::tempdir().unwrap();
    let mut node = Twind::start(dir.path());
    assert_eq!(node.request("PUT", "sites/store-1", Some(json!({}))).0, 201);
    let items: Vec<String> = (0..ITEMS).map(|n| item("store-1", n)).collect();
    let mut done = 0;
    for kill_after in [500, 1_000, 1_500] {
        let (_, results) = import(node, &items[done..], Some(kill_after));
        assert!(results.len() >= kill_after && done + results.len() < ITEMS, "killed in the middle: {}", results.len());
        node = Twind::start(dir.path());
        let there = exported(&node, "?site=store-1");
        for (at, result) in results.iter().enumerate() {
            assert!([200, 201].contains(&result["status"].as_u64().unwrap()), "{result}");
            assert_eq!(there[done + at]["id"], result["id"], "acknowledged, so it is there");
        }
        done += results.len();
    }
    let (left, results) = import(node, &items[done..], None);
    assert_eq!(results.len(), ITEMS - done);
    let node = left.unwrap();
    let twins = exported(&node, "?site=store-1");
    assert_eq!(twins.len(), ITEMS);
    for (n, twin) in twins.iter().enumerate() {
        // Made once: what was done without a result and sent again changed nothing.
        let wanted = json!({"id": format!("l-{n:05}"), "site": "store-1", "version": 1, "etag": "1-1-1",
                            "tags": {"row": n % 9}, "desired": {"n": n}, "reported": {}});
        assert_eq!(*twin, wanted);
    }
    node.kill();
}

#[test]
fn killed_while_a_site_goes_it_goes_on_by_itself_and_no_version_goes_back() {
    const TWINS: usize = 4_000;
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    for site in ["store-1", "store-2"] {
        assert_eq!(node.request("PUT", &format!("sites/{site}"), Some(json!({}))).0, 201);
    }
    assert_eq!(node.request("PUT", "twins/other", Some(json!({"site": "store-2"}))).0, 201);
    assert_eq!(node.request("POST", "sites/store-1/gateways", Some(json!({"name": "g"}))).0, 201);
    let items: Vec<String> = (0..TWINS).map(|n| item("store-1", n)).collect();
    let (node, results) = import(node, &items, None);
    let mut node = node.unwrap();
    assert_eq!(results.len(), TWINS);
    assert_eq!(node.request("PATCH", "twins/l-03999", Some(json!({"desired": {"n": -1}}))).0, 200);
    let left = |node: &Twind| exported(node, "").iter().filter(|twin| twin["site"] == "store-1").count();

    let mut before = TWINS;
    let mut killed_in_between = 0;
    let begin = format!(
        "DELETE /api/v1/sites/store-1?cascade=true HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        node.token
    );
    let addr = node.ready["http"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    let mut asking = TcpStream::connect(&addr).unwrap();
    asking.write_all(begin.as_bytes()).unwrap();
    let marked = Instant::now();
    while node.request("GET", "sites/store-1", None).1["deleting"] != true {
        assert!(marked.elapsed() < Duration::from_secs(10), "it is not marked");
    }
    for _ in 0..3 {
        node.kill();
        node = Twind::start(dir.path());
        let (status, site) = node.request("GET", "sites/store-1", None);
        let now = left(&node);
        assert!(now <= before);
        killed_in_between += usize::from(now > 0);
        if status == 200 {
            assert_eq!(site["deleting"], true, "it never comes back to life");
            assert!([404, 409].contains(&node.request("PUT", "twins/new", Some(json!({"site": "store-1"}))).0));
            assert!([404, 409].contains(&node.request("POST", "sites/store-1/gateways", Some(json!({"name": "h"}))).0));
        } else {
            assert_eq!((status, now), (404, 0), "the row goes last");
        }
        before = now;
    }
    assert!(killed_in_between > 0, "it was quicker than the kills");
    // Nobody asked again: a node that starts goes on.
    let waited = Instant::now();
    while node.request("GET", "sites/store-1", None).0 != 404 {
        assert!(waited.elapsed() < Duration::from_secs(30), "it does not go on");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((left(&node), exported(&node, "").len()), (0, 1), "the other site is as it was");
    let (status, made) = node.request("PUT", "sites/store-1", Some(json!({})));
    assert_eq!((status, &made["gateways"]), (201, &json!([])));
    for (n, version) in [(0, 1), (3_999, 2)] {
        let (status, twin) = node.request("PUT", &format!("twins/l-{n:05}"), Some(json!({"site": "store-1"})));
        assert_eq!(status, 201);
        assert!(twin["incarnation"].as_u64() > Some(1), "{twin}");
        assert!(twin["properties"]["desired"]["$version"].as_u64() > Some(version), "{twin}");
    }
    node.kill();
}

/// Reads an export from behind a cursor until so many twins came, and kills the node (or only the reader goes). The twins that came
/// as whole lines; and the node, unless it was killed.
fn broken_export(node: Twind, cursor: Option<&str>, after: usize, kill: bool) -> (Option<Twind>, Vec<Value>, bool) {
    let addr = node.ready["http"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    let mut stream = TcpStream::connect(&addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let cursor = cursor.map_or_else(String::new, |cursor| format!("?cursor={cursor}"));
    let head = format!(
        "GET /api/v1/exports{cursor} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        node.token
    );
    stream.write_all(head.as_bytes()).unwrap();
    let (mut node, mut twins) = (Some(node), Vec::new());
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        match reader.read_until(b'\n', &mut line) {
            // A kill resets the connection, or ends it in the middle of a line.
            Err(_) => return (node, twins, false),
            Ok(_) if line.last() != Some(&b'\n') => return (node, twins, false),
            Ok(_) => {}
        }
        match serde_json::from_slice::<Value>(&line) {
            Ok(line) if line["end"] == true => return (node, twins, true),
            Ok(line @ Value::Object(_)) => twins.push(line),
            _ => {}
        }
        if twins.len() == after {
            if !kill {
                return (node, twins, false);
            }
            node.take().into_iter().for_each(Twind::kill);
        }
    }
}

#[test]
fn an_export_cut_off_by_its_reader_and_by_kills_gives_every_twin_once_when_it_goes_on_by_cursor() {
    const TWINS: usize = 6_000;
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    for site in ["store-1", "store-2"] {
        assert_eq!(node.request("PUT", &format!("sites/{site}"), Some(json!({}))).0, 201);
    }
    // Far more than what the buffers between the two take, so that a kill is in the middle.
    let filler = "x".repeat(3_000);
    let items: Vec<String> = (0..TWINS)
        .map(|n| {
            let site = if n % 2 == 0 { "store-1" } else { "store-2" };
            format!("{}\n", json!({"id": format!("l-{n:05}"), "site": site, "desired": {"n": n, "filler": filler}}))
        })
        .collect();
    let (node, results) = import(node, &items, None);
    assert_eq!(results.len(), TWINS);
    let (mut node, mut twins): (_, Vec<Value>) = (node, Vec::new());
    let mut cut_in_the_middle = 0;
    for (after, kill) in [(300, true), (500, false), (400, true), (usize::MAX, false)] {
        let cursor =
            twins.last().map(|twin| format!("{}/{}", twin["site"].as_str().unwrap(), twin["id"].as_str().unwrap()));
        let running = node.take().unwrap_or_else(|| Twind::start(dir.path()));
        let (left, came, is_whole) = broken_export(running, cursor.as_deref(), after, kill);
        cut_in_the_middle += u32::from(!is_whole && kill);
        twins.extend(came);
        node = left;
        if is_whole {
            break;
        }
    }
    // What stands in the buffers between the two arrives all the same: the second kill may come too late.
    assert!(cut_in_the_middle > 0, "no kill was in the middle");
    let ids: Vec<&str> = twins.iter().map(|twin| twin["id"].as_str().unwrap()).collect();
    let wanted: Vec<String> =
        [0, 1].iter().flat_map(|odd| (0..TWINS).filter(move |n| n % 2 == *odd)).map(|n| format!("l-{n:05}")).collect();
    assert_eq!(ids, wanted, "each once, in the order of sites and ids");
    node.into_iter().for_each(Twind::kill);
}
