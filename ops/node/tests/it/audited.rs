//! Every change that the description knows leaves its line in the audit log.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::looks::until;
use crate::world::World;

/// Operations that are no GET and change nothing.
const READS: [&str; 1] = ["batchGetTwins"];

/// What an operation is sent, where an empty object is refused and its success is easily had.
fn body_of(operation: &str) -> Value {
    match operation {
        "addGateway" => json!({"name": "x"}),
        "addToken" => json!({"name": "x", "scope": "read"}),
        "import" | "batchUpdateTwins" => json!({"id": "x", "desired": {"n": 1}}),
        _ => json!({}),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mutating_operation_of_the_description_is_in_the_audit_log_whatever_became_of_it() {
    let world = World::start().await;
    let client = world.client();
    let description = client.get("/openapi.json").expect(200).json();
    let mut asked = BTreeMap::new();
    // What makes something before what changes it, and what takes it away last.
    for method in ["put", "post", "patch", "delete"] {
        for (path, item) in description["paths"].as_object().unwrap() {
            let Some(operation) = item.get(method) else { continue };
            let id = operation["operationId"].as_str().unwrap();
            if READS.contains(&id) {
                continue;
            }
            let real = path.replace("{id}", "x").replace("{name}", "x").replace("{pointer}", "n");
            let kind = operation["requestBody"]["content"].as_object().and_then(|content| content.keys().next());
            let body = format!("{}\n", body_of(id));
            let answer = match kind {
                Some(kind) => {
                    client.send(&method.to_uppercase(), &real, &[("Content-Type", kind)], Some(body.as_bytes()))
                }
                None => client.send(&method.to_uppercase(), &real, &[("Content-Length", "0")], None),
            };
            assert!(answer.status < 500, "{method} {real}: {}", String::from_utf8_lossy(&answer.body));
            let what = format!("{} {}", method.to_uppercase(), path.strip_prefix("/api/v1").unwrap());
            asked.insert(what, (id.to_owned(), real, answer.status));
        }
    }
    let entries = || -> Vec<Value> {
        let page = |kind| client.get(&format!("audit?limit=1000&kind={kind}")).expect(200).json();
        let pages = ["changes", "steering"].map(page);
        pages.iter().flat_map(|page| page["entries"].as_array().unwrap().clone()).collect()
    };
    // What goes on behind the head of its answer has its outcome in the log a moment later.
    let lines = until(entries, |lines| lines.iter().all(|line| line["status"].is_u64()));
    assert_eq!(lines.len(), asked.len(), "one entry each: {lines:#?}");
    for (what, (id, real, status)) in &asked {
        let line = lines.iter().find(|line| line["what"].as_str().unwrap().replace(":.*}", "}") == *what);
        let line = line.unwrap_or_else(|| panic!("{id} ({what}) is not in the audit log: {lines:#?}"));
        let said = json!([line["who"], line["target"], line["status"]]);
        assert_eq!(said, json!(["admin", real, status]), "{id}");
        assert!(line["from"].as_str().unwrap().starts_with("127.0.0.1:"), "{id}: {line}");
    }
    let done = asked.values().filter(|(.., status)| *status < 300).count();
    println!("{} operations, {done} of them done", asked.len());
    assert!(2 * done > asked.len(), "most of them are done, not refused: {asked:#?}");
    world.node.shutdown().await;
}
