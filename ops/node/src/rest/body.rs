//! Request bodies: content type, size and JSON, each checked before the next is looked at.

use actix_web::http::{StatusCode, header};
use actix_web::web::Payload;
use actix_web::{HttpMessage as _, HttpRequest};
use futures_util::StreamExt as _;
use twin_core::json::{self, JsonError};
use twin_core::merge::strip_reserved;
use twin_core::value::{Members, Value};

use super::problem::Problem;
use crate::limits::{BODY_BYTES_MAX, BODY_DISCARDED_BYTES_MAX, BODY_TIMEOUT};

/// Content type of every JSON body.
pub(crate) const JSON: &str = "application/json";
/// RFC 7396; what PATCH takes besides plain JSON.
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";

/// One JSON text a line.
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// Which content types a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepts {
    /// `application/json`.
    Json,
    /// Also `application/merge-patch+json`.
    MergePatch,
    /// `application/x-ndjson` alone.
    Ndjson,
}

impl Accepts {
    const fn types(self) -> &'static [&'static str] {
        match self {
            Self::Json => &[JSON],
            Self::MergePatch => &[JSON, MERGE_PATCH],
            Self::Ndjson => &[NDJSON],
        }
    }
}

/// A parsed body, and its size as admission counts it.
#[derive(Debug)]
pub(crate) struct JsonBody {
    pub(crate) value: Value,
    pub(crate) bytes: usize,
}

/// Reads and parses the body of a request.
pub(crate) async fn read_json(request: &HttpRequest, payload: Payload, accepts: Accepts) -> Result<JsonBody, Problem> {
    check_content_type(request, accepts)?;
    let bytes = tokio::time::timeout(BODY_TIMEOUT, read(request, payload)).await.map_err(|_| {
        let detail = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", detail)
    })??;
    if let Some(mark) = byte_order_mark(&bytes) {
        let detail =
            format!("the body begins with a byte order mark ({mark}), which is no JSON: send it as UTF-8 without one");
        return Err(Problem::bad_request("malformed-json", detail));
    }
    let value = json::parse(&bytes, "the body").map_err(|error| malformed(&error))?;
    Ok(JsonBody { value, bytes: bytes.len() })
}

/// What some editors and shells put before a text. Nobody sees it, so an error at "line 1, column 1" would tell nothing.
fn byte_order_mark(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xef, 0xbb, 0xbf, ..] => Some("EF BB BF, that of UTF-8"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("that of UTF-16"),
        _ => None,
    }
}

/// A text that is not JSON, or no JSON that a document may hold.
pub(crate) fn malformed(error: &JsonError) -> Problem {
    let mut problem = match error {
        JsonError::Utf8 { .. } | JsonError::Syntax { .. } | JsonError::NotFinite { .. } => {
            Problem::bad_request("malformed-json", error.to_string())
        }
        // Well-formed, but no document may hold it.
        JsonError::Nesting { .. } | JsonError::Integer { .. } | JsonError::Duplicate { .. } => {
            Problem::rule(error.code(), error.pointer().unwrap_or_default(), error.to_string())
        }
    };
    if let Some(pointer) = error.pointer() {
        problem = problem.at(pointer);
    }
    match error.limit() {
        Some(limit) => problem.with_limit(limit),
        None => problem,
    }
}

pub(crate) fn check_content_type(request: &HttpRequest, accepts: Accepts) -> Result<(), Problem> {
    let expected = accepts.types().join(" or ");
    let refused =
        |detail: String| Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail));
    let Some(value) = request.headers().get(header::CONTENT_TYPE) else {
        return refused(format!("the body has no Content-Type; send {expected}"));
    };
    let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    if !accepts.types().contains(&essence) {
        return refused(format!("Content-Type {text:?} is not taken here; send {expected}"));
    }
    for parameter in parts {
        if let Some(charset) = parameter.strip_prefix("charset=")
            && charset.trim_matches('"') != "utf-8"
        {
            return refused(format!("charset {charset:?} is not taken; JSON is UTF-8"));
        }
    }
    match request.headers().get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding.as_bytes() != b"identity" => {
            refused("Content-Encoding is not taken: send the body as it is".to_owned())
        }
        _ => Ok(()),
    }
}

/// Refuses a body where none is looked at: whoever sends one expects something of it.
pub(crate) async fn bodiless(mut payload: Payload, what: &str) -> Result<(), Problem> {
    while let Some(Ok(chunk)) = tokio::time::timeout(BODY_TIMEOUT, payload.next()).await.ok().flatten() {
        if !chunk.is_empty() {
            discard(&mut payload, BODY_DISCARDED_BYTES_MAX).await;
            return Err(Problem::bad_request("body-not-taken", format!("{what} takes no body; leave it out")));
        }
    }
    Ok(())
}

