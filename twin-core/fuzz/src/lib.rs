//! What the fuzzer calls with any bytes, and `cargo test` with those of the corpus: no input may panic, and what can be said in two
//! ways comes out the same.

use bytes::Bytes;
use twin_core::command::{ChangeKind, SectionChange};
use twin_core::ids::TwinId;
use twin_core::json::{compact_len, parse, to_compact};
use twin_core::merge::{merge_patch, strip_reserved};
use twin_core::numbers::{Version, WallTime};
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::report::PackedReport;
use twin_core::rows::{ChangedRows, RowKind, Rows};
use twin_core::rules::{check_ops, check_section};
use twin_core::section::{Overwrite, PackedReported, Reported, Section, SectionKind, Versioned};
use twin_core::twin::Twin;
use twin_core::value::Value;
use twin_core::view::{Audience, TwinView};

/// Takes any bytes.
pub type Body = fn(&[u8]);

/// All targets, by the names of their corpora.
pub const TARGETS: [(&str, Body); 5] =
    [("json", json), ("patch", patch), ("report", report), ("rows", rows), ("view", view)];

/// Runs one target.
pub fn run(target: &str, bytes: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    body(bytes);
}

/// JSON: what is parsed and written is parsed again as the same, and has the length that was computed.
fn json(bytes: &[u8]) {
    if let Ok(value) = parse(bytes, "input") {
        let text = to_compact(&value);
        assert_eq!(text.len(), compact_len(&value));
        assert_eq!(parse(text.as_bytes(), "input").expect("our own text"), value);
    }
}

/// Merge patches, one a line, to an empty section: it holds what RFC 7396 says, obeys the rules, and is the same when it is stored
/// and read, or rendered and parsed.
fn patch(bytes: &[u8]) {
    let mut section = Section::<Versioned>::new(Version::new(1), WallTime::new(0));
    let mut model = Value::empty_object();
    for (line, step) in bytes.split(|byte| *byte == b'\n').take(8).zip(0_i64..) {
        let Ok(mut patch) = parse(line, "patch") else { continue };
        let change = SectionChange { at: Path::root(), kind: ChangeKind::Merge(patch.clone()) };
        let Ok(ops) = section.ops_of(change) else { continue };
        let before = section.clone();
        match section.apply(ops, WallTime::new(step)) {
            Ok(effect) => {
                if let Value::Object(members) = &mut patch {
                    strip_reserved(members);
                }
                let stood = model.clone();
                merge_patch(&mut model, patch);
                assert_eq!(effect.is_some(), model != stood, "an effect is a change");
            }
            Err(_) => assert_eq!(section, before, "a refused change changes nothing"),
        }
    }
    assert_eq!(section.to_value(), model);
    assert_eq!(section.size_bytes(), compact_len(&model));
    check_section(&model, SectionKind::Desired).expect("what was admitted obeys the rules");
    let stored = rmp_serde::to_vec(&section).expect("a section is storable");
    assert_eq!(rmp_serde::from_slice::<Section<Versioned>>(&stored).expect("a stored section is readable"), section);
    let mut shown = parse(to_compact(&section.to_json()).as_bytes(), "section").expect("what is shown is JSON");
    if let Value::Object(members) = &mut shown {
        strip_reserved(members);
    }
    assert_eq!(shown, model);
}

/// A section as JSON, a zero, and a report over it as it came: where it is merged into the stored bytes, they are those of the tree.
fn report(bytes: &[u8]) {
    let Some(zero) = bytes.iter().position(|byte| *byte == 0) else { return };
    let (section, ops) = (&bytes[..zero], &bytes[zero + 1..]);
    let Ok(value) = parse(section, "section") else { return };
    let replace = vec![Op::Replace { path: Path::root(), value }];
    let mut tree = Reported::new(Version::new(1), WallTime::new(0));
    if check_ops(&replace, SectionKind::Reported).is_err() || tree.apply(replace, WallTime::new(5_000)).is_err() {
        return;
    }
    let paths =
        [&["a"][..], &["b"], &["b", "c"], &["b", "d"], &["c"]].map(|keys| Path::from_keys(keys.iter().copied()));
    let Ok(report) = PackedReport::new(paths.into(), Bytes::copy_from_slice(ops)) else { return };
    let now = WallTime::new(9_000);
    let merged = PackedReported::from(&tree).overwrite(&report, now);
    let ops = report.unpack();
    let admitted = check_ops(&ops, SectionKind::Reported).is_ok();
    match (merged, tree.apply(ops, now)) {
        (Overwrite::NeedsTree, _) => {}
        (Overwrite::Unchanged, effect) => assert!(admitted && effect == Ok(None)),
        (Overwrite::Changed(packed, effective), effect) => {
            assert!(admitted);
            assert_eq!(effect, Ok(Some(report.only(effective).unpack())));
            assert_eq!(packed, PackedReported::from(&tree));
        }
    }
}

/// The rows of a twin, each behind its length of two bytes: what can be loaded can be shown, and is the same when it is stored anew.
fn rows(bytes: &[u8]) {
    let mut left = bytes;
    let mut rows = Rows::default();
    for kind in RowKind::ALL {
        let Some((length, rest)) = left.split_first_chunk::<2>() else { break };
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (row, rest) = rest.split_at(length);
        rows.set(kind, Some(Bytes::copy_from_slice(row)).filter(|row| !row.is_empty()));
        left = rest;
    }
    let id = TwinId::new("twin").expect("an id");
    let Ok(mut twin) = Twin::load(id.clone(), rows) else { return };
    let _absent = (twin.document(), twin.view(&Audience::BackOffice).map(|view| read_all(&view)));
    let mut again = Rows::default();
    again.apply(twin.encode(ChangedRows::ALL));
    assert_eq!(Twin::load(id, again).expect("our own rows"), twin);
}

/// A view: every way to read it ends.
fn view(bytes: &[u8]) {
    read_all(&TwinView::new(Bytes::copy_from_slice(bytes)));
}

fn read_all(view: &TwinView) {
    let _ = (view.office(), view.detached(), view.version(), view.incarnation(), view.attachment());
    let _ = (view.desired_version(), view.reported_version());
    let _ = (view.reported_at(), view.delivered(), view.acked(), view.steering_etag(), view.convergence());
    let _ = (view.reported(), view.desired(), view.reported_section(), view.desired_section());
    let at = Path::from_keys(["a", "b"]);
    let _ = (view.reported_value(&at), view.desired_value(&at));
    let out = &mut Vec::new();
    let _ = (view.write_tags_json(out), view.write_desired_json(out), view.write_reported_json(out));
    let _ = (view.write_plain_desired_json(out), view.write_plain_reported_json(out), view.write_convergence_json(out));
}
