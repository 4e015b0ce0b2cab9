//! Conditional requests.

use serde_json::json;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn writers_meet_by_the_steering_etag_in_either_form() {
    let world = World::start().await;
    let client = world.client();
    let write =
        |header: &str, tag: &str| client.json("PATCH", "twins/t", &[(header, tag)], json!({"tags": {"n": tag}}));
    assert_eq!(write("If-Match", "*").problem(412), "precondition-failed");
    let made = client.json("PUT", "twins/t", &[("If-None-Match", "*")], json!({})).expect(201);
    let taken = client.json("PUT", "twins/t", &[("If-None-Match", "*")], json!({}));
    assert_eq!(taken.problem(412), "precondition-failed");

    let next = write("If-Match", made.etag()).expect(200);
    assert_eq!(write("If-Match", made.etag()).problem(412), "precondition-failed");
    let body_form = format!("\"{}\"", next.json()["etag"].as_str().unwrap());
    let next = write("If-Match", &body_form).expect(200);
    let next = write("If-Match", next.json()["etag"].as_str().unwrap()).expect(200);
    let next = write("If-Match", &format!("\"other\", {}", next.etag())).expect(200);
    write("If-Match", &format!("W/{}", next.etag())).problem(412);
    write("If-Match", "*").expect(200);
    write("If-Match", "\"unclosed").problem(400);
    write("If-None-Match", "*").problem(412);

    let stale = client.json("PUT", "twins/t/desired/a", &[("If-Match", made.etag())], json!(1));
    stale.problem(412);
    client.send("DELETE", "twins/t", &[("If-Match", made.etag())], None).problem(412);
    let current = client.get("twins/t").expect(200);
    client.send("DELETE", "twins/t", &[("If-Match", current.etag())], None).expect(204);
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn if_match_any_on_a_missing_twin_is_412_for_put() {
    let world = World::start().await;
    let client = world.client();
    let refused = client.json("PUT", "twins/t", &[("If-Match", "*")], json!({}));
    assert_eq!(refused.problem(412), "precondition-failed");
    client.get("twins/t").problem(404);
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_it_gets_304() {
    let world = World::start().await;
    let client = world.client();
    client.put("twins/t", json!({"tags": {"a": 1}})).expect(201);
    for path in ["twins/t", "twins/t/tags", "twins/t/tags/a", "twins/t/desired"] {
        let read = client.get(path).expect(200);
        let again = client.send("GET", path, &[("If-None-Match", read.etag())], None).expect(304);
        assert!(again.body.is_empty());
        assert_eq!(again.etag(), read.etag());
        client.send("GET", path, &[("If-None-Match", "\"other\"")], None).expect(200);
        client.send("GET", path, &[("If-Match", "\"other\"")], None).problem(412);
    }
    let head = client.send("HEAD", "twins/t", &[], None).expect(200);
    assert!(head.body.is_empty());
    world.node.shutdown().await;
}
