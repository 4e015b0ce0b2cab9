//! The back office steers, the device follows.

use twin_core::command::{Answer, ChangeKind, Command, Precondition, SectionChange, StateBody};
use twin_core::event::OutboundKind;
use twin_core::ids::SiteId;
use twin_core::numbers::Version;
use twin_core::path::Path;
use twin_core::refusal::Refusal;
use twin_core::rows::RowKind;

use super::{Stored, gateway, json, path, sender, set};

#[test]
fn a_desired_price_is_pending_delivered_and_applied() {
    let mut twin = Stored::registered();
    let bs1 = sender("bs1", 1, 1);
    twin.attach(&bs1, 0).unwrap();
    let step = twin.patch("", ChangeKind::Merge(json(r#"{"price": 5, "led": {"on": true}, "empty": {}}"#)));
    assert!(
        matches!(&step.events[0].kind, OutboundKind::Desired { version, gateway: Some(to), .. } if version.get() == 2 && *to == gateway("bs1"))
    );
    assert_eq!(step.changed.iter().collect::<Vec<_>>(), [RowKind::Desired]);
    assert_eq!(twin.convergence("/price"), "pending");
    let delivered =
        |version: u64, name: &str| Command::DesiredDelivered { gateway: gateway(name), version: Version::new(version) };
    assert_eq!(twin.step(delivered(2, "bs9")).answer, Err(Refusal::NotAttached));
    assert_eq!(twin.step(delivered(99, "bs1")).events[0].kind, OutboundKind::Delivered { version: Version::new(2) });
    assert_eq!(twin.step(delivered(1, "bs1")).answer, Ok(Answer::Duplicate));
    assert_eq!(twin.convergence("/price"), "delivered");
    // By showing the same value at the same path.
    twin.report(&bs1, 1, vec![set("/price", 5.0), set("/empty/inside", 1)]).unwrap();
    assert_eq!(twin.convergence("/price"), "applied");
    assert_eq!(twin.convergence("/empty"), "applied");
    assert_eq!(twin.convergence("/led/on"), "delivered");
    // By saying so.
    let step = twin.state(&bs1, 2, 2, StateBody::DesiredApplied(Version::new(2)));
    assert_eq!(step.events[0].kind, OutboundKind::Applied { version: Version::new(2) });
    assert_eq!(twin.convergence("/led/on"), "applied");
    twin.patch("/price", ChangeKind::Replace(6.into())).answer.unwrap();
    assert_eq!(twin.convergence("/price"), "pending");
    assert_eq!(twin.convergence("/led/on"), "applied");
    let progress = twin.twin.progress().unwrap();
    assert_eq!(progress.state_of(&path("/price"), Version::new(2)).name(), "superseded");
    assert_eq!(progress.state_of(&path("/price"), Version::new(3)).name(), "pending");
    assert_eq!(progress.state_of(&path("/gone"), Version::new(1)).name(), "superseded");
}

#[test]
fn a_rejection_stands_against_acknowledgements_until_the_property_is_set_anew_or_shown() {
    let mut twin = Stored::registered();
    let bs1 = sender("bs1", 1, 1);
    twin.attach(&bs1, 0).unwrap();
    twin.patch("", ChangeKind::Merge(json(r#"{"price": -5, "name": "x"}"#))).answer.unwrap();
    let reject = |version: u64| StateBody::DesiredRejected {
        path: path("/price"),
        version: Version::new(version),
        reason: "negative".into(),
    };
    let step = twin.state(&bs1, 1, 1, reject(2));
    assert!(matches!(&step.events[0].kind, OutboundKind::Rejected { reason, .. } if reason == "negative"));
    assert_eq!(
        twin.document().convergence,
        json(
            r#"{"/price": {"state": "rejected", "version": 2, "reason": "negative"}, "/name": {"state": "delivered", "version": 2}}"#,
        )
    );
    twin.state(&bs1, 2, 2, StateBody::DesiredApplied(Version::new(2))).answer.unwrap();
    assert_eq!((twin.convergence("/price"), twin.convergence("/name")), ("rejected".into(), "applied".into()));
    twin.patch("", ChangeKind::Merge(json(r#"{"price": 5}"#))).answer.unwrap();
    assert_eq!(twin.convergence("/price"), "pending");
    // A rejection of what is not desired any more takes its number, and nothing else.
    let step = twin.state(&bs1, 3, 3, reject(2));
    assert_eq!((step.answer, step.events.len()), (Ok(Answer::Done), 0));
    assert_eq!(twin.convergence("/price"), "pending");
    twin.state(&bs1, 4, 4, reject(3)).answer.unwrap();
    assert_eq!(twin.convergence("/price"), "rejected");
    twin.report(&bs1, 5, vec![set("/price", 5)]).unwrap();
    assert_eq!(twin.convergence("/price"), "applied");
    let long = StateBody::DesiredRejected { path: path("/price"), version: Version::new(3), reason: "r".repeat(2000) };
    assert!(matches!(twin.state(&bs1, 6, 6, long).answer, Err(Refusal::TooLarge { .. })));
}

#[test]
fn preconditions_compare_the_steering_etag() {
    let mut twin = Stored::new();
    let steer = |etag: &str| Command::Steer {
        tags: Some(SectionChange { at: Path::root(), kind: ChangeKind::Merge(json(r#"{"a": 1}"#)) }),
        desired: None,
        precondition: Precondition::AnyOf(vec![etag.into(), "x".into()]),
    };
    assert!(matches!(twin.step(steer("1-1-1")).answer, Err(Refusal::PreconditionFailed { .. })));
    let delete = |precondition| Command::Delete { precondition };
    assert!(matches!(twin.step(delete(Precondition::Exists)).answer, Err(Refusal::PreconditionFailed { .. })));
    assert!(matches!(twin.step(delete(Precondition::None)).answer, Err(Refusal::NotFound { .. })));
    let put = |precondition| Command::Put { site: None, tags: json("{}"), desired: json("{}"), precondition };
    assert!(matches!(twin.step(put(Precondition::Exists)).answer, Err(Refusal::PreconditionFailed { .. })));
    assert!(twin.step(put(Precondition::Absent)).answer.is_ok());
    assert!(matches!(twin.step(put(Precondition::Absent)).answer, Err(Refusal::PreconditionFailed { .. })));
    assert_eq!(twin.document().site, SiteId::default_site());
    assert!(twin.step(steer("1-1-1")).answer.is_ok());
    assert_eq!(twin.document().steering_etag, "1-2-1");
    assert!(matches!(twin.step(steer("1-1-1")).answer, Err(Refusal::PreconditionFailed { .. })));
    assert!(matches!(
        twin.step(delete(Precondition::AnyOf(vec!["1-1-1".into()]))).answer,
        Err(Refusal::PreconditionFailed { .. })
    ));
    assert!(twin.step(delete(Precondition::AnyOf(vec!["1-2-1".into()]))).answer.is_ok());
}

#[test]
fn steered_briefly_a_twin_changes_as_it_does_otherwise() {
    let (mut long, mut brief) = (Stored::registered(), Stored::registered());
    let change = |text: &str| Some(SectionChange { at: Path::root(), kind: ChangeKind::Merge(json(text)) });
    for (tags, desired, etag) in [
        (Some(r#"{"a": 1}"#), Some(r#"{"p": 3}"#), None),
        (None, Some(r#"{"p": 3}"#), None),
        (None, Some(r#"{"p": null, "q": {"r": [1]}}"#), Some("1-2-2")),
        (Some(r#"{"a": 2}"#), Some(r#"{"bad.key": 3}"#), None),
        (None, None, Some("1-9-9")),
    ] {
        let precondition = etag.map_or(Precondition::None, |etag| Precondition::AnyOf(vec![etag.to_owned()]));
        let (tags, desired) = (tags.and_then(change), desired.and_then(change));
        let told = brief.step(Command::SteerBriefly {
            tags: tags.clone(),
            desired: desired.clone(),
            precondition: precondition.clone(),
        });
        let whole = long.step(Command::Steer { tags, desired, precondition });
        assert_eq!((told.changed, &told.events), (whole.changed, &whole.events));
        assert_eq!(brief.twin, long.twin);
        let whole = whole.answer.map(|answer| match answer {
            Answer::Document { document, created: false } => Answer::Steered {
                created: false,
                version: document.version,
                desired_version: document.desired_version,
                steering_etag: document.steering_etag,
            },
            other => panic!("{other:?}"),
        });
        assert_eq!(told.answer, whole);
    }
}

#[test]
fn put_briefly_a_twin_is_made_and_replaced_as_it_is_otherwise() {
    let (mut long, mut brief) = (Stored::new(), Stored::new());
    let no_condition = || Precondition::None;
    for (site, tags, desired) in [
        (Some("store-1"), r#"{"a": 1}"#, r#"{"p": 3}"#),
        (None, r#"{"a": 1}"#, r#"{"p": 3}"#),
        (Some("store-1"), "{}", r#"{"q": 4}"#),
        (Some("store-2"), "{}", "{}"),
        (None, r#"{"bad.key": 1}"#, "{}"),
    ] {
        let site = site.map(|site| SiteId::new(site).unwrap());
        let (tags, desired) = (json(tags), json(desired));
        let (tags_again, desired_again, site_again) = (tags.clone(), desired.clone(), site.clone());
        let told = brief.step(Command::PutBriefly { site, tags, desired, precondition: no_condition() });
        let (site, tags, desired) = (site_again, tags_again, desired_again);
        let whole = long.step(Command::Put { site, tags, desired, precondition: no_condition() });
        assert_eq!((told.changed, &told.events), (whole.changed, &whole.events));
        assert_eq!(brief.twin, long.twin);
        let whole = whole.answer.map(|answer| match answer {
            Answer::Document { document, created } => Answer::Steered {
                created,
                version: document.version,
                desired_version: document.desired_version,
                steering_etag: document.steering_etag,
            },
            other => panic!("{other:?}"),
        });
        assert_eq!(told.answer, whole);
    }
}

#[test]
fn a_put_with_one_bad_section_changes_neither() {
    let mut twin = Stored::registered();
    let before = twin.twin.clone();
    assert!(matches!(twin.put(r#"{"a": 1}"#, r#"{"b.c": 1}"#).answer, Err(Refusal::Rule(_))));
    assert!(matches!(twin.put(r#"{"a.": 1}"#, r#"{"b": 1}"#).answer, Err(Refusal::Rule(_))));
    assert!(matches!(twin.put("[]", "{}").answer, Err(Refusal::Rule(_))));
    assert_eq!(twin.twin, before);
    let mut absent = Stored::new();
    assert!(absent.put("{}", r#"{"b.c": 1}"#).answer.is_err());
    assert!(!absent.twin.exists());
}

#[test]
fn a_put_of_what_was_read_changes_nothing() {
    let mut twin = Stored::new();
    twin.put(r#"{"t": 1}"#, r#"{"a": {"b": 1, "gone": null}, "c": [null, {"d": null}]}"#).answer.unwrap();
    let document = twin.document();
    let step = twin.step(Command::Put {
        site: None,
        tags: document.tags,
        desired: document.desired,
        precondition: Precondition::None,
    });
    assert!(matches!(step.answer, Ok(Answer::Document { created: false, .. })));
    assert!(step.changed.is_empty() && step.events.is_empty());
    assert_eq!(twin.document().steering_etag, "1-1-1");
}

#[test]
fn a_rejected_object_means_its_properties_as_they_were() {
    let mut twin = Stored::registered();
    let bs1 = sender("bs1", 1, 1);
    twin.attach(&bs1, 0).unwrap();
    twin.patch("", ChangeKind::Merge(json(r#"{"wifi": {"channel": 1, "power": 9}}"#))).answer.unwrap();
    let rejected =
        StateBody::DesiredRejected { path: path("/wifi"), version: Version::new(2), reason: "no radio".into() };
    twin.state(&bs1, 1, 1, rejected).answer.unwrap();
    assert_eq!(
        (twin.convergence("/wifi/channel"), twin.convergence("/wifi/power")),
        ("rejected".into(), "rejected".into())
    );
    twin.patch("/wifi/channel", ChangeKind::Replace(6.into())).answer.unwrap();
    assert_eq!(
        (twin.convergence("/wifi/channel"), twin.convergence("/wifi/power")),
        ("pending".into(), "rejected".into())
    );
    // Once none of them stands as it was, the rejection is forgotten.
    let step = twin.patch("/wifi/power", ChangeKind::Remove);
    assert!(step.changed.contains(RowKind::Head));
    assert!(twin.twin.progress().unwrap().rejections.is_empty());
}
