//! Server-sent events, as the WHATWG standard words them: bytes in, events out, no I/O.

use crate::limits::EVENT_BYTES_MAX;

/// One event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// The `event` field; empty where the stream named none.
    pub(crate) name: String,
    /// The stream's last id, up to and with this event.
    pub(crate) id: Option<String>,
    /// The `data` fields, joined by line ends.
    pub(crate) data: String,
}

/// An event grew past [`EVENT_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event has more than {EVENT_BYTES_MAX} bytes")]
pub(crate) struct EventTooLong;

/// Takes the stream apart. A new connection needs a new parser.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed that follows belongs to it.
    after_return: bool,
    name: String,
    data: Option<String>,
    id: Option<String>,
}

impl Parser {
    /// Takes bytes as they come off the wire, cut anywhere; returns the events that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, EventTooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            let was_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if was_return => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                _ => {
                    if self.line.len() + self.data.as_ref().map_or(0, String::len) >= EVENT_BYTES_MAX {
                        return Err(EventTooLong);
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(events)
    }

    /// The last id that the stream has said, with an event or by itself.
    pub(crate) fn last_id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn end_line(&mut self) -> Option<Event> {
        let bytes = std::mem::take(&mut self.line);
        if bytes.is_empty() {
            let name = std::mem::take(&mut self.name);
            return self.data.take().map(|data| Event { name, id: self.id.clone(), data });
        }
        let line = String::from_utf8_lossy(&bytes);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => match &mut self.data {
                None => self.data = Some(value.to_owned()),
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
            },
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            // Comments (an empty field), `retry` (our own back-off stands) and fields of later versions.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": hello\n\nevent: reported\r\nid: 7\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\ndata:x\r\rretry: 5\n\nevent: empty\n\n\
                          data: cut off";

    fn expected() -> Vec<Event> {
        vec![
            Event { name: "reported".to_owned(), id: Some("7".to_owned()), data: "{\"a\":\n1}".to_owned() },
            Event { name: String::new(), id: Some("7".to_owned()), data: "x".to_owned() },
        ]
    }

    #[test]
    fn fields_comments_and_all_line_ends_are_understood() {
        assert_eq!(Parser::default().push(STREAM.as_bytes()).unwrap(), expected());
    }

    #[test]
    fn where_the_stream_is_cut_makes_no_difference() {
        let bytes = STREAM.as_bytes();
        for cut in 0..=bytes.len() {
            let mut parser = Parser::default();
            let mut events = parser.push(&bytes[..cut]).unwrap();
            events.extend(parser.push(&bytes[cut..]).unwrap());
            assert_eq!(events, expected(), "cut at {cut}");
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = Parser::default();
        let line = [b"data: ".as_slice(), &[b'x'; 1000], b"\n"].concat();
        let refused = (0..=EVENT_BYTES_MAX / 1000 + 1).any(|_| parser.push(&line).is_err());
        assert!(refused);
    }
}
