//! SIGHUP reads the certificate files again.

use std::time::{Duration, Instant};

use crate::process::Twind;

#[test]
fn a_hangup_reloads_certificates_and_bad_ones_leave_the_node_as_it_was() {
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
    assert_eq!(node.request("GET", "sites", None).0, 200);
    node.kill();
}
