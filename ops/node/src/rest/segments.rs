//! What stands in a request's path, percent-decoded exactly once.
//!
//! actix decodes parts of the path for its routing; ids may contain `%`, so names are taken from the path as it was sent.
//! Routing and this module agree on where segments begin: actix leaves `%2F` alone.

use actix_web::HttpRequest;
use twin_core::ids::{GatewayName, SiteId, TokenName, TwinId};
use twin_core::limits::NAME_BYTES_MAX;
use twin_core::path::Path;

use super::problem::Problem;

/// Segments before the first one that differs: `/api/v1/twins/{id}` has its id at 3.
const NAME_AT: usize = 3;

fn segment(request: &HttpRequest, at: usize) -> &str {
    request.uri().path().split('/').skip(1).nth(at).unwrap_or_default()
}

/// Decodes each `%XX` of `text` once.
pub(crate) fn percent_decode(text: &str) -> Result<String, Problem> {
    let malformed = |at: usize| {
        Problem::bad_request(
            "bad-percent-encoding",
            format!(
                "at byte {at} of {text:?}: '%' stands only before two hexadecimal digits; a percent sign itself is %25"
            ),
        )
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let at = text.len() - rest.len();
            let digits = tail.get(..2).filter(|d| d.iter().all(u8::is_ascii_hexdigit)).ok_or_else(|| malformed(at))?;
            let hex = std::str::from_utf8(digits).map_err(|_| malformed(at))?;
            bytes.push(u8::from_str_radix(hex, 16).map_err(|_| malformed(at))?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Problem::bad_request("bad-percent-encoding", format!("{text:?} is not UTF-8 once decoded (byte {at})"))
    })
}

/// The `{id}` of `/api/v1/twins/{id}...`.
pub(crate) fn twin_id(request: &HttpRequest) -> Result<TwinId, Problem> {
    let text = percent_decode(segment(request, NAME_AT))?;
    TwinId::new(&text).map_err(|error| Problem::bad_request("bad-id", error.to_string()))
}

/// The `{id}` of `/api/v1/sites/{id}...`.
pub(crate) fn site_id(request: &HttpRequest) -> Result<SiteId, Problem> {
    parse_site(&percent_decode(segment(request, NAME_AT))?)
}

/// A site named in a query or body.
pub(crate) fn parse_site(text: &str) -> Result<SiteId, Problem> {
    SiteId::new(text).map_err(|error| Problem::bad_request("bad-id", error.to_string()))
}

/// The `{name}` of `/api/v1/sites/{id}/gateways/{name}`.
pub(crate) fn gateway_name(request: &HttpRequest) -> Result<GatewayName, Problem> {
    parse_gateway(&percent_decode(segment(request, NAME_AT + 2))?)
}

/// A gateway named in a path or body.
pub(crate) fn parse_gateway(text: &str) -> Result<GatewayName, Problem> {
    GatewayName::new(text).map_err(|error| Problem::bad_request("bad-id", error.to_string()))
}

/// The `{name}` of `/api/v1/tokens/{name}`.
pub(crate) fn token_name(request: &HttpRequest) -> Result<TokenName, Problem> {
    parse_token(&percent_decode(segment(request, NAME_AT))?)
}

/// A token named in a path or body.
pub(crate) fn parse_token(text: &str) -> Result<TokenName, Problem> {
    TokenName::new(text).map_err(|error| Problem::bad_request("bad-id", error.to_string()))
}

/// The `{name}` of `/api/v1/twins/{id}/methods/{name}`.
pub(crate) fn method_name(request: &HttpRequest) -> Result<String, Problem> {
    let name = percent_decode(segment(request, NAME_AT + 2))?;
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let detail = format!(
            "a method name has 1 to {NAME_BYTES_MAX} bytes and no control characters, this one has {} bytes",
            name.len()
        );
        return Err(Problem::bad_request("bad-id", detail).with_limit(NAME_BYTES_MAX as u64));
    }
    Ok(name)
}

/// The section's name and the path behind it, of `/api/v1/twins/{id}/{section}[/json/pointer]`.
pub(crate) fn section_path(request: &HttpRequest) -> Result<Path, Problem> {
    let mut pointer = String::new();
    for raw in request.uri().path().split('/').skip(1 + NAME_AT + 2) {
        pointer.push('/');
        // A '/' that was percent-encoded is part of the key, which a JSON pointer writes as ~1.
        pointer.push_str(&percent_decode(raw)?.replace('/', "~1"));
    }
    Path::from_pointer(&pointer)
        .map_err(|error| Problem::bad_request("bad-pointer", error.to_string()).at(pointer.as_str()))
}

/// Which section such a path names; `None` where the route has none.
pub(crate) fn section_name(request: &HttpRequest) -> &str {
    segment(request, NAME_AT + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn id(path: &str) -> Result<String, u16> {
        let request = TestRequest::with_uri(path).to_http_request();
        twin_id(&request).map(|id| id.as_str().to_owned()).map_err(|p| p.response().status().as_u16())
    }

    #[test]
    fn an_id_is_decoded_exactly_once() {
        assert_eq!(id("/api/v1/twins/%252F"), Ok("%2F".into()));
        assert_eq!(id("/api/v1/twins/%2525"), Ok("%25".into()));
        assert_eq!(id("/api/v1/twins/%25"), Ok("%".into()));
        assert_eq!(id("/api/v1/twins/a%23b%3Fc"), Ok("a#b?c".into()));
        assert_eq!(id("/api/v1/twins/a+b"), Ok("a+b".into()));
        assert_eq!(id("/api/v1/twins/a%2Bb/desired"), Ok("a+b".into()));
    }

    #[test]
    fn what_is_no_id_is_400() {
        for path in ["a%2Fb", "%2E", "..", "%zz", "%2", "%", "%FF", "a%20b", "%C3%A9", &"x".repeat(129)] {
            assert_eq!(id(&format!("/api/v1/twins/{path}")), Err(400), "{path}");
        }
    }

    #[test]
    fn pointers_are_percent_decoded_then_unescaped_per_segment() {
        let pointer = |path: &str| {
            let request = TestRequest::with_uri(path).to_http_request();
            section_path(&request).map(|p| p.keys().iter().map(|k| k.clone().into_string()).collect::<Vec<_>>())
        };
        assert_eq!(pointer("/api/v1/twins/x/desired").unwrap(), Vec::<String>::new());
        assert_eq!(pointer("/api/v1/twins/x/desired/a/b").unwrap(), ["a", "b"]);
        assert_eq!(pointer("/api/v1/twins/x/desired/a~1b/c%7E0d").unwrap(), ["a/b", "c~d"]);
        assert_eq!(pointer("/api/v1/twins/x/desired/a%2Fb").unwrap(), ["a/b"]);
        assert_eq!(pointer("/api/v1/twins/x/desired/%2541").unwrap(), ["%41"]);
        assert!(pointer("/api/v1/twins/x/desired/a~2").is_err());
    }
}
