//! A tiny HTTP server with a script: each connection is asked one thing and given one answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// No step of a test takes this long unless something is broken.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// What a client asked.
#[derive(Debug)]
pub(crate) struct Asked {
    /// `GET /api/v1/...`, as it came off the wire.
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    /// A header's value; empty if it isn't there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// A server that gives the scripted answers, in order, and then is gone.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Receiver<Asked>,
}

impl Server {
    pub(crate) fn start(answers: impl IntoIterator<Item = String>) -> Self {
        Self::run(answers, None)
    }

    /// The same over TLS.
    pub(crate) fn start_tls(answers: impl IntoIterator<Item = String>, config: ServerConfig) -> Self {
        Self::run(answers, Some(Arc::new(config)))
    }

    fn run(answers: impl IntoIterator<Item = String>, config: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, asked) = channel();
        let answers: Vec<String> = answers.into_iter().collect();
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(STEP_TIMEOUT)).unwrap();
                let asked = match &config {
                    None => serve(&mut stream, &answer),
                    Some(config) => {
                        let session = ServerConnection::new(Arc::clone(config)).unwrap();
                        serve(&mut StreamOwned::new(session, stream), &answer)
                    }
                };
                // A client that turned away asked nothing.
                let Ok(asked) = asked else { continue };
                if sender.send(asked).is_err() {
                    break;
                }
            }
        });
        Self { address, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request, in order.
    pub(crate) fn asked(&self) -> Asked {
        self.asked.recv_timeout(STEP_TIMEOUT).unwrap()
    }
}

/// A whole answer.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

/// A JSON answer.
pub(crate) fn json(status: &str, body: &str) -> String {
    answer(status, "Content-Type: application/json\r\n", body)
}

/// A problem answer.
pub(crate) fn problem(status: &str, headers: &str, body: &str) -> String {
    answer(status, &format!("{headers}Content-Type: application/problem+json\r\n"), body)
}

/// A stream of these events, which ends after them.
pub(crate) fn events(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n{text}")
}

/// Lines, which end with the connection.
pub(crate) fn lines(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n{text}")
}

fn serve(stream: &mut (impl Read + Write), answer: &str) -> io::Result<Asked> {
    let asked = read_request(&mut *stream)?;
    stream.write_all(answer.as_bytes())?;
    stream.flush()?;
    Ok(asked)
}

fn read_request(stream: impl Read) -> io::Result<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((key, value)) = header.trim_end().split_once(": ") else { break };
        headers.push((key.to_ascii_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(key, _)| key == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    Ok(Asked { line, headers, body: String::from_utf8(body).unwrap() })
}
