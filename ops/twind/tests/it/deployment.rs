//! What is in `ops/deploy` starts this program, with options that it has.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use twin_visible_skip::skipped;

const UNIT: &str = include_str!("../../../deploy/twind.service");
const DOCKERFILE: &str = include_str!("../../../deploy/Dockerfile");

/// Highest exposure that `systemd-analyze security` may find, in tenths: what is left is the network, which the node is for.
const EXPOSURE_MAX: u32 = 15;

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name)
}

/// Values of a key of the unit.
fn values(key: &str) -> Vec<&'static str> {
    UNIT.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn what_the_unit_starts_says_ready_to_the_unit() {
    let dir = tempfile::tempdir().unwrap();
    let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let started = values("ExecStart")[0].replace("%S", dir.path().to_str().unwrap());
    let mut words = started.split(' ');
    assert_eq!(words.next(), Some("/usr/bin/twind"));
    // The unit's own variables, but for the ports, which others may have here.
    let names: Vec<&str> = values("Environment")[0].split(' ').map(|pair| pair.split_once('=').unwrap().0).collect();
    assert_eq!(names, ["TWIND_HTTP", "TWIND_QUIC"]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_twind"))
        .args(words)
        .envs(names.iter().map(|name| (name, "127.0.0.1:0")))
        .env("NOTIFY_SOCKET", dir.path().join("notify"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut bytes = [0; 4096];
    let read = socket.recv(&mut bytes);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(bytes[..read.unwrap()].starts_with(b"READY=1\n"));
    assert_eq!(values("Type"), ["notify"]);
    assert!(dir.path().join("twinmesh/node.json").exists());
}

#[test]
fn the_unit_is_as_closed_as_it_can_be() {
    let unit = deploy("twind.service");
    let analyze = |args: &[&str]| Command::new("systemd-analyze").args(args).arg(&unit).output();
    match analyze(&["security", "--offline=true", &format!("--threshold={EXPOSURE_MAX}")]) {
        Err(error) => skipped(&format!("systemd-analyze security: {error}")),
        Ok(output) => {
            let said =
                format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            if said.contains("unrecognized option") {
                skipped(&format!("systemd-analyze security: {said}"));
                return;
            }
            assert!(output.status.success(), "{said}");
            // A misspelt option would be passed over with a warning.
            let verified = String::from_utf8(analyze(&["verify"]).unwrap().stderr).unwrap();
            for word in ["Unknown", "Failed to parse", "Invalid"] {
                assert!(!verified.contains(word), "{verified}");
            }
        }
    }
}

#[test]
fn the_images_root_holds_what_the_program_needs() {
    for said in
        ["HEALTHCHECK", r#"CMD ["/usr/bin/twind", "health"]"#, "USER 65532:65532", "FROM scratch", "image-root /image"]
    {
        assert!(DOCKERFILE.contains(said), "{said}");
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let root = dir.path().join("image");
    let made = Command::new(deploy("image-root")).arg(&root).arg(env!("CARGO_BIN_EXE_twind")).status().unwrap();
    assert!(made.success());
    let inside = |args: &[&str]| {
        let mut command = Command::new("chroot");
        command
            .arg("--userspec=65532:65532")
            .arg(&root)
            .arg("/usr/bin/twind")
            .args(args)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    };
    let output = inside(&["--version"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("cannot change root directory") || said.contains("Operation not permitted") {
        skipped(&format!("the image's root: {said}"));
        return;
    }
    assert!(output.status.success(), "{said}");
    // As the image has it: not root, and TLS because it listens beyond loopback.
    Command::new("chown").arg("65532:65532").arg(root.join("data")).status().unwrap();
    let port = std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    let http = format!("0.0.0.0:{port}");
    let at = ["--data-dir", "/data", "--http", &http];
    let mut node = inside(&[&["dev", "--quic", "0.0.0.0:0", "--log", "error"], &at[..]].concat())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let healthy = loop {
        if inside(&[&["health"], &at[..]].concat()).stderr(Stdio::null()).status().unwrap().success() {
            break true;
        }
        if begun.elapsed() > Duration::from_secs(30) {
            break false;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    node.kill().unwrap();
    node.wait().unwrap();
    assert!(healthy);
}
