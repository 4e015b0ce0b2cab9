//! The fuzzer's corpus goes through the fuzzer's functions, without the fuzzer.

use twin_core::rows::RowKind;
use twin_core::view::Audience;
use twin_fuzz_corpus::Corpus;

use crate::story::{Stored, json, sender, set};

#[path = "../../fuzz/src/lib.rs"]
#[allow(dead_code, unreachable_pub, reason = "a crate of its own to the fuzzer, which calls by name")]
mod fuzz;

fn corpus() -> Corpus {
    Corpus::of(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_file_of_the_corpus_passes_its_target() {
    corpus().pass(&fuzz::TARGETS);
}

#[test]
#[ignore = "writes the corpus, from a twin that has lived"]
fn the_corpus_is_written() {
    let write = |target: &str, name: &str, bytes: &[u8]| corpus().write(target, name, bytes);
    let documents = [
        r#"{"a": 1, "b": {"c": "x", "d": {"e": true}}, "f": 2.5, "g": [1, null, {"h": -1}]}"#,
        r#"{"\u00fc\ud83d\ude00": "\n\u0001", "": {}, "a/b~": [[[]]], "n": -4503599627370496, "z": -0.0, "e": 1e300}"#,
    ];
    for (number, document) in documents.iter().enumerate() {
        write("json", &format!("document-{number}"), document.as_bytes());
    }
    write("json", "nested", "[".repeat(70).as_bytes());
    write("json", "numbers", b"[0, -0, 1.0, 1E+2, 9007199254740993, 1e999, 01]");
    write(
        "patch",
        "set-and-remove",
        format!("{}\n{{\"b\": null, \"g\": {{\"new\": null}}}}\n{{\"a\": {{}}}}", documents[0]).as_bytes(),
    );
    write("patch", "reserved", br#"{"$version": 7, "$metadata": {}, "a": {"$x": 1}}"#);
    write("patch", "empty-objects", b"{\"a\": {\"b\": {\"c\": null}}}\n{\"a\": 1}\n{\"a\": {\"b\": null}}");

    let who = sender("gw", 1, 1);
    let mut stored = Stored::new();
    stored
        .put(r#"{"shelf": {"row": 4}}"#, r#"{"price": 2.5, "show": {"lines": ["a", "b"], "old": 1}}"#)
        .answer
        .unwrap();
    let keep = |name: &str, stored: &Stored| {
        let mut bytes = Vec::new();
        for kind in RowKind::ALL {
            let row = stored.rows.get(kind).map_or(&[][..], |row| &row[..]);
            bytes.extend((row.len() as u16).to_be_bytes());
            bytes.extend_from_slice(row);
        }
        write("rows", name, &bytes);
        write("view", name, stored.twin.view(&Audience::BackOffice).unwrap().packed());
    };
    keep("made", &stored);
    stored.attach(&who, 0).unwrap();
    stored.report(&who, 1, vec![set("/price", 2.5), set("/show/lines", json("[\"a\"]")), set("/battery", 91)]).unwrap();
    stored.event(&who, 1, 1).unwrap();
    keep("reported", &stored);
    stored.attach(&sender("other", 1, 1), 1).unwrap();
    stored.patch("/show/old", twin_core::command::ChangeKind::Remove).answer.unwrap();
    keep("roamed", &stored);

    // Set /a to 2; set /b/c to "y"; remove /c; replace /b; and what is longer than it need be.
    let section = br#"{"a": 1, "b": {"c": "x", "d": true}, "c": 2.5}"#;
    for (name, ops) in [
        ("overwrite", &[0x92, 0x92, 0, 0x81, 0xa1, b's', 2, 0x92, 2, 0x81, 0xa1, b's', 0xa1, b'y'][..]),
        ("remove", &[0x91, 0x92, 4, 0xa1, b'd']),
        ("replace", &[0x91, 0x92, 1, 0x81, 0xa1, b'o', 0x81, 0xa1, b'k', 0xc3]),
        ("long-number", &[0x91, 0x92, 0, 0x81, 0xa1, b's', 0xcd, 0, 5]),
        ("float", &[0x91, 0x92, 4, 0x81, 0xa1, b's', 0xcb, 0x40, 4, 0, 0, 0, 0, 0, 0]),
    ] {
        write("report", name, &[&section[..], &[0], ops].concat());
    }
}
