//! Just enough protobuf to read the spans of an OTLP export.

/// A span, as far as tests look at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub service: String,
    pub trace: Vec<u8>,
    pub id: Vec<u8>,
    pub parent: Vec<u8>,
    pub name: String,
    /// When it began and ended, nanoseconds since 1970.
    pub begun_ns: u64,
    pub ended_ns: u64,
}

/// The length-delimited fields of a message and those of 8 bytes, with their numbers; others are skipped.
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let length = match key & 7 {
            0 => {
                varint(&mut message);
                continue;
            }
            1 => 8,
            2 => varint(&mut message) as usize,
            5 => 4,
            wire => panic!("wire type {wire}"),
        };
        let (field, rest) = message.split_at(length);
        message = rest;
        if matches!(key & 7, 1 | 2) {
            fields.push((key >> 3, field));
        }
    }
    fields
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first().expect("a whole number");
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

fn all(message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    fields(message).into_iter().filter(move |(found, _)| *found == number).map(|(_, field)| field)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The spans of a request as it came, head and all.
pub fn spans(request: &[u8]) -> Vec<Span> {
    let head = request.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let mut spans = Vec::new();
    for resource_spans in all(&request[head + 4..], 1) {
        let attributes = all(resource_spans, 1).flat_map(|resource| all(resource, 1).collect::<Vec<_>>());
        let service = attributes
            .filter(|attribute| all(attribute, 1).any(|key| key == b"service.name"))
            .flat_map(|attribute| {
                all(attribute, 2).flat_map(|value| all(value, 1).map(text).collect::<Vec<_>>()).collect::<Vec<_>>()
            })
            .next()
            .unwrap_or_default();
        for span in all(resource_spans, 2).flat_map(|scope| all(scope, 2).collect::<Vec<_>>()) {
            let first = |number| all(span, number).next().unwrap_or_default();
            let fixed = |number| u64::from_le_bytes(first(number).try_into().expect("8 bytes"));
            spans.push(Span {
                service: service.clone(),
                trace: first(1).to_vec(),
                id: first(2).to_vec(),
                parent: first(4).to_vec(),
                name: text(first(5)),
                begun_ns: fixed(7),
                ended_ns: fixed(8),
            });
        }
    }
    spans
}
