//! Conditional requests (RFC 9110 section 13).
//!
//! An ETag header is `"<steering>.<hash of the representation>"`. Reads compare the whole, so that a cache notices every
//! change; writes compare the part before the dot, which covers tags and desired only: a stream of reports never defeats
//! a writer. What the body shows as `etag` is the steering part alone, and `If-Match` takes either, with or without quotes.

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use twin_core::command::Precondition;

use super::problem::Problem;

/// Hexadecimal digits of the representation's hash.
const HASH_DIGITS: usize = 16;

/// The ETag header of a representation.
pub(crate) fn etag(steering: &str, representation: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, representation);
    let mut tag = String::with_capacity(steering.len() + 3 + HASH_DIGITS);
    tag.push('"');
    tag.push_str(steering);
    tag.push('.');
    let digits = digest.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    tag.extend(digits.take(HASH_DIGITS).map(|digit| char::from_digit(u32::from(digit), 16).unwrap_or('0')));
    tag.push('"');
    tag
}

#[derive(Debug, PartialEq, Eq)]
struct EntityTag {
    weak: bool,
    opaque: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Condition {
    Any,
    Tags(Vec<EntityTag>),
}

fn condition(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Condition>, Problem> {
    let malformed = |why: &str| {
        let detail = format!("header {name}: {why}; it is `*` or a list of entity tags such as \"abc\", \"def\"");
        Problem::bad_request("bad-condition", detail)
    };
    let mut any = false;
    let mut tags = Vec::new();
    let mut given = false;
    for value in headers.get_all(name) {
        given = true;
        let text = value.to_str().map_err(|_| malformed("it has characters that are not visible ASCII"))?;
        if text.trim() == "*" {
            any = true;
        } else {
            parse_tags(text, &mut tags).map_err(malformed)?;
        }
    }
    match (given, any, tags.is_empty()) {
        (false, ..) => Ok(None),
        (true, true, true) => Ok(Some(Condition::Any)),
        (true, false, false) => Ok(Some(Condition::Tags(tags))),
        (true, true, false) => Err(malformed("`*` stands alone")),
        (true, false, true) => Err(malformed("it is empty")),
    }
}

fn parse_tags(text: &str, tags: &mut Vec<EntityTag>) -> Result<(), &'static str> {
    let mut rest = text.trim();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(',') {
            rest = after.trim_start();
            continue;
        }
        let (weak, tag) = rest.strip_prefix("W/").map_or((false, rest), |tag| (true, tag));
        let (opaque, after) = if let Some(quoted) = tag.strip_prefix('"') {
            quoted.split_once('"').ok_or("a quote is not closed")?
        } else if weak {
            return Err("W/ stands before a quoted tag");
        } else {
            // Not of the RFC, but what the body shows as `etag` is often sent back as it is.
            let end = tag.find([',', ' ', '\t']).unwrap_or(tag.len());
            tag.split_at(end)
        };
        if opaque == "*" || opaque.contains('"') || opaque.chars().any(|c| !c.is_ascii_graphic()) {
            return Err("a tag has characters that are not allowed in it");
        }
        tags.push(EntityTag { weak, opaque: opaque.to_owned() });
        rest = after.trim_start();
        if !rest.is_empty() && !rest.starts_with(',') {
            return Err("tags are separated by commas");
        }
    }
    Ok(())
}

/// The steering part of a tag, in either form.
fn steering_part(opaque: &str) -> &str {
    match opaque.rsplit_once('.') {
        Some((steering, hash)) if hash.len() == HASH_DIGITS && hash.bytes().all(|b| b.is_ascii_hexdigit()) => steering,
        _ => opaque,
    }
}

/// `If-Match` as it stands in a body.
pub(crate) fn precondition_of_text(text: &str) -> Result<Precondition, Problem> {
    if text.trim() == "*" {
        return Ok(Precondition::Exists);
    }
    let malformed = |why: &str| {
        let detail = format!("ifMatch: {why}; it is `*` or a list of entity tags such as \"abc\", \"def\"");
        Problem::bad_request("bad-condition", detail)
    };
    let mut tags = Vec::new();
    parse_tags(text, &mut tags).map_err(malformed)?;
    if tags.is_empty() { Err(malformed("it is empty")) } else { Ok(any_of(&tags)) }
}

/// Comparison is strong: a weak tag matches nothing (RFC 9110 section 13.1.1).
fn any_of(tags: &[EntityTag]) -> Precondition {
    let strong = tags.iter().filter(|tag| !tag.weak);
    Precondition::AnyOf(strong.map(|tag| steering_part(&tag.opaque).to_owned()).collect())
}

/// The condition of a write.
pub(crate) fn precondition(request: &HttpRequest) -> Result<Precondition, Problem> {
    let if_match = condition(request.headers(), &header::IF_MATCH)?;
    let if_none_match = condition(request.headers(), &header::IF_NONE_MATCH)?;
    match (if_match, if_none_match) {
        (None, None) => Ok(Precondition::None),
        (Some(Condition::Any), None) => Ok(Precondition::Exists),
        (Some(Condition::Tags(tags)), None) => Ok(any_of(&tags)),
        (None, Some(Condition::Any)) => Ok(Precondition::Absent),
        // A twin that exists and does not: nothing fulfils both.
        (Some(_), Some(Condition::Any)) => Ok(Precondition::AnyOf(Vec::new())),
        (_, Some(Condition::Tags(_))) => Err(Problem::bad_request(
            "bad-condition",
            "a write takes If-None-Match only as `*` (the twin must not exist); for a known state use If-Match",
        )),
    }
}

