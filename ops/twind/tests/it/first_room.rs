//! A directory that never served, on a disk without room: the disk is what it says, with how much it needs, and nothing else.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::full_disk::Disk;
use crate::process::{Twind, twind};
use crate::restored::{back_up, restore};

/// Runs a node that is refused, or waits; what it said, and whether it ran on.
fn started(data_dir: &Path) -> (String, bool) {
    let dir = data_dir.to_str().unwrap();
    let args = ["dev", "--data-dir", dir, "--http", "127.0.0.1:0", "--quic", "127.0.0.1:0", "--log", "error"];
    let mut child = twind(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(4);
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let runs = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success());
    (String::from_utf8(output.stderr).unwrap(), runs)
}

/// It names the disk by a path on it, what is free, what is needed, and the way out.
fn is_told(said: &str, data_dir: &Path, when: &str) {
    for word in ["busy", "damaged", "panicked"] {
        assert!(!said.contains(word), "{when}: {said}");
    }
    for text in [data_dir.to_str().unwrap(), "make room"] {
        assert!(said.contains(text), "{when}: {said}");
    }
    let bytes = |text: &str| text.split(|sign: char| !sign.is_ascii_digit()).any(|number| number.len() >= 8);
    assert!(bytes(said), "{when}, how much is needed: {said}");
}

#[test]
fn a_restored_directory_on_a_disk_without_room_says_so_and_starts_once_there_is_some() {
    let folder = tempfile::tempdir().unwrap();
    let node = Twind::start(&folder.path().join("node"));
    let backup = folder.path().join("a.twinbackup");
    back_up(&node, &backup);
    node.kill();
    for left in [0, 1 << 20, 20 << 20, 50 << 20, 70 << 20] {
        let Some(disk) = Disk::new("200m") else { return };
        restore(&backup, &disk.data_dir(), &[]).unwrap();
        disk.leave(left);
        let (said, runs) = started(&disk.data_dir());
        is_told(&said, &disk.data_dir(), &format!("{left} bytes left"));
        assert!(!runs, "it says so at once: {said}");
        disk.make_room();
        let node = Twind::start(&disk.data_dir());
        assert_eq!(node.request("GET", "sites", None).0, 200);
        node.kill();
    }
    // Nor is there room for the restore itself.
    for left in [0, 8 << 10, 40 << 10] {
        let Some(disk) = Disk::new("200m") else { return };
        std::fs::create_dir(disk.data_dir()).unwrap();
        disk.leave(left);
        let said = restore(&backup, &disk.data_dir(), &[]).unwrap_err();
        assert!(!said.contains("damaged") && !said.contains("panicked"), "{left} bytes left: {said}");
        assert!(said.contains("make room") && said.contains(disk.data_dir().to_str().unwrap()), "{left}: {said}");
        disk.make_room();
        restore(&backup, &disk.data_dir(), &[]).unwrap();
    }
}

#[test]
fn a_first_start_that_was_cut_short_says_what_the_disk_lacks_when_others_have_filled_it() {
    let mut ran_on = 0;
    for step in 0..30_u64 {
        let Some(disk) = Disk::new("200m") else { return };
        let dir = disk.data_dir();
        let args = ["dev", "--data-dir", dir.to_str().unwrap(), "--http", "127.0.0.1:0", "--quic", "127.0.0.1:0"];
        let mut child = twind(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(3 + 4 * step));
        child.kill().unwrap();
        child.wait().unwrap();
        disk.fill();
        let (said, runs) = started(&dir);
        // Where all of it was made, it starts, and reads.
        if !runs || !said.is_empty() {
            is_told(&said, &dir, &format!("cut short at step {step}"));
        }
        ran_on += u32::from(runs);
        disk.make_room();
        let node = Twind::start(&dir);
        assert_eq!(node.request("GET", "sites", None).0, 200);
        node.kill();
    }
    println!("{ran_on} of 30 waited for room, or needed none");
}
