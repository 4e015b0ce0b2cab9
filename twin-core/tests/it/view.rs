//! Views against the trees that define them.

use bytes::Bytes;
use proptest::prelude::*;
use twin_core::command::{Answer, ChangeKind, Command, StateBody};
use twin_core::ids::SiteId;
use twin_core::numbers::Version;
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::refusal::Refusal;
use twin_core::twin::Twin;
use twin_core::value::Value;
use twin_core::view::{Audience, TwinView, ViewError};

use crate::story::{Stored, json, path, sender, set};

fn plain(section: &Value) -> Value {
    let mut members = section.as_object().unwrap().clone();
    members.retain(|key, _| !key.starts_with('$'));
    Value::Object(members)
}

fn written(write: impl FnOnce(&mut Vec<u8>) -> Result<(), ViewError>) -> String {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Every view of the twin shows what its document shows.
pub(crate) fn check(twin: &Twin) {
    let Ok(document) = twin.document() else {
        assert!(matches!(twin.view(&Audience::BackOffice), Err(Refusal::NotFound { .. })));
        return;
    };
    let gateways = twin.view(&Audience::Site(document.site.clone())).unwrap();
    let office = twin.view(&Audience::BackOffice).unwrap();
    let other = Audience::Site(SiteId::new("elsewhere").unwrap());
    assert_eq!(twin.view(&other), Err(Refusal::NotFound { twin: twin.id().to_string() }));
    let text = |value: &Value| serde_json::to_string(value).unwrap();
    for view in [&gateways, &office] {
        assert_eq!(view.version(), Ok(document.version));
        assert_eq!(view.incarnation(), Ok(document.incarnation));
        assert_eq!(view.attachment(), Ok(document.attachment));
        assert_eq!(view.desired_version(), Ok(document.desired_version));
        assert_eq!(view.reported_version(), Ok(document.reported_version));
        assert_eq!(view.reported_at(), Ok(document.reported_at));
        assert_eq!(view.steering_etag().as_ref(), Ok(&document.steering_etag));
        let progress = twin.progress().unwrap();
        assert_eq!((view.delivered(), view.acked()), (Ok(progress.delivered), Ok(progress.acked)));
        assert_eq!(view.reported().as_ref(), Ok(&plain(&document.reported)));
        assert_eq!(view.desired().as_ref(), Ok(&plain(&document.desired)));
        assert_eq!(view.reported_section().unwrap().to_json(), document.reported);
        assert_eq!(view.desired_section().unwrap().to_json(), document.desired);
        assert_eq!(view.convergence().as_ref(), Ok(&document.convergence));
        assert_eq!(written(|out| view.write_desired_json(out)), text(&document.desired));
        assert_eq!(written(|out| view.write_reported_json(out)), text(&document.reported));
        assert_eq!(written(|out| view.write_plain_desired_json(out)), text(&plain(&document.desired)));
        assert_eq!(written(|out| view.write_plain_reported_json(out)), text(&plain(&document.reported)));
        assert_eq!(written(|out| view.write_convergence_json(out)), text(&document.convergence));
        for (at, value) in places(&plain(&document.reported)) {
            assert_eq!(view.reported_value(&at), Ok(Some(value)), "{at}");
        }
        for (at, value) in places(&plain(&document.desired)) {
            assert_eq!(view.desired_value(&at), Ok(Some(value)), "{at}");
        }
        assert_eq!(view.reported_value(&Path::from_keys(["nowhere"])), Ok(None));
        assert_eq!(view.detached(), *view);
    }
    let shown = office.office().unwrap().unwrap();
    assert_eq!((shown.site, shown.gateway), (document.site, document.gateway));
    assert_eq!(written(|out| office.write_tags_json(out)), text(&document.tags));
    assert_eq!(gateways.office(), Ok(None));
    assert!(gateways.write_tags_json(&mut Vec::new()).is_err());
}

/// Every place in an object, itself included.
fn places(value: &Value) -> Vec<(Path, Value)> {
    let mut found = vec![(Path::root(), value.clone())];
    if let Value::Object(members) = value {
        for (key, member) in members {
            found.extend(places(member).into_iter().map(|(below, value)| {
                (Path::from_keys(std::iter::once(key.clone()).chain(below.keys().iter().cloned())), value)
            }));
        }
    }
    found
}

#[test]
fn a_view_shows_what_the_document_shows_whatever_the_keys_are() {
    let who = sender("gw", 1, 1);
    let mut stored = Stored::new();
    check(&stored.twin);
    // Keys that sort before `$metadata`, around '/', and that a pointer escapes.
    let desired = r##"{"!": 1, "#\"": {"x": 2}, "a": {"x": 3, "!": 4}, "a!": 5, "a~": {"k": [3]}, "a0": 7, "zz": {}, "ü": "é\n"}"##;
    stored.put(r##"{"shelf": {"row": 4}, "#!": [1.5, null]}"##, desired).answer.unwrap();
    check(&stored.twin);
    stored.attach(&who, 0).unwrap();
    check(&stored.twin);
    let slash = Op::Set { path: Path::from_keys(["a/", "b"]), value: 2.5.into() };
    let ops = vec![set("/!", 1.0), set("/a/x", 4), set("/a~0/k", json("[3.0]")), set("/zz/in", 1), slash.clone()];
    stored.report(&who, 1, ops).unwrap();
    check(&stored.twin);
    assert_eq!(stored.convergence("/a~0/k"), "applied", "3 is 3.0, in an array too");
    assert_eq!(stored.convergence("/zz"), "applied");
    stored.patch("/a~1", ChangeKind::Replace(json(r#"{"b": 2.5, "c": 1}"#))).answer.unwrap();
    check(&stored.twin);
    let body = StateBody::DesiredRejected { path: path("/a"), version: Version::new(1), reason: "too \"dim\"".into() };
    stored.state(&who, 2, 2, body).answer.unwrap();
    check(&stored.twin);
    assert_eq!(stored.convergence("/a/x"), "rejected");
    stored.state(&who, 3, 3, StateBody::DesiredApplied(Version::new(2))).answer.unwrap();
    check(&stored.twin);
}

#[test]
fn asking_for_a_view_is_a_read() {
    let mut stored = Stored::registered();
    let step = stored.step(Command::View { audience: Audience::BackOffice });
    assert!(step.changed.is_empty() && step.events.is_empty());
    let Ok(Answer::View { view, last_activity }) = step.answer else { panic!("no view: {:?}", step.answer) };
    assert_eq!(view, stored.twin.view(&Audience::BackOffice).unwrap());
    assert_eq!(last_activity, stored.document().last_activity);
    assert!(Command::View { audience: Audience::BackOffice }.is_read());
}

fn read_all(view: &TwinView) {
    let _ = (view.version(), view.convergence(), view.office(), view.reported(), view.desired());
    let _ = (view.reported_section(), view.desired_section(), view.reported_value(&path("/a/b")));
    let out = &mut Vec::new();
    let _ = (view.write_tags_json(out), view.write_desired_json(out));
    let _ = (view.write_reported_json(out), view.write_convergence_json(out));
    let _ = (view.write_plain_desired_json(out), view.write_plain_reported_json(out));
}

#[test]
fn a_damaged_view_is_an_error_and_never_a_panic() {
    let who = sender("gw", 1, 1);
    let mut stored = Stored::new();
    stored.put(r#"{"a": [1]}"#, r#"{"a": {"b": "text"}, "c": [1, {"d": 2.5}]}"#).answer.unwrap();
    stored.attach(&who, 0).unwrap();
    stored.report(&who, 1, vec![set("/a/b", "other"), set("/c", 1.5)]).unwrap();
    let whole = stored.twin.view(&Audience::BackOffice).unwrap().packed().to_vec();
    for length in 0..whole.len() {
        let cut = TwinView::new(Bytes::copy_from_slice(&whole[..length]));
        assert!(cut.reported().is_err() || cut.write_tags_json(&mut Vec::new()).is_err(), "{length}");
        read_all(&cut);
    }
    for at in 0..whole.len() {
        for byte in [0, 0x7f, 0x80, 0x8f, 0x9f, 0xc0, 0xc1, 0xc6, 0xcb, 0xdb, 0xdd, 0xdf, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            read_all(&TwinView::new(bytes.into()));
        }
    }
}

#[test]
fn what_nests_too_deep_is_refused_before_the_stack_is_used_up() {
    let stored = Stored::registered();
    let whole = stored.twin.view(&Audience::Site(SiteId::new("store-1").unwrap())).unwrap().packed().to_vec();
    // `reported` goes last but for the nil, behind its length; its version and time stay.
    let section = [&[0x93, 1, 1][..], &[0x82, 0xa1, b'$', 0, 0xa1, b'a'].repeat(100_000), &[0x92, 0, 1]].concat();
    let old = rmp_serde::to_vec(&stored.twin.view(&Audience::BackOffice).unwrap().reported_section().unwrap()).unwrap();
    let mut bytes = whole[..whole.len() - 1 - old.len() - 4].to_vec();
    bytes.extend_from_slice(&(section.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&section);
    bytes.push(0xc0);
    let view = TwinView::new(bytes.into());
    assert_eq!(view.reported(), Err(ViewError::Nesting));
    assert_eq!(view.write_reported_json(&mut Vec::new()), Err(ViewError::Nesting));
    assert!(matches!(view.reported_section(), Err(ViewError::Record(_))));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        read_all(&TwinView::new(bytes.into()));
    }
}
