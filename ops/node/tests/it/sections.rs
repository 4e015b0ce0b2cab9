//! Sections and properties in them.

use serde_json::json;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn sections_are_read_whole_and_by_pointer() {
    let world = World::start().await;
    let client = world.client();
    client.put("twins/t", json!({"tags": {"a": 1}, "desired": {"x": {"y~z": {"p/q": [7, {"k": 8}]}}}})).expect(201);
    assert_eq!(client.get("twins/t/tags").expect(200).json(), json!({"a": 1}));
    let desired = client.get("twins/t/desired").expect(200).json();
    assert_eq!(desired["$version"], 1);
    assert!(desired["$metadata"].is_object());
    assert_eq!(client.get("twins/t/reported").expect(200).json()["$version"], 1);
    for path in ["x/y~0z/p~1q", "x/y%7E0z/p%7E1q", "x/y~0z/p%2Fq"] {
        assert_eq!(client.get(&format!("twins/t/desired/{path}")).expect(200).json(), json!([7, {"k": 8}]), "{path}");
    }
    assert_eq!(client.get("twins/t/desired/x/y~0z/p~1q/1/k").expect(200).json(), 8);
    assert_eq!(client.get("twins/t/desired/nothing").problem(404), "path-not-found");
    assert_eq!(client.get("twins/t/desired/x~2").problem(400), "bad-pointer");
    assert_eq!(client.get("twins/none/desired").problem(404), "twin-not-found");
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sections_are_replaced_merged_and_removed_in_parts() {
    let world = World::start().await;
    let client = world.client();
    client.put("twins/t", json!({"desired": {"a": {"b": 1, "c": 2}}})).expect(201);
    let desired = |response: crate::http::Response| {
        let mut desired = response.expect(200).json()["properties"]["desired"].take();
        for hidden in ["$version", "$metadata"] {
            desired.as_object_mut().unwrap().remove(hidden);
        }
        desired
    };
    assert_eq!(desired(client.put("twins/t/desired/a/b", json!(5))), json!({"a": {"b": 5, "c": 2}}));
    assert_eq!(desired(client.patch("twins/t/desired/a", json!({"c": null, "d": 3}))), json!({"a": {"b": 5, "d": 3}}));
    assert_eq!(desired(client.patch("twins/t/desired", json!({"e": [1]}))), json!({"a": {"b": 5, "d": 3}, "e": [1]}));
    assert_eq!(desired(client.delete("twins/t/desired/a")), json!({"e": [1]}));
    client.delete("twins/t/desired/a").problem(404);
    assert_eq!(desired(client.put("twins/t/desired", json!({"z": 1, "$version": 99}))), json!({"z": 1}));
    assert_eq!(desired(client.delete("twins/t/desired")), json!({}));
    let tags = client.put("twins/t/tags", json!({"k": "v"})).expect(200).json();
    assert_eq!(tags["tags"], json!({"k": "v"}));
    client.put("twins/t/reported", json!({})).problem(405);
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_delta_leads_from_a_known_version_to_the_current_one() {
    let world = World::start().await;
    let client = world.client();
    client.put("twins/t", json!({"desired": {"a": 1, "b": 2}})).expect(201);
    client.patch("twins/t", json!({"desired": {"a": 5, "b": null}})).expect(200);
    let delta = client.get("twins/t/delta?since=1").expect(200).json();
    assert_eq!(delta["from"], 1);
    assert_eq!(delta["to"], 2);
    assert_eq!(delta["snapshot"], false);
    let ops = delta["ops"].as_array().unwrap();
    assert!(ops.contains(&json!({"op": "set", "path": "/a", "value": 5})), "{ops:?}");
    assert!(ops.contains(&json!({"op": "remove", "path": "/b"})), "{ops:?}");
    let snapshot = client.get("twins/t/delta?since=0").expect(200).json();
    assert_eq!(snapshot["snapshot"], true);
    assert_eq!(snapshot["ops"][0]["value"], json!({"a": 5}));
    assert_eq!(client.get("twins/t/delta").problem(400), "missing-parameter");
    assert_eq!(client.get("twins/t/delta?since=x").problem(400), "bad-number");
    world.node.shutdown().await;
}
