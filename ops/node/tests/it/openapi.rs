//! The description is that of the routes.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::world::World;

const METHODS: [&str; 5] = ["get", "put", "patch", "delete", "post"];

#[tokio::test(flavor = "multi_thread")]
async fn every_described_operation_exists_and_no_other() {
    let world = World::start().await;
    let client = world.client();
    let description = client.get("/openapi.json").expect(200).json();
    assert_eq!(description["openapi"], "3.1.0");
    let paths = description["paths"].as_object().unwrap();
    for needed in [
        "/api/v1/twins",
        "/api/v1/twins:batchUpdate",
        "/api/v1/twins:batchGet",
        "/api/v1/imports",
        "/api/v1/exports",
        "/api/v1/twins/{id}",
        "/api/v1/twins/{id}/tags",
        "/api/v1/twins/{id}/tags/{pointer}",
        "/api/v1/twins/{id}/desired",
        "/api/v1/twins/{id}/desired/{pointer}",
        "/api/v1/twins/{id}/reported",
        "/api/v1/twins/{id}/reported/{pointer}",
        "/api/v1/twins/{id}/alarms",
        "/api/v1/twins/{id}/delta",
        "/api/v1/twins/{id}/methods/{name}",
        "/api/v1/twins/{id}/events",
        "/api/v1/events",
        "/api/v1/sites",
        "/api/v1/sites/{id}",
        "/api/v1/sites/{id}/gateways",
        "/api/v1/sites/{id}/gateways/{name}",
        "/api/v1/sites/{id}/gateways/{name}/keys",
        "/api/v1/sites/{id}/devices",
        "/api/v1/tokens",
        "/api/v1/audit",
        "/api/v1/certificates:reload",
        "/api/v1/backup",
        "/api/v1/nodes",
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
    ] {
        assert!(paths.contains_key(needed), "{needed} is not described");
    }
    let mut ids = BTreeSet::new();
    for (path, item) in paths {
        let described: Vec<&str> = METHODS.into_iter().filter(|method| item.get(method).is_some()).collect();
        let real = path.replace("{id}", "x").replace("{name}", "x").replace("{pointer}", "x");
        // A method that no route has tells those that it has.
        let allow = client.send("TRACE", &real, &[], None);
        allow.problem(405);
        let allowed: BTreeSet<String> = allow
            .header("allow")
            .unwrap()
            .to_lowercase()
            .split(", ")
            .filter(|m| *m != "head")
            .map(str::to_owned)
            .collect();
        assert_eq!(allowed, described.iter().map(|&m| m.to_owned()).collect(), "{path}");
        for method in described {
            let operation = &item[method];
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{path} {method} shares its id");
            assert!(operation["summary"].is_string(), "{path} {method}");
            problems_are_described(path, operation);
            parameters_are_described(path, operation);
        }
    }
    let put = &paths["/api/v1/twins/{id}"]["put"]["responses"];
    assert!(put["409"].is_object(), "PUT of a twin that another site has");
    let takes = |path: &str, method: &str, name: &str| {
        paths[path][method]["parameters"].as_array().into_iter().flatten().filter(|taken| taken["name"] == name).count()
    };
    let steered = ["", "/tags", "/tags/{pointer}", "/desired", "/desired/{pointer}"];
    for (path, method) in steered.iter().flat_map(|path| ["put", "patch", "delete"].map(|method| (path, method))) {
        let expected = usize::from(!(path.is_empty() && method == "delete"));
        for name in ["Idempotency-Key", "wait", "timeout"] {
            assert_eq!(takes(&format!("/api/v1/twins/{{id}}{path}"), method, name), expected, "{path} {method} {name}");
        }
    }
    assert_eq!(takes("/api/v1/twins/{id}", "get", "Idempotency-Key"), 0);
    for path in ["/api/v1/events", "/api/v1/twins/{id}/events"] {
        assert_eq!((takes(path, "get", "Last-Event-ID"), takes(path, "get", "path")), (1, 1), "{path}");
    }
    assert_eq!(description["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    references_resolve(&description, &description);
    world.node.shutdown().await;
}

fn problems_are_described(path: &str, operation: &Value) {
    let responses = operation["responses"].as_object().unwrap();
    for (status, response) in responses.iter().filter(|(status, _)| status.as_str() >= "400") {
        assert!(response["content"]["application/problem+json"].is_object(), "{path} {status}");
    }
    assert!(responses.contains_key("405"), "{path} lacks 405");
    if path.starts_with("/api/") {
        for status in ["400", "401", "429", "503"] {
            assert!(responses.contains_key(status), "{path} lacks {status}");
        }
    }
    if operation.get("requestBody").is_some() {
        for status in ["413", "415", "422"] {
            assert!(responses.contains_key(status), "{path} lacks {status}");
        }
    }
}

fn parameters_are_described(path: &str, operation: &Value) {
    let in_path: BTreeSet<&str> = operation["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|parameter| parameter["in"] == "path")
        .map(|parameter| parameter["name"].as_str().unwrap())
        .collect();
    let needed: BTreeSet<&str> =
        path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')).collect();
    assert_eq!(in_path, needed, "{path}");
}

fn references_resolve(value: &Value, root: &Value) {
    match value {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                assert!(root.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads nowhere");
            }
            members.values().for_each(|value| references_resolve(value, root));
        }
        Value::Array(items) => items.iter().for_each(|value| references_resolve(value, root)),
        _ => {}
    }
}
