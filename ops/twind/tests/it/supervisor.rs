//! `twind dev` under a supervisor that speaks systemd's protocol.

use std::ffi::OsStr;
use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::process::Twind;
use crate::stall::{Part, Stall};

/// Longest wait for a message that must come.
const TIMEOUT: Duration = Duration::from_secs(30);
/// After this long without a ping the supervisor gives up.
const WATCHDOG: Duration = Duration::from_millis(1200);
const WATCHDOG_US: &str = "1200000";

/// The supervisor's end of the socket.
struct Supervisor {
    _folder: tempfile::TempDir,
    path: PathBuf,
    socket: UnixDatagram,
}

impl Supervisor {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { _folder: folder, path, socket }
    }

    /// The next message within this time.
    fn hears(&self, within: Duration) -> Option<String> {
        hears(&self.socket, within)
    }

    /// Waits for a message with this line, whatever comes before it.
    fn waits_for(&self, line: &str) {
        let begun = Instant::now();
        while begun.elapsed() < TIMEOUT {
            if self.hears(TIMEOUT).is_some_and(|message| message.lines().any(|said| said == line)) {
                return;
            }
        }
        panic!("{line} was not said");
    }

    /// Is there a time as long as the watchdog's without a ping, before this long is over?
    fn gives_up_within(&self, within: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < within {
            if self.hears(WATCHDOG).is_none() {
                return true;
            }
        }
        false
    }
}

fn hears(socket: &UnixDatagram, within: Duration) -> Option<String> {
    socket.set_read_timeout(Some(within)).unwrap();
    let mut bytes = [0; 4096];
    match socket.recv(&mut bytes) {
        Ok(read) => Some(String::from_utf8(bytes[..read].to_vec()).unwrap()),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn ready_is_said_once_it_answers_pings_go_on_and_stopping_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::new();
    let variables = [("NOTIFY_SOCKET", supervisor.path.as_os_str()), ("WATCHDOG_USEC", OsStr::new(WATCHDOG_US))];
    let node = Twind::start_among(dir.path(), &variables);
    let first = supervisor.hears(TIMEOUT).unwrap();
    assert!(first.starts_with("READY=1\nSTATUS=REST at http://127.0.0.1:"), "{first}");
    assert_eq!(node.request("PUT", "twins/t", Some(json!({}))).0, 201);
    for _ in 0..5 {
        assert_eq!(supervisor.hears(WATCHDOG).as_deref(), Some("WATCHDOG=1"));
    }
    node.signal("-TERM");
    supervisor.waits_for("STOPPING=1");
    assert!(node.wait().0.success());
    assert_eq!(supervisor.hears(Duration::from_millis(1)), None, "nothing is said after that");
}

#[test]
fn the_socket_may_be_abstract_and_a_watchdog_for_another_process_is_not_pinged() {
    let dir = tempfile::tempdir().unwrap();
    let name = format!("twind-test-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let at = format!("@{name}");
    let variables = [
        ("NOTIFY_SOCKET", OsStr::new(&at)),
        ("WATCHDOG_USEC", OsStr::new("100000")),
        ("WATCHDOG_PID", OsStr::new("1")),
    ];
    let node = Twind::start_among(dir.path(), &variables);
    assert!(hears(&socket, TIMEOUT).unwrap().starts_with("READY=1\n"));
    assert_eq!(hears(&socket, Duration::from_millis(300)), None);
    node.kill();
}

#[test]
fn a_supervisor_that_has_gone_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("nowhere");
    let variables = [("NOTIFY_SOCKET", nowhere.as_os_str()), ("WATCHDOG_USEC", OsStr::new("30000"))];
    let node = Twind::start_among(&dir.path().join("data"), &variables);
    assert_eq!(node.request("PUT", "twins/t", Some(json!({}))).0, 201);
    node.signal("-TERM");
    assert!(node.wait().0.success());
}

/// A node that is stuck is not pinged for, and comes up again with everything when its supervisor restarts it.
fn stuck_is_seen_and_a_restart_mends_it(part: Part) {
    let dir = tempfile::tempdir().unwrap();
    let (supervisor, stall) = (Supervisor::new(), Stall::new());
    let start =
        || stall.environment(&supervisor.path, WATCHDOG_US, |variables| Twind::start_among(dir.path(), variables));
    let node = start();
    assert_eq!(node.request("PUT", "twins/kept", Some(json!({}))).0, 201);
    supervisor.waits_for("WATCHDOG=1");
    assert!(!supervisor.gives_up_within(WATCHDOG * 2), "a node that gets on is pinged for");

    stall.begin(part);
    // Something to commit; nobody waits for its answer.
    let addr = node.ready["http"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    let mut stream = TcpStream::connect(&addr).unwrap();
    let request = format!(
        "PUT /api/v1/twins/stuck HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: 2\r\n\r\n{{}}",
        node.token
    );
    stream.write_all(request.as_bytes()).unwrap();
    assert!(supervisor.gives_up_within(TIMEOUT), "{part:?} is stuck and yet it is pinged for");

    // As systemd does.
    node.signal("-ABRT");
    assert!(!node.wait().0.success());
    stall.end(part);
    let node = start();
    supervisor.waits_for("READY=1");
    supervisor.waits_for("WATCHDOG=1");
    assert_eq!(node.request("GET", "twins/kept", None).0, 200);
    node.kill();
}

#[test]
fn a_stuck_commit_is_seen_and_a_restart_mends_it() {
    stuck_is_seen_and_a_restart_mends_it(Part::Commit);
}

#[test]
fn a_stuck_reactor_is_seen_and_a_restart_mends_it() {
    stuck_is_seen_and_a_restart_mends_it(Part::Reactor);
}

#[test]
fn a_commit_that_was_only_slow_is_pinged_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let (supervisor, stall) = (Supervisor::new(), Stall::new());
    let node = stall.environment(&supervisor.path, WATCHDOG_US, |variables| Twind::start_among(dir.path(), variables));
    supervisor.waits_for("WATCHDOG=1");
    stall.begin(Part::Commit);
    std::thread::scope(|scope| {
        let put = scope.spawn(|| node.request("PUT", "twins/t", Some(json!({}))).0);
        assert!(supervisor.gives_up_within(TIMEOUT));
        stall.end(Part::Commit);
        assert_eq!(put.join().unwrap(), 201);
    });
    supervisor.waits_for("WATCHDOG=1");
    node.kill();
}
