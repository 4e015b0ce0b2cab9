//! `Idempotency-Key`: a change that takes effect once, however often it is sent.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use ring::digest::{Context, SHA256};
use twin_core::command::{ChangeKind, Command, Precondition, SectionChange};
use twin_core::ids::IdempotencyKey;
use twin_core::json::to_compact;
use twin_core::once::{Fingerprint, Once, OnceAnswer, OnceOutcome};
use twin_core::used_keys::KeyedChange;
use utoipa::Modify;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{RefOr, ResponseBuilder};

use super::openapi::text_parameter;
use super::problem::Problem;
use super::steer::steered;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// True on an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// What came of the change when it was carried out: a dictionary of RFC 9651.
const OUTCOME: HeaderName = HeaderName::from_static("idempotency-outcome");

const BAD_KEY: &str = "bad-idempotency-key";

/// A key as it stands in a body.
pub(crate) fn key_of_text(text: &str) -> Result<IdempotencyKey, Problem> {
    IdempotencyKey::new(text).map_err(|error| Problem::bad_request(BAD_KEY, error.to_string()))
}

/// The request's key, with or without the quotes that RFC 9651 puts around a string.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let mut given = headers.get_all(KEY);
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(Problem::bad_request(BAD_KEY, "header Idempotency-Key is given twice; a change has one key"));
    }
    let Ok(text) = value.to_str() else {
        return Err(Problem::bad_request(BAD_KEY, "header Idempotency-Key has characters that are not visible ASCII"));
    };
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    key_of_text(bare).map(Some)
}

/// Refuses a key where nothing would keep it: ignored, it would promise what is not so.
pub(crate) fn keyless(request: &HttpRequest, what: &str) -> Result<(), Problem> {
    if !request.headers().contains_key(KEY) {
        return Ok(());
    }
    let detail = format!("header Idempotency-Key: {what} takes no key; leave it out");
    Err(Problem::bad_request("idempotency-key-not-taken", detail))
}

/// The change, with its key if it has one.
pub(crate) fn once(change: Command, key: Option<IdempotencyKey>) -> Command {
    match key {
        None => change,
        Some(key) => Command::Once(Box::new(Once { key, fingerprint: fingerprint(&change), change })),
    }
}

/// The request's key, with the fingerprint of a change that no twin makes: of `kind` and everything that it is to do.
pub(crate) fn keyed(request: &HttpRequest, kind: &str, asked: &[&str]) -> Result<Option<KeyedChange>, Problem> {
    let Some(key) = key(request.headers())? else { return Ok(None) };
    let mut parts = Parts(Context::new(&SHA256));
    parts.add(kind);
    for part in asked {
        parts.add(part);
    }
    Ok(Some(KeyedChange { key, fingerprint: parts.finish() }))
}

/// Of what the change is to do and under which condition, however its JSON was written. Stored with twins: what is hashed here may
/// change only together with a new version in its first part.
fn fingerprint(change: &Command) -> Fingerprint {
    let mut parts = Parts(Context::new(&SHA256));
    match change {
        Command::Put { site, tags, desired, precondition } => {
            parts.add("put 1");
            parts.add(site.as_ref().map_or("", |site| site.as_str()));
            parts.add(&to_compact(tags));
            parts.add(&to_compact(desired));
            parts.condition(precondition);
        }
        Command::Steer { tags, desired, precondition } | Command::SteerBriefly { tags, desired, precondition } => {
            parts.add("steer 1");
            parts.section(tags.as_ref());
            parts.section(desired.as_ref());
            parts.condition(precondition);
        }
        // Nothing else takes a key: the twin refuses it.
        _ => {}
    }
    parts.finish()
}

struct Parts(Context);

impl Parts {
    /// With its length before it: no two lists of parts are one text.
    fn add(&mut self, part: &str) {
        self.0.update(&(part.len() as u64).to_be_bytes());
        self.0.update(part.as_bytes());
    }

