//! Writes the fuzzer's corpus: the rows of outboxes that were used.

use redb::{ReadableDatabase as _, ReadableTable as _};
use twin_core::command::StateBody;
use twin_core::ids::TwinId;
use twin_core::numbers::Version;
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::refusal::Refusal;
use twin_core::value::Value;
use twin_fuzz_corpus::Corpus;

use super::harness::{Bench, NaiveNode};
use crate::core::append::Drafts;
use crate::outbox::any_rows::{RowKind, outbox_rows_again, put};
use crate::outbox::body::Body;
use crate::outbox::format::{CHUNKS, DEAD_LETTERS, DEAD_LETTERS_KEY, FLASH_KEY, META, META_KEY, NOTES, PATHS, TWINS};

/// All rows of the file.
fn rows(bench: &Bench) -> Vec<u8> {
    let txn = bench.core.db.as_ref().unwrap().begin_read().unwrap();
    let mut out = Vec::new();
    for row in txn.open_table(PATHS).unwrap().iter().unwrap() {
        put(&mut out, RowKind::Path, row.unwrap().1.value());
    }
    for (kind, table) in [(RowKind::Chunk, CHUNKS), (RowKind::Note, NOTES), (RowKind::DeadLetter, DEAD_LETTERS)] {
        for row in txn.open_table(table).unwrap().iter().unwrap() {
            put(&mut out, kind, row.unwrap().1.value());
        }
    }
    for row in txn.open_table(TWINS).unwrap().iter().unwrap() {
        put(&mut out, RowKind::Twin, row.unwrap().1.value());
    }
    let meta = txn.open_table(META).unwrap();
    for (kind, key) in
        [(RowKind::Meta, META_KEY), (RowKind::Flash, FLASH_KEY), (RowKind::DeadLetters, DEAD_LETTERS_KEY)]
    {
        if let Some(row) = meta.get(key).unwrap() {
            put(&mut out, kind, row.value());
        }
    }
    out
}

fn say(bench: &mut Bench, body: &Body) {
    let drafts = Drafts::one(TwinId::new("label").unwrap(), body, &bench.core.dictionary);
    bench.append(drafts).unwrap();
}

#[test]
#[ignore = "writes the corpus, from outboxes as gateways leave them"]
fn the_corpus_is_written() {
    let corpus = Corpus::of(env!("CARGO_MANIFEST_DIR"));
    let write = |name: &str, bytes: &[u8]| {
        assert!(outbox_rows_again(bytes).is_some(), "{name} is read");
        corpus.write("outbox", name, bytes);
    };
    let mut bench = Bench::new(1 << 20, false);
    let path = |key: &str| Path::from_keys(["show", key]);
    let object = Value::Object([("k".into(), Value::Array(vec![Value::Null, 2.5.into(), "text".into()]))].into());
    let ops = vec![
        Op::Set { path: path("price"), value: 3.5.into() },
        Op::Remove { path: path("old") },
        Op::Replace { path: path("price"), value: object.clone() },
    ];
    say(&mut bench, &Body::State(StateBody::Report(ops)));
    say(&mut bench, &Body::State(StateBody::DesiredApplied(Version::new(300))));
    let reason = "no".to_owned();
    let rejected = StateBody::DesiredRejected { path: path("unit"), version: Version::new(1), reason };
    say(&mut bench, &Body::State(rejected));
    say(&mut bench, &Body::Event("button".into(), object));
    bench.alarm("label", "door").unwrap();
    bench.commit();
    write("all-bodies", &rows(&bench));

    // Dead letters of each class, notes, and rows of devices.
    let mut node = NaiveNode::refusing(|twin, _| (twin == "label").then_some(Refusal::Superseded));
    bench.report("other", "v", 1).unwrap();
    bench.connect();
    bench.attach(&mut node);
    while bench.exchange(&mut node) {}
    bench.report("other", "v", 2).unwrap();
    bench.commit();
    write("dead-letters", &rows(&bench));
    let mut deep = vec![RowKind::Chunk as u8, 0, 0, 16, 0];
    deep.extend([0x91; 4096]);
    corpus.write("outbox", "deep", &deep);
}
