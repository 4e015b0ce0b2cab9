//! A small HTTP/1.1 client that sends exactly what a test says: paths are not touched, headers may be wrong.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Socket, Type};

/// Longest wait for anything.
const TIMEOUT: Duration = Duration::from_secs(20);

pub struct Client {
    pub addr: SocketAddr,
    pub token: String,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body, after checking the status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// The code of a problem, after checking that it is a proper one.
    #[track_caller]
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let body = self.json();
        assert_eq!(body["status"], status);
        for member in ["type", "title", "detail", "code"] {
            assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member} of {body}");
        }
        if status == 429 || status == 503 {
            assert!(self.header("retry-after").is_some());
        }
        body["code"].as_str().unwrap().to_owned()
    }

    pub fn etag(&self) -> &str {
        self.header("etag").expect("an ETag")
    }
}

impl Client {
    /// What `/metrics` says of a name with its labels.
    #[track_caller]
    pub fn metric<T: std::str::FromStr>(&self, name: &str) -> T {
        let text = String::from_utf8(self.get("/metrics").expect(200).body).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("{name} is not in\n{text}"))
    }

    pub fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], None)
    }

    pub fn delete(&self, path: &str) -> Response {
        self.send("DELETE", path, &[], None)
    }

    pub fn put(&self, path: &str, body: Value) -> Response {
        self.json("PUT", path, &[], body)
    }

    pub fn patch(&self, path: &str, body: Value) -> Response {
        self.json("PATCH", path, &[], body)
    }

    pub fn post(&self, path: &str, body: Value) -> Response {
        self.json("POST", path, &[], body)
    }

    pub fn json(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Value) -> Response {
        let mut headers = headers.to_vec();
        headers.push(("Content-Type", "application/json"));
        self.send(method, path, &headers, Some(body.to_string().as_bytes()))
    }

    /// With the token. Paths that do not begin with `/` are below `/api/v1/`.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Response {
        let authorization = format!("Bearer {}", self.token);
        let mut headers = headers.to_vec();
        headers.push(("Authorization", &authorization));
        self.send_bare(method, path, &headers, body)
    }

    /// Without the token.
    pub fn send_bare(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Response {
        let mut stream = self.connect();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/api/v1/{path}") };
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.addr);
        for (name, value) in headers {
            head.extend([*name, ": ", *value, "\r\n"]);
        }
        if let Some(body) = body {
            head.extend(["Content-Length: ", &body.len().to_string(), "\r\n"]);
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        // A server that refuses early may close before it has read everything.
        let _ = stream.write_all(body.unwrap_or_default());
        read_response(stream)
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream
    }

    /// Sends a request and reads the head of the answer.
    pub fn open(&self, method: &str, path: &str) -> (u16, Vec<(String, String)>, BufReader<TcpStream>) {
        self.open_with(method, path, "")
    }

    fn open_with(&self, method: &str, path: &str, more: &str) -> (u16, Vec<(String, String)>, BufReader<TcpStream>) {
        self.open_on(self.connect(), method, path, more)
    }

    fn open_on(
        &self,
        mut stream: TcpStream,
        method: &str,
        path: &str,
        more: &str,
    ) -> (u16, Vec<(String, String)>, BufReader<TcpStream>) {
        let head = format!(
            "{method} /api/v1/{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{more}\r\n",
            self.addr, self.token
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let (status, headers) = read_head(&mut reader);
        (status, headers, reader)
    }

    /// Opens an event stream.
    pub fn observe(&self, path: &str) -> Events {
        self.events(path, "")
    }

    /// Opens an event stream over a connection that takes little that is not read.
    pub fn observe_narrowly(&self, path: &str) -> Events {
        let socket = Socket::new(Domain::for_address(self.addr), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&self.addr.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        self.events_of(stream, path, "")
    }

    /// Takes up an event stream after the event with this id.
    pub fn observe_after(&self, path: &str, id: &str) -> Events {
        self.events(path, &format!("Last-Event-ID: {id}\r\n"))
    }

    fn events(&self, path: &str, more: &str) -> Events {
        self.events_of(self.connect(), path, more)
    }

    fn events_of(&self, stream: TcpStream, path: &str, more: &str) -> Events {
        let (status, headers, reader) = self.open_on(stream, "GET", path, more);
        assert_eq!(status, 200);
        let kind = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.as_str());
        assert_eq!(kind, Some("text/event-stream"));
        let mut events = Events { reader, id: String::new() };
        assert_eq!(events.line(), ": observing");
        events
    }
}

pub fn read_response(stream: TcpStream) -> Response {
    let mut reader = BufReader::new(stream);
    let (status, headers) = read_head(&mut reader);
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let mut body = Vec::new();
    if chunked {
        while let Some(chunk) = read_chunk(&mut reader) {
            body.extend(chunk);
        }
    } else {
        reader.read_to_end(&mut body).unwrap();
    }
    Response { status, headers, body }
}

pub fn read_head<R: Read>(reader: &mut BufReader<R>) -> (u16, Vec<(String, String)>) {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no status line: {line:?}")).parse().unwrap();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(':') else { return (status, headers) };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

pub fn read_chunk<R: Read>(reader: &mut BufReader<R>) -> Option<Vec<u8>> {
    let mut size = String::new();
    reader.read_line(&mut size).unwrap();
    let size = usize::from_str_radix(size.trim(), 16).ok().filter(|size| *size > 0)?;
    let mut chunk = vec![0; size + 2];
    reader.read_exact(&mut chunk).unwrap();
    chunk.truncate(size);
    Some(chunk)
}

/// An open event stream.
pub struct Events {
    reader: BufReader<TcpStream>,
    /// The last id that it said.
    pub id: String,
}

impl Events {
    /// A line of the stream, whatever chunk it is in; empty at the stream's end.
    pub fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).unwrap() == 0 {
                return String::new();
            }
            let line = line.trim_end();
            // Chunk sizes and the ends of chunks and events.
            if !line.is_empty() && usize::from_str_radix(line, 16).is_err() {
                return line.to_owned();
            }
            if line == "0" {
                return String::new();
            }
        }
    }

    /// The next id, of an event or by itself.
    pub fn next_id(&mut self) -> String {
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "the stream ended");
            if let Some(id) = line.strip_prefix("id: ") {
                return id.to_owned();
            }
        }
    }

    /// The next event: its kind and data.
    pub fn next(&mut self) -> (String, Value) {
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "the stream ended");
            if let Some(id) = line.strip_prefix("id: ") {
                id.clone_into(&mut self.id);
            }
            if let Some(kind) = line.strip_prefix("event: ") {
                let data = self.line();
                let data = data.strip_prefix("data: ").unwrap_or_else(|| panic!("no data: {data}"));
                return (kind.to_owned(), serde_json::from_str(data).unwrap());
            }
        }
    }
}