    fn finish(self) -> Fingerprint {
        let digest = self.0.finish();
        let half = |from: usize| {
            digest.as_ref().iter().skip(from).take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        Fingerprint(half(0), half(8))
    }

    fn section(&mut self, change: Option<&SectionChange>) {
        let Some(SectionChange { at, kind }) = change else { return self.add("none") };
        let (kind, value) = match kind {
            ChangeKind::Merge(value) => ("merge", to_compact(value)),
            ChangeKind::Replace(value) => ("replace", to_compact(value)),
            ChangeKind::Remove => ("remove", String::new()),
        };
        self.add(kind);
        self.add(&at.to_string());
        self.add(&value);
    }

    fn condition(&mut self, precondition: &Precondition) {
        match precondition {
            Precondition::None => self.add("any"),
            Precondition::Exists => self.add("exists"),
            Precondition::Absent => self.add("absent"),
            Precondition::AnyOf(etags) => {
                self.add("etags");
                for etag in etags {
                    self.add(etag);
                }
            }
        }
    }
}

/// Says on the answer what came of the change, in the same words each time.
pub(crate) fn tell(response: &mut HttpResponse, once: &OnceAnswer) {
    let OnceOutcome { version, desired_version, steering_etag, .. } = &once.outcome;
    tell_outcome(
        response,
        &format!("version={version}, desired-version={desired_version}, etag=\"{steering_etag}\""),
        once.replayed,
    );
}

/// The same of a change that no twin made.
pub(crate) fn tell_outcome(response: &mut HttpResponse, outcome: &str, replayed: bool) {
    let headers = response.headers_mut();
    if let Ok(outcome) = HeaderValue::from_str(outcome) {
        headers.insert(OUTCOME, outcome);
    }
    if replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
}

/// What the description says of keys.
pub(crate) struct Keys;

impl Modify for Keys {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        steered(openapi).for_each(|operation| describe(operation, OF_TWINS));
        for (path, what) in KEYED {
            let Some(item) = openapi.paths.paths.get_mut(path) else { continue };
            for operation in [&mut item.post, &mut item.put].into_iter().flatten() {
                describe(operation, what);
            }
        }
    }
}

const OF_TWINS: &str = "The client's name for this change of this twin. Sent again with the same key it takes effect no second time and is \
                answered as before, with `Idempotency-Replayed: true`; with another body or condition it is 422. A twin remembers \
                eight keys of changes, each for at least five minutes; past that a change with a new key is 429. A key ends with \
                the twin's life: \
                a condition binds a change to one life";

/// What else takes a key, and what that does there.
const KEYED: [(&str, &str); 5] = [
    (
        "/api/v1/twins/{id}/methods/{name}",
        "The client's name for this call: however often it is sent there is one call. A repeat waits for the call that is under way, \
         or is told how it ended: the device's answer (its payload up to 1,024 bytes), or 504 `outcome-unknown`. A call that reached no \
         device is not remembered. `timeoutSeconds` may differ. A twin remembers eight keys of calls, beside those of its changes, each \
         for at least five minutes",
    ),
    (
        "/api/v1/sites/{id}",
        "The client's name for this change of this site. Sent again it takes effect no second time, and the answer shows the site as it \
         is now, with `Idempotency-Replayed: true`. A site remembers eight keys, each for at least five minutes, until it is deleted",
    ),
    ("/api/v1/sites/{id}/gateways", SPENT),
    ("/api/v1/sites/{id}/gateways/{name}/keys", SPENT),
    ("/api/v1/tokens", SPENT),
];

const SPENT: &str = "The client's name for this request: sent again it makes nothing, and is 409 `idempotency-key-spent`, because secrets \
                     are stored nowhere and cannot be shown again; the answer says what to do. With another body it is 422 \
                     `idempotency-key-reused`. Eight keys are remembered of a gateway, 64 of tokens, each for at least five minutes; \
                     past that a new key is 429";

