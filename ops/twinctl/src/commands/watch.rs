//! Following an event stream across reconnects.

use std::io::Read;
use std::thread;
use std::time::Duration;

use serde_json::json;
use serde_json::value::RawValue;

use crate::api_path::ApiPath;
use crate::client::Client;
use crate::failure::Failure;
use crate::limits::{RECONNECT_DELAY_FIRST, RECONNECT_DELAY_MAX};
use crate::output::{self, Output};
use crate::sse::{Event, Parser};
use crate::table::printable;

/// How one connection ended.
enum End {
    /// As many events as asked for were written.
    Counted,
    /// It broke, for this reason.
    Lost(String),
}

/// Prints a line per event until `count` events are printed, or for ever. A refusal ends it, and so does a first
/// connection that fails; a connection that is lost later is made again.
pub(crate) fn run(client: &Client, output: Output, path: &ApiPath, count: Option<u64>) -> Result<(), Failure> {
    let mut left = count.unwrap_or(u64::MAX);
    let mut last_id: Option<String> = None;
    let mut delay = RECONNECT_DELAY_FIRST;
    let mut connected_before = false;
    while left > 0 {
        let (reason, wait) = match client.open_events(path.clone(), last_id.as_deref()) {
            Ok(stream) => {
                connected_before = true;
                match follow(stream, output, &mut left, &mut last_id, &mut delay)? {
                    End::Counted => return Ok(()),
                    End::Lost(reason) => (reason, delay),
                }
            }
            Err(Failure::Refused(problem)) if problem.is_transient() => {
                let asked = Duration::from_secs(problem.retry_after_s.unwrap_or(0));
                (problem.to_string(), delay.max(asked))
            }
            Err(Failure::Unreachable { reason, .. }) if connected_before => (reason, delay),
            Err(failure) => return Err(failure),
        };
        eprintln!(
            "twinctl: {reason}; connecting again in {:.1} s; if a reset event comes then, events were missed",
            wait.as_secs_f64()
        );
        thread::sleep(wait);
        delay = (delay * 2).min(RECONNECT_DELAY_MAX);
    }
    Ok(())
}

fn follow(
    mut stream: impl Read,
    output: Output,
    left: &mut u64,
    last_id: &mut Option<String>,
    delay: &mut Duration,
) -> Result<End, Failure> {
    let mut parser = Parser::default();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = match stream.read(&mut buffer) {
            Ok(0) => return Ok(End::Lost("the stream ended".to_owned())),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Ok(End::Lost(format!("the stream broke off: {error}"))),
        };
        // Only a stream that carries something shows that the node is well; one that is accepted and dropped doesn't.
        *delay = RECONNECT_DELAY_FIRST;
        let events = match parser.push(&buffer[..read]) {
            Ok(events) => events,
            Err(error) => return Ok(End::Lost(error.to_string())),
        };
        for event in events {
            output::line(&render(output, &event))?;
            *left -= 1;
            if *left == 0 {
                return Ok(End::Counted);
            }
        }
        // Also an id by itself: the node says where it is, while nothing is told.
        if let Some(id) = parser.last_id() {
            *last_id = Some(id.to_owned());
        }
    }
}

/// For scripts `{"event", "id"?, "data"}`, with the data as it came; for people the name and the data.
fn render(output: Output, event: &Event) -> String {
    let name = if event.name.is_empty() { "message" } else { &event.name };
    if !output.json {
        return format!("{:<10} {}", printable(name), printable(&event.data));
    }
    let id = event.id.as_ref().map(|id| format!(r#""id":{},"#, json!(id))).unwrap_or_default();
    // Data that isn't JSON goes on as a string; a line end within JSON is white space, and one line is one event.
    let data = match serde_json::from_str::<&RawValue>(&event.data) {
        Ok(data) => data.get().replace('\n', " "),
        Err(_) => json!(event.data).to_string(),
    };
    format!(r#"{{"event":{},{id}"data":{data}}}"#, json!(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event = Event { name: "reported".to_owned(), id: Some("7".to_owned()), data: "{\"v\":\n1.0}".to_owned() };
        assert_eq!(render(Output { json: true }, &event), r#"{"event":"reported","id":"7","data":{"v": 1.0}}"#);
        let text = Event { data: "no\nJSON".to_owned(), ..Event::default() };
        assert_eq!(render(Output { json: true }, &text), r#"{"event":"message","data":"no\nJSON"}"#);
        assert_eq!(render(Output { json: false }, &text), "message    no\u{fffd}JSON");
    }
}
