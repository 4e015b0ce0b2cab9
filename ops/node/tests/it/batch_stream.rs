//! A client of `POST /api/v1/twins:batchUpdate`, and of all that speaks like it, that sends and reads as a test says.

use std::collections::VecDeque;
use std::io::{BufReader, Read, Write as _};
use std::net::{Shutdown, TcpStream};

use serde_json::{Value, json};
use twin_core::command::{Command, Precondition};
use twin_core::ids::TwinId;
use twin_core::value::Value as TwinValue;
use twin_node::Node;

use crate::http::{Client, read_chunk, read_head};

pub const PATH: &str = "twins:batchUpdate";

/// Registers `prefix-0`, `prefix-1`, ...
pub async fn register(node: &Node, prefix: &str, twins: usize) {
    let put = |n| async move {
        let twin = TwinId::new(&format!("{prefix}-{n}")).unwrap();
        let (tags, desired) = (TwinValue::empty_object(), TwinValue::empty_object());
        let put = Command::Put { site: None, tags, desired, precondition: Precondition::None };
        node.cluster().call(&twin, put, 256).await.unwrap();
    };
    for from in (0..twins).step_by(1000) {
        futures_util::future::join_all((from..twins.min(from + 1000)).map(put)).await;
    }
}

/// One request, open in both directions.
pub struct Batch {
    to: TcpStream,
    results: Results<TcpStream>,
}

impl Batch {
    pub fn open(client: &Client) -> Self {
        Self::open_at(client, PATH)
    }

    /// At another path below `/api/v1/`.
    pub fn open_at(client: &Client, path: &str) -> Self {
        let mut to = client.connect();
        to.write_all(head_at(path, &client.token, "Transfer-Encoding: chunked").as_bytes()).unwrap();
        let results = Results::new(to.try_clone().unwrap());
        Self { to, results }
    }

    /// Of a body that is longer than what will be sent.
    pub fn open_with_length(client: &Client, length: usize) -> Self {
        let mut to = client.connect();
        to.write_all(head(&client.token, &format!("Content-Length: {length}")).as_bytes()).unwrap();
        let results = Results::new(to.try_clone().unwrap());
        Self { to, results }
    }

    /// One chunk.
    pub fn send(&mut self, text: &str) {
        write!(self.to, "{:x}\r\n{text}\r\n", text.len()).unwrap();
    }

    pub fn send_raw(&mut self, text: &[u8]) -> std::io::Result<()> {
        self.to.write_all(text)
    }

    pub fn end(&mut self) {
        self.to.write_all(b"0\r\n\r\n").unwrap();
    }

    /// Sends nothing more, but goes on reading.
    pub fn half_close(&mut self) {
        self.to.shutdown(Shutdown::Write).unwrap();
    }

    pub fn to(&self) -> &TcpStream {
        &self.to
    }

    /// The next result; `None` at the answer's end.
    pub fn next(&mut self) -> Option<Value> {
        self.results.next()
    }

    /// Sends all while reading; ends the body.
    pub fn exchange(mut self, body: String) -> Vec<Value> {
        let mut to = self.to.try_clone().unwrap();
        let sender = std::thread::spawn(move || {
            for part in body.as_bytes().chunks(10_000) {
                write!(to, "{:x}\r\n", part.len()).unwrap();
                to.write_all(part).unwrap();
                to.write_all(b"\r\n").unwrap();
            }
            to.write_all(b"0\r\n\r\n").unwrap();
        });
        let results = std::iter::from_fn(|| self.next()).collect();
        sender.join().unwrap();
        results
    }
}

pub fn head(token: &str, framing: &str) -> String {
    head_at(PATH, token, framing)
}

fn head_at(path: &str, token: &str, framing: &str) -> String {
    format!(
        "POST /api/v1/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/x-ndjson\r\n{framing}\r\n\r\n"
    )
}

/// The lines of a chunked answer.
pub struct Results<R: Read> {
    reader: BufReader<R>,
    is_begun: bool,
    lines: VecDeque<Value>,
    rest: Vec<u8>,
}

impl<R: Read> Results<R> {
    pub fn new(from: R) -> Self {
        Self { reader: BufReader::new(from), is_begun: false, lines: VecDeque::new(), rest: Vec::new() }
    }

    pub fn next(&mut self) -> Option<Value> {
        if !self.is_begun {
            self.is_begun = true;
            let (status, headers) = read_head(&mut self.reader);
            assert_eq!(status, 200, "{headers:?}");
            let kind = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.as_str());
            assert_eq!(kind, Some("application/x-ndjson"));
        }
        while self.lines.is_empty() {
            let Some(chunk) = read_chunk(&mut self.reader) else {
                assert!(self.rest.is_empty(), "{}", String::from_utf8_lossy(&self.rest));
                return None;
            };
            self.rest.extend(chunk);
            let end = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let whole: Vec<u8> = self.rest.drain(..end).collect();
            let lines = whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            self.lines.extend(lines.map(|line| serde_json::from_slice::<Value>(line).unwrap()));
        }
        self.lines.pop_front()
    }
}

/// A line that sets `desired.n`.
pub fn setting(id: &str, n: usize) -> String {
    format!("{}\n", json!({"id": id, "desired": {"n": n}}))
}
