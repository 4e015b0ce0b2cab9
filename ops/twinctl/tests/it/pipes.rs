//! Pipes in the place of files: nobody waits for one without knowing what for.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::server::{Server, json, lines};
use crate::twinctl::{Operator, TOKEN, command};

fn make_pipe(operator: &Operator, name: &str) {
    assert!(Command::new("mkfifo").arg(operator.path(name)).status().unwrap().success());
}

/// One that waits for somebody.
struct Waiting {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Waiting {
    fn start(operator: &Operator, url: &str, arguments: &[&str]) -> Self {
        let mut child = command(&operator.path(""))
            .args(["--url", url, "--token-file", "admin.token"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr }
    }

    /// The next line that it says.
    fn says(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        line
    }

    fn done(mut self) -> String {
        let mut said = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(self.child.wait().unwrap().success());
        said
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn many_twins_may_come_through_a_pipe_and_who_waits_for_its_writer_is_told() {
    for command in ["import", "apply"] {
        let server = Server::start([lines("{\"id\":\"a\",\"status\":201}\n")]);
        let operator = Operator::new();
        make_pipe(&operator, "twins");
        let mut waiting = Waiting::start(&operator, &server.url(), &[command, "twins"]);
        assert_eq!(waiting.says(), "twinctl: waiting for whoever writes into twins, which is a pipe\n");
        fs::write(operator.path("twins"), "{\"id\":\"a\"}\n").unwrap();
        let said = waiting.done();
        assert!(said.starts_with("1 of 1 twins"), "{said}");
    }
}

#[test]
fn a_body_and_a_list_may_come_through_a_pipe_and_who_waits_for_its_writer_is_told() {
    let server =
        Server::start([json("200 OK", r#"{"added":1,"removed":0,"total":1}"#), json("200 OK", r#"{"deviceId":"a"}"#)]);
    let operator = Operator::new();
    make_pipe(&operator, "pipe");
    for (arguments, written) in
        [(&["site", "devices", "s", "--add", "pipe"][..], "a\n"), (&["twin", "patch", "a", "@pipe"], "{\"tags\":{}}")]
    {
        let mut waiting = Waiting::start(&operator, &server.url(), arguments);
        assert!(waiting.says().contains("waiting for whoever writes into pipe"), "{arguments:?}");
        fs::write(operator.path("pipe"), written).unwrap();
        waiting.done();
    }
}

#[test]
fn a_token_a_ca_and_a_certificate_are_not_waited_for() {
    let operator = Operator::new();
    make_pipe(&operator, "pipe");
    let url = "http://127.0.0.1:9";
    let add = ["gateway", "add", "--site", "s", "--name", "g", "--out", "g.json", "--certificate", "pipe"];
    for arguments in [&["site", "ls", "--token-file", "pipe"][..], &["site", "ls", "--ca", "pipe"], &add] {
        let begun = Instant::now();
        let ran = operator.run(url, arguments);
        assert!(begun.elapsed() < Duration::from_secs(10), "{arguments:?}");
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{ran:?}");
        assert!(ran.stderr.contains("pipe: it is a named pipe"), "{ran:?}");
    }
    assert!(!operator.path("g.json").exists());
}

/// As with the shell's `<(...)`: no secret is on the disk.
#[test]
fn a_token_may_come_through_a_pipe_that_the_shell_makes() {
    let server = Server::start([json("200 OK", r#"{"sites":[]}"#)]);
    let operator = Operator::new();
    let token = File::open(operator.path("admin.token")).unwrap();
    let mut shown = Command::new("cat").stdin(token).stdout(Stdio::piped()).spawn().unwrap();
    let pipe = OwnedFd::from(shown.stdout.take().unwrap());
    let ran = command(&operator.path(""))
        .args(["--url", &server.url(), "--token-file", "/dev/fd/0", "site", "ls"])
        .stdin(Stdio::from(pipe))
        .output()
        .unwrap();
    shown.wait().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(server.asked().header("authorization"), format!("Bearer {TOKEN}"));
}