async fn read(request: &HttpRequest, mut payload: Payload) -> Result<Vec<u8>, Problem> {
    let too_large = |found: String| {
        let detail = format!("the body has {found} bytes, the limit is {BODY_BYTES_MAX}");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail).with_limit(BODY_BYTES_MAX as u64)
    };
    let declared = request.get_header::<actix_web::http::header::ContentLength>().map(|length| *length);
    if let Some(length) = declared
        && length > BODY_BYTES_MAX
    {
        if length <= BODY_DISCARDED_BYTES_MAX {
            discard(&mut payload, length).await;
        }
        return Err(too_large(length.to_string()));
    }
    let mut bytes = Vec::with_capacity(declared.unwrap_or(0));
    while let Some(chunk) = payload.next().await {
        let chunk =
            chunk.map_err(|error| Problem::bad_request("broken-body", format!("the body broke off: {error}")))?;
        if bytes.len() + chunk.len() > BODY_BYTES_MAX {
            discard(&mut payload, BODY_DISCARDED_BYTES_MAX).await;
            return Err(too_large(format!("more than {BODY_BYTES_MAX}")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Reads on without keeping: a client that is still sending when the connection closes would never see the answer.
async fn discard(payload: &mut Payload, most: usize) {
    let mut seen = 0;
    while let Some(Ok(chunk)) = payload.next().await {
        seen += chunk.len();
        if seen >= most {
            return;
        }
    }
}

/// A twin's document, or a part of one, without the `$version` and `$metadata` that it may carry because it was read before. At any
/// depth: no property can be named so.
pub(crate) fn without_reserved(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => {
            strip_reserved(members);
            for member in members.values_mut() {
                *member = without_reserved(std::mem::take(member));
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = without_reserved(std::mem::take(item));
            }
        }
        _ => {}
    }
    value
}

/// The members of a body that must be an object and may have only members `known`.
pub(crate) fn members(value: Value, known: &[&str], what: &str) -> Result<Members, Problem> {
    let Value::Object(members) = value else {
        return Err(Problem::rule("not-an-object", "", format!("{what} is a JSON object")));
    };
    if let Some(unknown) = members.keys().find(|key| !known.contains(&&***key)) {
        let pointer = twin_core::path::Path::root().child(unknown).to_string();
        let detail = format!("{what} has no member {unknown:?}; it takes {}", known.join(", "));
        return Err(Problem::rule("unknown-member", pointer, detail));
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn content_type(value: Option<&str>, accepts: Accepts) -> Result<(), u16> {
        let request = value.map_or_else(TestRequest::put, |v| TestRequest::put().insert_header(("content-type", v)));
        check_content_type(&request.to_http_request(), accepts).map_err(|p| p.response().status().as_u16())
    }

    #[test]
    fn only_json_is_taken_and_a_merge_patch_by_patch() {
        assert_eq!(content_type(Some("application/json"), Accepts::Json), Ok(()));
        assert_eq!(content_type(Some("Application/JSON; charset=\"UTF-8\""), Accepts::Json), Ok(()));
        assert_eq!(content_type(Some(MERGE_PATCH), Accepts::MergePatch), Ok(()));
        assert_eq!(content_type(Some(MERGE_PATCH), Accepts::Json), Err(415));
        for bad in ["text/plain", "application/json; charset=latin1", "application/jsonp", ""] {
            assert_eq!(content_type(Some(bad), Accepts::MergePatch), Err(415), "{bad}");
        }
        assert_eq!(content_type(None, Accepts::Json), Err(415));
        assert_eq!(content_type(Some("application/x-ndjson; charset=utf-8"), Accepts::Ndjson), Ok(()));
        assert_eq!(content_type(Some(JSON), Accepts::Ndjson), Err(415));
        assert_eq!(content_type(Some(NDJSON), Accepts::MergePatch), Err(415));
    }

    async fn parsed(body: &'static [u8]) -> Result<Value, u16> {
        read_body(body).await.map_err(|problem| problem.response().status().as_u16())
    }

    async fn read_body(body: &'static [u8]) -> Result<Value, Problem> {
        let (request, payload) =
            TestRequest::put().insert_header(("content-type", JSON)).set_payload(body).to_http_parts();
        let payload = <Payload as actix_web::FromRequest>::from_request(&request, &mut { payload }).await.unwrap();
        read_json(&request, payload, Accepts::Json).await.map(|body| body.value)
    }

    #[actix_web::test]
    async fn a_byte_order_mark_is_named() {
        for (body, mark) in
            [(&b"\xef\xbb\xbf{}"[..], "UTF-8"), (b"\xff\xfe{\0}\0", "UTF-16"), (b"\xfe\xff\0{\0}", "UTF-16")]
        {
            let problem = read_body(body).await.unwrap_err();
            let told = problem.to_string();
            assert!(
                problem.code() == "malformed-json" && told.contains("byte order mark") && told.contains(mark),
                "{told}"
            );
        }
    }

    #[actix_web::test]
    async fn malformed_bodies_are_400_and_unfit_values_422() {
        assert!(parsed(b"{\"a\": 1}").await.is_ok());
        for bad in [&b"{"[..], b"", b"{\"a\": 1e999}", b"\xff", b"{} x", b"NaN", b"01"] {
            assert_eq!(parsed(bad).await, Err(400), "{bad:?}");
        }
        assert_eq!(parsed(b"[99999999999999999999]").await, Err(422));
        assert_eq!(parsed(br#"{"a": 1, "a": 2}"#).await, Err(422));
    }

    #[test]
    fn what_only_the_node_writes_is_ignored_at_any_depth() {
        let value =
            json::parse(br#"{"$version": 3, "a": {"$metadata": {}, "b": [{"$version": 1, "c": 2}]}}"#, "x").unwrap();
        assert_eq!(without_reserved(value), json::parse(br#"{"a": {"b": [{"c": 2}]}}"#, "x").unwrap());
    }

    #[test]
    fn an_unknown_member_is_named_by_its_pointer() {
        let value = json::parse(br#"{"tags": {}, "a/b": 1}"#, "x").unwrap();
        let problem = members(value, &["tags"], "a twin").unwrap_err();
        assert_eq!(problem.response().status(), 422);
        assert!(problem.to_string().contains("a/b"));
    }
}