fn describe(operation: &mut Operation, what: &str) {
    let pattern = r#"^(?!\.{1,2}$)([!#-\[\]-~]{1,64}|"[!#-\[\]-~]{1,64}")$"#;
    let parameter = text_parameter("Idempotency-Key", ParameterIn::Header, what, (1, 66, pattern));
    operation.parameters.get_or_insert_default().push(RefOr::T(parameter));
    let responses = &mut operation.responses.responses;
    for status in ["200", "201", "202"] {
        if let Some(RefOr::T(response)) = responses.get_mut(status) {
            let header = |text: &str| RefOr::T(HeaderBuilder::new().description(Some(text)).build());
            let outcome = "On a change with a key: the versions and the etag that it made, as a dictionary of RFC 9651";
            response.headers.insert("Idempotency-Outcome".to_owned(), header(outcome));
            let replayed =
                "`true` where the change was carried out before and not again; the body shows the twin as it is now";
            response.headers.insert("Idempotency-Replayed".to_owned(), header(replayed));
        }
    }
    let reused = || RefOr::T(ResponseBuilder::new().description("The key was sent with another change").build());
    responses.entry("422".to_owned()).or_insert_with(reused);
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use twin_core::ids::SiteId;
    use twin_core::json::parse;
    use twin_core::path::Path;
    use twin_core::value::Value;

    fn read(values: &[&str]) -> Result<Option<String>, &'static str> {
        let request = values.iter().fold(TestRequest::put(), |request, value| request.append_header((KEY, *value)));
        let key = key(request.to_http_request().headers()).map_err(|problem| problem.code())?;
        Ok(key.map(|key| key.to_string()))
    }

    #[test]
    fn a_key_is_taken_with_and_without_quotes_and_bounded() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["\"8e03978e-40d5\""]), Ok(Some("8e03978e-40d5".to_owned())));
        assert_eq!(read(&["!a:b/c~"]), Ok(Some("!a:b/c~".to_owned())));
        assert_eq!(read(&[&"k".repeat(64)]).map(|key| key.map(|key| key.len())), Ok(Some(64)));
        for bad in ["", "\"\"", "a b", "a\"b", "\"a", "\\", "\u{e9}", ".", &"k".repeat(65)] {
            assert_eq!(read(&[bad]), Err(BAD_KEY), "{bad:?}");
        }
        assert_eq!(read(&["a", "a"]), Err(BAD_KEY));
    }

    #[test]
    fn a_fingerprint_tells_changes_apart_and_not_their_spelling() {
        let json = |text: &str| parse(text.as_bytes(), "x").unwrap();
        let steer = |at: &str, kind, precondition| {
            let desired = Some(SectionChange { at: Path::from_pointer(at).unwrap(), kind });
            Command::Steer { tags: None, desired, precondition }
        };
        let merge = |text: &str| ChangeKind::Merge(json(text));
        let first = fingerprint(&steer("", merge(r#"{"a": 1, "b": 2}"#), Precondition::None));
        assert_eq!(first, fingerprint(&steer("", merge(r#"{"b":2,"a":1}"#), Precondition::None)));
        let Command::Steer { tags, desired, precondition } = steer("", merge(r#"{"a":1,"b":2}"#), Precondition::None)
        else {
            unreachable!()
        };
        assert_eq!(
            first,
            fingerprint(&Command::SteerBriefly { tags: tags.clone(), desired: desired.clone(), precondition })
        );
        let put = |site: Option<&str>, tags: &str| Command::Put {
            site: site.map(|site| SiteId::new(site).unwrap()),
            tags: json(tags),
            desired: Value::empty_object(),
            precondition: Precondition::None,
        };
        let others = [
            steer("", merge(r#"{"a": 1}"#), Precondition::None),
            steer("/a", merge(r#"{"a": 1, "b": 2}"#), Precondition::None),
            steer("", ChangeKind::Replace(json(r#"{"a": 1, "b": 2}"#)), Precondition::None),
            steer("", ChangeKind::Remove, Precondition::None),
            steer("", merge(r#"{"a": 1, "b": 2}"#), Precondition::Exists),
            steer("", merge(r#"{"a": 1, "b": 2}"#), Precondition::AnyOf(vec!["1-1-1".into()])),
            Command::Steer { tags: desired, desired: tags, precondition: Precondition::None },
            put(None, "{}"),
            put(Some("s"), "{}"),
            put(None, r#"{"a":1}"#),
        ];
        let mut all: Vec<Fingerprint> = others.iter().map(fingerprint).collect();
        all.push(first);
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{at}");
        }
    }

    /// What is stored must be found again by the next release.
    #[test]
    fn a_fingerprint_is_the_same_in_every_release() {
        let put = Command::Put {
            site: None,
            tags: Value::empty_object(),
            desired: Value::empty_object(),
            precondition: Precondition::None,
        };
        assert_eq!(fingerprint(&put), Fingerprint(0x3180_ba96_eb24_9b16, 0x1d7c_b739_2f6e_c199));
    }
}
