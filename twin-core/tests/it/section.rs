use proptest::prelude::*;
use twin_core::command::{ChangeKind, SectionChange};
use twin_core::json::compact_len;
use twin_core::limits::{NODES_MAX, REPORTED_BYTES_MAX, TAGS_BYTES_MAX};
use twin_core::merge::{apply_ops, merge_patch, ops_of_patch};
use twin_core::numbers::{Version, WallTime};
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::refusal::Refusal;
use twin_core::section::{Reported, Section, Stamp, Tags, Versioned, node_count};
use twin_core::value::Value;

use crate::arbitrary::{object, ops, path};

fn section<S: Stamp>() -> Section<S> {
    Section::new(Version::new(1), WallTime::new(0))
}

fn set(key: &str, value: impl Into<Value>) -> Op {
    Op::Set { path: Path::from_keys([key]), value: value.into() }
}

proptest! {
    #[test]
    fn a_section_holds_what_plain_application_gives_and_counts_changes(history in prop::collection::vec(ops(), 1..12)) {
        let mut section = section::<Versioned>();
        let mut model = Value::empty_object();
        for (step, ops) in history.into_iter().enumerate() {
            let (before, version) = (model.clone(), section.version());
            apply_ops(&mut model, ops.clone());
            let effective = section.apply(ops, WallTime::new(step.cast_signed() as i64)).unwrap();
            prop_assert_eq!(section.to_value(), model.clone());
            prop_assert_eq!(section.size_bytes(), compact_len(&section.to_value()));
            prop_assert_eq!(section.nodes(), node_count(&model));
            // A change that changes nothing raises no version; what does raises it by one.
            prop_assert_eq!(effective.is_some(), model != before);
            prop_assert_eq!(section.version().get(), version.get() + u64::from(model != before));
            // The effective operations say all of it, to somebody who had the state before.
            let mut heard = before;
            apply_ops(&mut heard, effective.into_iter().flatten());
            prop_assert_eq!(heard, model.clone());
        }
        let stored = rmp_serde::to_vec(&section).unwrap();
        let loaded: Section<Versioned> = rmp_serde::from_slice(&stored).unwrap();
        prop_assert_eq!(&loaded, &section);
        prop_assert_eq!((loaded.size_bytes(), loaded.nodes()), (section.size_bytes(), section.nodes()));
    }

    #[test]
    fn a_merge_patch_over_rest_is_rfc_7396(before in object(2, false), patch in object(2, true)) {
        let mut section = section::<Versioned>();
        let fill = section.ops_of(SectionChange { at: Path::root(), kind: ChangeKind::Replace(before.clone()) }).unwrap();
        section.apply(fill, WallTime::new(1)).unwrap();
        let ops = section.ops_of(SectionChange { at: Path::root(), kind: ChangeKind::Merge(patch.clone()) }).unwrap();
        prop_assert_eq!(&ops, &ops_of_patch(patch.clone()));
        section.apply(ops, WallTime::new(2)).unwrap();
        let mut model = before;
        merge_patch(&mut model, patch);
        prop_assert_eq!(section.to_value(), model);
    }

    #[test]
    fn a_replacement_at_a_path_leaves_exactly_that_there(before in object(2, false), at in path(), value in object(2, true)) {
        let mut section = section::<Versioned>();
        section.apply(vec![Op::Replace { path: Path::root(), value: before }], WallTime::new(1)).unwrap();
        let was = section.clone();
        match section.ops_of(SectionChange { at: at.clone(), kind: ChangeKind::Replace(value.clone()) }) {
            Ok(ops) => {
                section.apply(ops, WallTime::new(2)).unwrap();
                let mut expected = Value::empty_object();
                merge_patch(&mut expected, value);
                prop_assert_eq!(section.get(&at), Some(expected));
            }
            Err(Refusal::Rule(violation)) => {
                prop_assert_eq!(violation.code, "path-through-leaf");
                prop_assert_eq!(section, was);
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn numbers_compare_by_value_so_three_and_three_point_zero_are_no_change() {
    let mut section = section::<Versioned>();
    section.apply(vec![set("a", 3)], WallTime::new(1)).unwrap();
    assert_eq!(section.apply(vec![set("a", 3.0)], WallTime::new(2)), Ok(None));
    let array = |value: f64| Value::Array(vec![value.into()]);
    section.apply(vec![set("b", Value::Array(vec![3.into()]))], WallTime::new(3)).unwrap();
    assert_eq!(section.apply(vec![set("b", array(3.0))], WallTime::new(4)), Ok(None));
    assert_eq!(section.version(), Version::new(3));
}

#[test]
fn what_one_operation_does_and_another_undoes_is_no_change() {
    let mut section: Reported = section();
    section.apply(vec![set("a", 1)], WallTime::new(1)).unwrap();
    assert_eq!(section.apply(vec![set("a", 2), set("a", 1)], WallTime::new(2)), Ok(None));
    assert_eq!((section.version(), section.updated()), (Version::new(2), WallTime::new(1)));
}

#[test]
fn a_replacement_keeps_versions_of_what_stays() {
    let mut section = section::<Versioned>();
    section.apply(vec![set("a", 1), set("b", 1)], WallTime::new(1)).unwrap();
    let value = Value::Object([("a".into(), 1.into()), ("b".into(), 2.into())].into());
    let effective = section.apply(vec![Op::Replace { path: Path::root(), value }], WallTime::new(2)).unwrap();
    assert_eq!(effective, Some(vec![set("b", 2)]));
    assert_eq!(section.node(&Path::from_keys(["a"])).unwrap().stamp().version, Version::new(2));
    assert_eq!(section.node(&Path::from_keys(["b"])).unwrap().stamp().version, Version::new(3));
}

#[test]
fn a_section_may_be_exactly_as_large_as_its_limit_and_no_larger() {
    let mut tags: Tags = section();
    // {"a":"<4096>","b":"<...>"}
    let first = "x".repeat(4096);
    tags.apply(vec![set("a", first.as_str())], WallTime::new(0)).unwrap();
    let rest = TAGS_BYTES_MAX - tags.size_bytes() - r#","b":"""#.len();
    let was = tags.clone();
    let too_much =
        tags.apply(vec![set("c", 1), set("b", "y".repeat(rest + 1).as_str())], WallTime::new(1)).unwrap_err();
    assert!(matches!(too_much, Refusal::TooLarge { limit_bytes: 8192, .. }), "{too_much}");
    assert_eq!(tags, was, "a refused change changes nothing, not even its first operation");
    tags.apply(vec![set("b", "y".repeat(rest).as_str())], WallTime::new(2)).unwrap();
    assert_eq!(tags.size_bytes(), TAGS_BYTES_MAX);
    // At the limit, replacing by as much and shrinking still work.
    tags.apply(vec![set("b", "z".repeat(rest).as_str())], WallTime::new(3)).unwrap();
    tags.apply(vec![Op::Remove { path: Path::from_keys(["b"]) }], WallTime::new(4)).unwrap();
}

#[test]
fn a_section_has_at_most_so_many_nodes_counting_array_elements() {
    let mut reported: Reported = section();
    reported.apply(vec![set("a", Value::Array(vec![0.into(); NODES_MAX - 1]))], WallTime::new(0)).unwrap();
    assert_eq!(reported.nodes(), NODES_MAX);
    let refusal = reported.apply(vec![set("b", 1)], WallTime::new(1)).unwrap_err();
    assert!(matches!(&refusal, Refusal::Rule(v) if v.code == "nodes" && v.limit == Some(1024)), "{refusal}");
    assert!(reported.size_bytes() < REPORTED_BYTES_MAX);
}

#[test]
fn removing_nothing_over_rest_is_not_found_and_paths_through_leaves_are_refused() {
    let mut section = section::<Versioned>();
    section.apply(vec![set("a", Value::Array(vec![1.into()])), set("n", 5)], WallTime::new(1)).unwrap();
    let at = |pointer: &str, kind| SectionChange { at: Path::from_pointer(pointer).unwrap(), kind };
    for pointer in ["/x", "/a/0", "/n/x", "/x/y"] {
        let refusal = section.ops_of(at(pointer, ChangeKind::Remove)).unwrap_err();
        assert_eq!(refusal, Refusal::PathNotFound { pointer: format!("/desired{pointer}") });
    }
    for kind in [ChangeKind::Replace(1.into()), ChangeKind::Merge(1.into())] {
        let refusal = section.ops_of(at("/a/0", kind)).unwrap_err();
        assert!(
            matches!(&refusal, Refusal::Rule(v) if v.code == "path-through-leaf" && v.pointer == "/desired/a"),
            "{refusal}"
        );
    }
    assert!(section.ops_of(at("/x/$y", ChangeKind::Replace(1.into()))).is_err());
    assert_eq!(section.ops_of(at("/new/way", ChangeKind::Merge(1.into()))).unwrap().len(), 1);
    let whole = section.ops_of(at("", ChangeKind::Remove)).unwrap();
    section.apply(whole, WallTime::new(2)).unwrap();
    assert_eq!(section.to_value(), Value::empty_object());
    assert!(section.ops_of(at("", ChangeKind::Replace(Value::Null))).is_err());
    assert!(section.ops_of(at("", ChangeKind::Merge(Value::Null))).is_err());
}
