//! Exports, and imports of what they gave.

use serde_json::{Value, json};
use twin_cluster::Enrolment;
use twin_core::ids::SiteId;

use crate::batch_stream::{Batch, register, setting};
use crate::http::Client;
use crate::world::World;

fn lines(body: &[u8]) -> Vec<Value> {
    body.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// The twins of a whole export.
#[track_caller]
fn export(client: &Client, query: &str) -> Vec<Value> {
    let answer = client.get(&format!("exports{query}")).expect(200);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let mut lines = lines(&answer.body);
    let end = lines.pop();
    assert_eq!(end, Some(json!({"end": true, "twins": lines.len()})));
    lines
}

fn ids(twins: &[Value]) -> Vec<String> {
    twins.iter().map(|twin| format!("{}/{}", twin["site"].as_str().unwrap(), twin["id"].as_str().unwrap())).collect()
}

fn put(client: &Client, site: &str, id: &str, n: usize) {
    let body = json!({"site": site, "tags": {"row": n}, "desired": {"price": n, "led": {"on": true}}});
    client.put(&format!("twins/{id}"), body).expect(201);
}

/// Three sites with some twins each, and 400 in the default one.
async fn furnish(world: &World) -> Client {
    let client = world.client();
    for site in ["store-1", "store-10", "store-2"] {
        client.put(&format!("sites/{site}"), json!({})).expect(201);
        for n in 0..5 {
            put(&client, site, &format!("label-{}-{n}", &site[6..]), n);
        }
    }
    register(&world.node, "t", 400).await;
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_every_twin_once_in_order_and_says_when_it_is_whole() {
    let world = World::start().await;
    let client = furnish(&world).await;
    let all = export(&client, "");
    assert_eq!(all.len(), 415);
    let mut sorted = ids(&all);
    sorted.sort_by_key(|place| place.replace('/', "\0"));
    assert_eq!(ids(&all), sorted);
    let label = all.iter().find(|twin| twin["id"] == "label-2-3").unwrap();
    assert_eq!(
        *label,
        json!({"id": "label-2-3", "site": "store-2", "version": 1, "etag": "1-1-1",
               "tags": {"row": 3}, "desired": {"price": 3, "led": {"on": true}}, "reported": {}})
    );
    assert_eq!(
        ids(&export(&client, "?site=store-1")),
        (0..5).map(|n| format!("store-1/label-1-{n}")).collect::<Vec<_>>()
    );
    assert_eq!(export(&client, "?site=default&prefix=t-39").len(), 11);
    assert_eq!(export(&client, "?prefix=t-39"), export(&client, "?site=default&prefix=t-39"));
    assert_eq!(ids(&export(&client, "?prefix=label-1")).len(), 10);
    assert_eq!(export(&client, "?prefix=nothing").len(), 0);

    client.get("exports?site=nowhere").problem(404);
    assert_eq!(client.get("exports?cursor=t-1").problem(400), "bad-cursor");
    assert_eq!(client.get("exports?site=store-1&cursor=store-2%2Fa").problem(400), "bad-cursor");
    assert_eq!(client.get("exports?prefix=a%20b").problem(400), "bad-prefix");
    client.get("exports?limit=3").problem(400);
    let head = client.send("HEAD", "exports", &[], None);
    assert_eq!((head.status, head.body.len()), (200, 0));
    let metrics = String::from_utf8(client.get("/metrics").expect(200).body).unwrap();
    assert!(metrics.lines().any(|line| line == "twinmesh_exports_open 0"), "{metrics}");
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_any_line_on_an_export_goes_on_without_a_gap_or_a_double() {
    let world = World::start().await;
    let client = furnish(&world).await;
    for filter in ["", "site=default&", "prefix=label&", "site=default&prefix=t-1&"] {
        let all = ids(&export(&client, &format!("?{filter}")));
        for at in (0..all.len()).step_by(7).chain([all.len() - 1]) {
            let cursor = all[at].replace('/', "%2F");
            let rest = ids(&export(&client, &format!("?{filter}cursor={cursor}")));
            assert_eq!(rest, all[at + 1..], "{filter} behind {}", all[at]);
        }
    }
    // Also from a twin that was deleted meanwhile.
    client.delete("twins/t-7").expect(204);
    let rest = export(&client, "?site=default&cursor=default%2Ft-7");
    assert_eq!(rest[0]["id"], "t-70");
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_is_found_in_every_one_of_many_sites() {
    let world = World::start().await;
    let client = world.client();
    for n in 0..150 {
        let site = SiteId::new(&format!("s{n:03}")).unwrap();
        world.node.cluster().put_site(&site, Enrolment::Registered).await.unwrap();
        put(&client, site.as_str(), &format!("a-{n:03}"), n);
        if n % 40 == 39 {
            put(&client, site.as_str(), &format!("m-{n:03}"), n);
        }
        put(&client, site.as_str(), &format!("z-{n:03}"), n);
    }
    assert_eq!(ids(&export(&client, "?prefix=m-")), ["s039/m-039", "s079/m-079", "s119/m-119"]);
    assert_eq!(ids(&export(&client, "?prefix=m-&cursor=s079%2Fm-079")), ["s119/m-119"]);
    assert_eq!(ids(&export(&client, "?prefix=m-&cursor=s079%2Fz-079")), ["s119/m-119"]);
    assert_eq!(export(&client, "?prefix=z-").len(), 150);
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_nobody_reads_holds_little_and_ends() {
    const TWINS: usize = 600;
    let world = World::start().await;
    let client = world.client();
    let large: serde_json::Map<String, Value> = (0..8).map(|n| (format!("k{n}"), json!("x".repeat(4_000)))).collect();
    let body = (0..TWINS).map(|n| json!({"id": format!("t-{n:03}"), "desired": large}).to_string() + "\n").collect();
    assert_eq!(Batch::open_at(&client, "imports").exchange(body).len(), TWINS);
    let metric = |name: &str| -> usize {
        let text = String::from_utf8(client.get("/metrics").expect(200).body).unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap()
    };
    // 19 MB, of which the sockets hold some.
    let (status, _, reader) = client.open("GET", "exports");
    assert_eq!((status, metric("twinmesh_exports_open")), (200, 1));
    let begun = std::time::Instant::now();
    while metric("twinmesh_exports_open") == 1 {
        assert!(begun.elapsed().as_secs() < 45, "it does not end");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let sent = metric("twinmesh_exported_twins_total");
    assert!(sent < TWINS, "{sent}: what nobody takes is not made ready");
    drop(reader);
    assert_eq!(export(&client, "").len(), TWINS, "and there is room for another one");
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_exported_is_imported_elsewhere_and_again_without_effect() {
    let from = World::start().await;
    let source = furnish(&from).await;
    Batch::open(&source).exchange((0..400).map(|n| setting(&format!("t-{n}"), n)).collect());
    let exported = String::from_utf8(source.get("exports").expect(200).body).unwrap();
    let all = export(&source, "");

    let to = World::start().await;
    let client = to.client();
    let results = Batch::open_at(&client, "imports").exchange(exported.clone());
    assert_eq!(results.len(), 415, "one for each twin, and none for the end mark");
    for (twin, result) in all.iter().zip(&results) {
        let is_there = twin["site"] == "default";
        assert_eq!(result["id"], twin["id"]);
        assert_eq!(result["status"], if is_there { 201 } else { 404 }, "{result}");
        if !is_there {
            assert_eq!((&result["code"], &result["pointer"]), (&json!("site-not-found"), &json!("/site")));
        }
    }
    for site in ["store-1", "store-10", "store-2"] {
        client.put(&format!("sites/{site}"), json!({})).expect(201);
    }
    let again = Batch::open_at(&client, "imports").exchange(exported.clone());
    let steering = |twins: &[Value]| -> Vec<Value> {
        twins.iter().map(|twin| json!([twin["id"], twin["site"], twin["tags"], twin["desired"]])).collect()
    };
    let imported = export(&client, "");
    assert_eq!(steering(&imported), steering(&all));
    for ((result, twin), first) in again.iter().zip(&imported).zip(&results) {
        assert_eq!(result["status"], if first["status"] == 201 { 200 } else { 201 });
        assert_eq!((&result["version"], &result["etag"]), (&twin["version"], &twin["etag"]));
    }
    Batch::open_at(&client, "imports").exchange(exported);
    assert_eq!(export(&client, ""), imported, "nothing changed, not even a version");
    from.node.shutdown().await;
    to.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_replaces_tags_and_desired_whole_and_never_reported() {
    let world = World::start().await;
    let client = world.client();
    client.put("sites/store-1", json!({})).expect(201);
    client
        .put("twins/t", json!({"site": "store-1", "tags": {"a": 1, "b": 2}, "desired": {"p": 1, "q": 2}}))
        .expect(201);
    let body = [
        json!({"id": "t", "tags": {"b": 3}, "desired": {"q": 2}, "reported": {"q": 9}}).to_string(),
        json!({"id": "t", "site": "default"}).to_string(),
        json!({"id": "new", "site": "store-1", "desired": {"bad.key": 1}}).to_string(),
        json!({"id": "new", "site": "store-1", "desired": {"p": 1}}).to_string(),
        json!({"end": false, "code": "unavailable"}).to_string(),
    ];
    let results = Batch::open_at(&client, "imports").exchange(body.join("\n"));
    let told: Vec<Value> =
        results.iter().map(|result| json!([result["id"], result["status"], result["code"]])).collect();
    assert_eq!(
        told,
        [
            json!(["t", 200, null]),
            json!(["t", 409, "other-site"]),
            json!(["new", 422, "document-rule"]),
            json!(["new", 201, null]),
            json!([null, 422, "document-rule"]),
        ]
    );
    assert_eq!(results[4]["rule"], "incomplete-export");
    let twin = client.get("twins/t").expect(200).json();
    assert_eq!(twin["tags"], json!({"b": 3}));
    assert_eq!((&twin["properties"]["desired"]["p"], &twin["properties"]["desired"]["q"]), (&Value::Null, &json!(2)));
    assert_eq!(twin["properties"]["reported"]["$version"], 1);
    assert_eq!(client.get("twins/new").expect(200).json()["site"], "store-1");
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_a_site_that_is_not_there_is_told_and_the_export_goes_on_behind_it() {
    let world = World::start().await;
    let client = world.client();
    client.put("sites/z", json!({})).expect(201);
    client.put("twins/a", json!({"site": "z"})).expect(201);
    let last = |path: &str| {
        let body = client.get(path).expect(200).body;
        let lines: Vec<serde_json::Value> =
            body.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        lines.last().cloned().unwrap()
    };
    assert_eq!(last("exports?cursor=y/a"), json!({"end": true, "twins": 1, "cursorSiteMissing": true}));
    assert_eq!(last("exports?cursor=default/a"), json!({"end": true, "twins": 1}));
    for bad in ["z", "z/", "z/a/b", "z%20/a"] {
        assert_eq!(client.get(&format!("exports?cursor={bad}")).problem(400), "bad-cursor", "{bad}");
    }
    world.node.shutdown().await;
}
