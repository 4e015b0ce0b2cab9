//! The real `twin-sim`, and recordings made for it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::Twind;

/// Longest wait for a replay to end.
const TIMEOUT: Duration = Duration::from_secs(90);

/// The program beside ours, built if nobody did.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let ours = Path::new(env!("CARGO_BIN_EXE_twind"));
        let program = ours.with_file_name(format!("twin-sim{}", std::env::consts::EXE_SUFFIX));
        if !program.exists() {
            let profile = ours.parent().unwrap();
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "-p", "twin-sim", "--bin", "twin-sim", "--target-dir"]).arg(profile.parent().unwrap());
            if profile.ends_with("release") {
                build.arg("--release");
            }
            assert!(build.status().unwrap().success(), "twin-sim could not be built");
        }
        program
    })
}

/// A gateway of a store, with a folder for its recordings.
pub struct Simulator {
    folder: tempfile::TempDir,
    site: String,
    quic: String,
}

impl Simulator {
    /// Makes the site (open) if need be, and a gateway in it.
    pub fn new(node: &Twind, site: &str, gateway: &str) -> Self {
        assert!(node.request("PUT", &format!("sites/{site}"), Some(json!({"enrolment": "open"}))).0 < 300);
        let (status, credentials) =
            node.request("POST", &format!("sites/{site}/gateways"), Some(json!({"name": gateway})));
        assert_eq!(status, 201, "{credentials}");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("gw.json"), credentials.to_string()).unwrap();
        Self { folder, site: site.to_owned(), quic: node.ready["quic"].as_str().unwrap().to_owned() }
    }

    /// The same with a certificate of its own, made here, and no secret.
    pub fn certified(node: &Twind, site: &str, gateway: &str) -> Self {
        assert!(node.request("PUT", &format!("sites/{site}"), Some(json!({"enrolment": "open"}))).0 < 300);
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![format!("{gateway}.store.example")]).unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let body = json!({"name": gateway, "certificate": pem});
        let (status, credentials) = node.request("POST", &format!("sites/{site}/gateways"), Some(body));
        assert_eq!((status, &credentials["secret"]), (201, &Value::Null), "{credentials}");
        let folder = tempfile::tempdir().unwrap();
        for (field, content) in [("certificateFile", pem), ("keyFile", key.serialize_pem())] {
            std::fs::write(folder.path().join(credentials[field].as_str().unwrap()), content).unwrap();
        }
        std::fs::write(folder.path().join("gw.json"), credentials.to_string()).unwrap();
        Self { folder, site: site.to_owned(), quic: node.ready["quic"].as_str().unwrap().to_owned() }
    }

    pub fn quic(&self) -> &str {
        &self.quic
    }

    /// Writes a recording.
    pub fn recording(&self, name: &str, content: &str) {
        std::fs::write(self.folder.path().join(name), content).unwrap();
    }

    fn command(&self, rate: &str, files: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .current_dir(self.folder.path())
            .args(["replay", "--cluster", &self.quic, "--credentials", "gw.json", "--site", &self.site, "--rate", rate])
            .args(files)
            .env_remove("RUST_LOG")
            .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn start(&self, rate: &str, files: &[&str]) -> Running {
        Running(Some(self.command(rate, files).spawn().unwrap()))
    }

    /// A replay of which this share of the batches is traced.
    pub fn traced(&self, ratio: &str, collector: &str, files: &[&str]) -> Running {
        let mut command = self.command("max", files);
        command.args(["--trace-ratio", ratio]).env("OTEL_EXPORTER_OTLP_ENDPOINT", collector);
        Running(Some(command.spawn().unwrap()))
    }

    /// Gives the gateway the CA of another node.
    pub fn trust(&self, other: &Self) {
        let read = |simulator: &Self| -> Value {
            serde_json::from_slice(&std::fs::read(simulator.folder.path().join("gw.json")).unwrap()).unwrap()
        };
        let mut credentials = read(self);
        credentials["ca"] = read(other)["ca"].clone();
        std::fs::write(self.folder.path().join("gw.json"), credentials.to_string()).unwrap();
    }

    /// Does something with the dead letters of the replays.
    pub fn dead_letters(&self, arguments: &[&str]) {
        let mut command = Command::new(program());
        command.current_dir(self.folder.path()).arg("dead-letters").args(arguments).args(["--state", "gw.replay"]);
        let output = command.env_remove("RUST_LOG").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs a replay to its end, at full speed.
    pub fn replay(&self, files: &[&str]) -> Ended {
        self.start("max", files).ended()
    }
}

/// A replay that runs; killed when it is dropped.
pub struct Running(Option<Child>);

impl Running {
    pub fn has_ended(&mut self) -> bool {
        self.0.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.0.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub fn ended(mut self) -> Ended {
        let deadline = Instant::now() + TIMEOUT;
        while !self.has_ended() {
            assert!(Instant::now() < deadline, "the replay did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ended::from(self.0.take().unwrap().wait_with_output().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How a replay ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}
