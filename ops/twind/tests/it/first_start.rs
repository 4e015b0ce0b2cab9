//! A first start that is cut short anywhere is no more than a first start that has yet to be made.

use std::process::Stdio;
use std::time::Duration;

use crate::process::{Twind, twind};

#[test]
fn killed_at_any_time_the_next_start_begins_anew() {
    for step in 0..40_u64 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        // The second start is cut short as well: it meets what the first one left.
        for delay_us in [3_000 + 1_000 * step, 5_000 + 500 * step] {
            let mut child = twind(&["dev", "--data-dir", path, "--http", "127.0.0.1:0", "--quic", "127.0.0.1:0"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_micros(delay_us));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let node = Twind::start(dir.path());
        assert_eq!(node.request("GET", "sites", None).0, 200);
        node.kill();
    }
}
