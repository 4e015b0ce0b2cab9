//! A `twind dev` process and the little HTTP that its tests need.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::door::Door;

/// Longest wait for anything.
const TIMEOUT: Duration = Duration::from_secs(30);

pub fn twind(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twind"));
    command.args(args).env_remove("RUST_LOG").env_remove("OTEL_EXPORTER_OTLP_ENDPOINT");
    for name in ["TWIND_STATE_KEY", "TWIND_STATE_KEY_FILE", "CREDENTIALS_DIRECTORY"] {
        command.env_remove(name);
    }
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "TWIND_DATA_DIR", "TWIND_HTTP", "TWIND_QUIC"] {
        command.env_remove(name);
    }
    command
}

pub struct Twind {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub ready: Value,
    pub token: String,
    pub door: Door,
}

impl Twind {
    /// Starts a node on free ports and waits for its ready line.
    pub fn start(data_dir: &Path) -> Self {
        Self::start_with(data_dir, &[])
    }

    pub fn start_with(data_dir: &Path, more: &[&str]) -> Self {
        Self::start_at(data_dir, "127.0.0.1:0", more)
    }

    /// Where gateways know it to be.
    pub fn start_at(data_dir: &Path, quic: &str, more: &[&str]) -> Self {
        Self::spawn(data_dir, quic, more, Stdio::null(), &[])
    }

    /// Beyond loopback, so that its REST is TLS.
    pub fn start_beyond_loopback(data_dir: &Path) -> Self {
        Self::start_with(data_dir, &["--http", "0.0.0.0:0"])
    }

    /// With its log in a file.
    pub fn start_logging(data_dir: &Path, log: std::fs::File) -> Self {
        Self::spawn(data_dir, "127.0.0.1:0", &[], log.into(), &[])
    }

    /// With more in its environment.
    pub fn start_among(data_dir: &Path, variables: &[(&str, &OsStr)]) -> Self {
        Self::spawn(data_dir, "127.0.0.1:0", &[], Stdio::null(), variables)
    }

    /// Sealed, with the key in the environment.
    pub fn start_sealed_by(data_dir: &Path, name: &str, value: &OsStr) -> Self {
        Self::spawn(data_dir, "127.0.0.1:0", &["--encrypt-state"], Stdio::null(), &[(name, value)])
    }

    fn spawn(data_dir: &Path, quic: &str, more: &[&str], stderr: Stdio, variables: &[(&str, &OsStr)]) -> Self {
        let dir = data_dir.to_str().unwrap();
        let http = if more.contains(&"--http") { &[][..] } else { &["--http", "127.0.0.1:0"] };
        let mut child = twind(&["dev", "--data-dir", dir, "--quic", quic])
            .args(http)
            .args(more)
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        let token = std::fs::read_to_string(data_dir.join("admin.token")).unwrap().trim().to_owned();
        let ca_pem = std::fs::read_to_string(data_dir.join("ca.pem")).unwrap();
        let door = Door::of(ready["http"].as_str().unwrap(), &ca_pem);
        Self { child, stdout, ready, token, door }
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Several signals in one go.
    pub fn signals(&self, signals: &[&str]) {
        let script: Vec<String> = signals.iter().map(|signal| format!("kill {signal} {}", self.child.id())).collect();
        assert!(Command::new("sh").args(["-c", &script.join(";")]).status().unwrap().success());
    }

    /// Sends something that may be no request; the answer.
    pub fn raw(&self, request: &str) -> String {
        let mut stream = self.door.connect(TIMEOUT).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Waits for the end. Also: what else stood on stdout.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + TIMEOUT;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the process did not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (status, rest)
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What `/metrics` says of a name, labels included.
    pub fn metric(&self, name: &str) -> u64 {
        let answer = self.raw("GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        let value = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("{name} is not in\n{answer}"))
    }

    /// What the process has taken of the cores so far, in its own time and in the kernel's.
    pub fn cpu_time(&self) -> Duration {
        // The kernel tells it in hundredths of a second, whatever its own clock is.
        const TICK: Duration = Duration::from_millis(10);
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The name, in parentheses, may hold anything; behind it come the third field and all after it.
        let mut fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(14 - 3);
        let mut ticks = || fields.next().unwrap().parse::<u32>().unwrap();
        TICK * (ticks() + ticks())
    }

    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Status and JSON body of a request below `/api/v1/`.
    pub fn request(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        self.request_with(method, path, body, "Accept: application/json")
    }

    /// With one more header.
    pub fn request_with(&self, method: &str, path: &str, body: Option<Value>, header: &str) -> (u16, Value) {
        let addr = self.door.addr;
        let mut stream = self.door.connect(TIMEOUT).unwrap();
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let head = format!(
            "{method} /api/v1/{path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\n{header}\r\nContent-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    }
}

/// A test that fails leaves no node behind.
impl Drop for Twind {
    fn drop(&mut self) {
        // Fails where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
