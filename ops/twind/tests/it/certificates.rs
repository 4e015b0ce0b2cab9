//! SIGHUP reads the certificate files again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::Twind;

#[test]
fn a_hangup_reloads_certificates_which_is_audited_and_bad_ones_leave_the_node_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let data = dir.path().join("data");
    let node = Twind::start_logging(&data, std::fs::File::create(&log).unwrap());
    let said = |text: &str| {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !std::fs::read_to_string(&log).unwrap().contains(text) {
            assert!(Instant::now() < deadline, "the node never said {text:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    node.signal("-HUP");
    said("certificates reloaded");
    std::fs::remove_file(data.join("ca.key")).unwrap();
    node.signal("-HUP");
    said("the certificates were not reloaded");
    // Both are in the audit log, as changes that nobody asked for over the REST.
    let (status, audit) = node.request("GET", "audit?kind=changes&limit=2", None);
    let lines: Vec<Value> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| json!([line["what"], line["who"], line["status"], line["code"]]))
        .collect();
    let said = |status: u16, code: Value| json!(["certificates:reload", "signal", status, code]);
    assert_eq!((status, lines), (200, vec![said(409, json!("bad-certificate")), said(200, Value::Null)]), "{audit}");
    node.kill();
}