/// Refuses the conditions of a write that cannot be held to them: ignored, they would promise what nobody keeps.
pub(crate) fn unconditional(request: &HttpRequest, what: &str) -> Result<(), Problem> {
    for name in [header::IF_MATCH, header::IF_NONE_MATCH] {
        if request.headers().contains_key(&name) {
            let detail =
                format!("header {name}: {what} has no etag, so a write to it takes no condition; leave it out");
            return Err(Problem::bad_request("bad-condition", detail));
        }
    }
    Ok(())
}

/// Whether a read is answered in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    /// With the representation.
    Full,
    /// With 304: the caller has it.
    NotModified,
}

/// Compares a read's conditions with the representation's ETag header.
pub(crate) fn read_condition(request: &HttpRequest, etag: &str) -> Result<ReadOutcome, Problem> {
    let current = etag.trim_matches('"');
    if let Some(Condition::Tags(tags)) = condition(request.headers(), &header::IF_MATCH)?
        && !tags.iter().any(|tag| !tag.weak && steering_part(&tag.opaque) == steering_part(current))
    {
        let detail = format!("If-Match names none of the current etag {etag}");
        return Err(Problem::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", detail));
    }
    // Comparison is weak here (RFC 9110 section 13.1.2).
    let has_it = match condition(request.headers(), &header::IF_NONE_MATCH)? {
        None => false,
        Some(Condition::Any) => true,
        Some(Condition::Tags(tags)) => tags.iter().any(|tag| tag.opaque == current),
    };
    Ok(if has_it { ReadOutcome::NotModified } else { ReadOutcome::Full })
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn request(headers: &[(&'static str, &str)]) -> HttpRequest {
        headers.iter().fold(TestRequest::get(), |r, (name, value)| r.append_header((*name, *value))).to_http_request()
    }

    fn written(headers: &[(&'static str, &str)]) -> Option<Precondition> {
        precondition(&request(headers)).ok()
    }

    fn tags(tags: &[&str]) -> Precondition {
        Precondition::AnyOf(tags.iter().map(|&t| t.to_owned()).collect())
    }

    #[test]
    fn if_match_takes_the_header_and_the_body_form() {
        let header = etag("s1", b"{}");
        assert_eq!(written(&[("if-match", &header)]), Some(tags(&["s1"])));
        assert_eq!(written(&[("if-match", "\"s1\"")]), Some(tags(&["s1"])));
        assert_eq!(written(&[("if-match", "s1")]), Some(tags(&["s1"])));
        assert_eq!(written(&[("if-match", "\"a\", W/\"b\" ,\"c,d\"")]), Some(tags(&["a", "c,d"])));
        assert_eq!(written(&[("if-match", "\"a\""), ("if-match", "\"b\"")]), Some(tags(&["a", "b"])));
        assert_eq!(written(&[("if-match", "W/\"a\"")]), Some(tags(&[])));
    }

    #[test]
    fn stars_ask_for_existence_or_absence() {
        assert_eq!(written(&[]), Some(Precondition::None));
        assert_eq!(written(&[("if-match", "*")]), Some(Precondition::Exists));
        assert_eq!(written(&[("if-none-match", "*")]), Some(Precondition::Absent));
        assert_eq!(written(&[("if-match", "*"), ("if-none-match", "*")]), Some(tags(&[])));
    }

    #[test]
    fn in_a_body_if_match_is_as_in_a_header() {
        for text in ["*", "\"s1\"", "s1", "\"a\", W/\"b\" ,\"c,d\"", "W/\"a\"", "", " ", "\"a", "*, \"a\"", "a b"] {
            assert_eq!(precondition_of_text(text).ok(), written(&[("if-match", text)]), "{text:?}");
        }
    }

    #[test]
    fn malformed_conditions_are_refused() {
        for bad in ["", " ", "\"a", "\"a\" \"b\"", "*, \"a\"", "W/a", "\"a b\""] {
            assert_eq!(written(&[("if-match", bad)]), None, "{bad:?}");
        }
        assert_eq!(written(&[("if-none-match", "\"a\"")]), None);
    }

    #[test]
    fn a_read_compares_the_whole_representation() {
        let tag = etag("s1", b"one");
        let outcome = |headers: &[(&'static str, &str)]| read_condition(&request(headers), &tag).ok();
        assert_eq!(outcome(&[("if-none-match", &tag)]), Some(ReadOutcome::NotModified));
        assert_eq!(outcome(&[("if-none-match", &format!("W/{tag}"))]), Some(ReadOutcome::NotModified));
        assert_eq!(outcome(&[("if-none-match", "*")]), Some(ReadOutcome::NotModified));
        assert_eq!(outcome(&[("if-none-match", &etag("s1", b"two"))]), Some(ReadOutcome::Full));
        assert_eq!(outcome(&[("if-none-match", "\"s1\"")]), Some(ReadOutcome::Full));
        assert_eq!(outcome(&[("if-match", &etag("s1", b"two"))]), Some(ReadOutcome::Full));
        assert_eq!(outcome(&[("if-match", &etag("s2", b"one"))]), None);
    }
}
