//! The dead letters of a gateway that does not run, in the hands of its owner. How they come about is tested with the SDK; here they
//! are put into its outbox.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use twin_core::command::StateBody;
use twin_core::ids::TwinId;
use twin_core::numbers::{Boot, Seq, Stay};
use twin_core::op::Op;
use twin_gateway::redb::{Database, TableDefinition};
use twin_gateway::{Body, Class, DeadLetter, Gateway, OUTBOX_FILE};

const DEAD_LETTERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("dead_letters");

fn dead_letters(state: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twin-sim"));
    command.arg("dead-letters").args(arguments).arg("--state").arg(state).env_remove("RUST_LOG");
    command.output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn letter(number: u64, code: &str) -> DeadLetter {
    let path = twin_core::path::Path::from_keys(["n"]);
    DeadLetter {
        twin: TwinId::new(&format!("label-{number}")).unwrap(),
        class: Class::State,
        stay: Stay { boot: Boot::new(1), counter: 1 },
        first: Seq::new(number),
        last: Seq::new(number),
        code: code.into(),
        message: format!("refused as {code}"),
        body: Some(Body::State(StateBody::Report(vec![Op::Set { path, value: number.cast_signed().into() }]))),
    }
}

/// An outbox with three letters, of which a replay cannot help the second.
async fn outbox(state: &Path) {
    let gateway = Gateway::open_outbox(state).unwrap();
    gateway.shutdown().await;
    drop(gateway);
    let db = Database::open(state.join(OUTBOX_FILE)).unwrap();
    let txn = db.begin_write().unwrap();
    for (number, code) in [(1, "superseded"), (2, "document-rule"), (3, "other-site")] {
        let row = rmp_serde::to_vec(&letter(number, code)).unwrap();
        txn.open_table(DEAD_LETTERS).unwrap().insert(number, row.as_slice()).unwrap();
    }
    txn.commit().unwrap();
}

#[tokio::test]
async fn the_owner_lists_replays_and_discards_them() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path();
    outbox(state).await;

    let list = stdout(&dead_letters(state, &["list"]));
    assert!(list.starts_with("1\tlabel-1\tstate\topen\tsuperseded\trefused as superseded\n"), "{list}");
    let list = stdout(&dead_letters(state, &["list", "--json"]));
    let letters: Vec<Value> = list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outlooks: Vec<&str> = letters.iter().filter_map(|letter| letter["outlook"].as_str()).collect();
    assert_eq!(outlooks, ["open", "useless", "open"], "{list}");
    assert_eq!(letters[0]["body"], json!({"report": [{"set": "/n", "value": 1}]}));
    assert!(letters[1]["why"].as_str().is_some_and(|why| why.contains("breaks a rule")), "{list}");

    let useless = dead_letters(state, &["replay", "2"]);
    assert!(!useless.status.success() && stderr(&useless).contains("discard it"), "{}", stderr(&useless));
    let replayed = dead_letters(state, &["replay", "--all"]);
    assert_eq!(stdout(&replayed), "replayed=2 outdated=0 useless=1\n");
    assert!(stderr(&replayed).contains("2 messages") && stderr(&replayed).contains("when the gateway runs again"));
    let again = dead_letters(state, &["replay", "1"]);
    assert!(!again.status.success() && stderr(&again).contains("there is no dead letter 1"), "{}", stderr(&again));
    assert_eq!(stdout(&dead_letters(state, &["discard", "--all"])), "discarded=1\n");
    assert_eq!(stdout(&dead_letters(state, &["list"])), "");

    // What was replayed waits for the gateway; and while one runs, its outbox is its own.
    let gateway = Gateway::open_outbox(state).unwrap();
    assert_eq!((gateway.status().backlog_messages, gateway.status().dead_letters), (2, 0));
    let busy = dead_letters(state, &["list"]);
    assert!(!busy.status.success() && stderr(&busy).contains("another gateway runs on it"), "{}", stderr(&busy));
    assert!(stderr(&busy).contains(OUTBOX_FILE), "{}", stderr(&busy));
    gateway.shutdown().await;
}

#[test]
fn a_file_that_is_no_outbox_is_refused_by_name_and_not_a_byte_of_it_changes() {
    const OTHER: TableDefinition<'_, &str, u64> = TableDefinition::new("other");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(OUTBOX_FILE);
    let db = Database::create(&path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(OTHER).unwrap().insert("key", 7).unwrap();
    txn.commit().unwrap();
    drop(db);
    let mut cut = std::fs::read(&path).unwrap();
    cut.truncate(5000);
    for (content, words) in [
        (std::fs::read(&path).unwrap(), "not the outbox of a gateway"),
        (cut, "move the file away"),
        (b"a letter to the editor".repeat(500), "move the file away"),
    ] {
        std::fs::write(&path, &content).unwrap();
        for task in [&["list"][..], &["replay", "--all"], &["discard", "--all"]] {
            let refused = dead_letters(folder.path(), task);
            assert_eq!(refused.status.code(), Some(1));
            assert!(stderr(&refused).contains(OUTBOX_FILE) && stderr(&refused).contains(words), "{}", stderr(&refused));
            assert!(std::fs::read(&path).unwrap() == content, "not a byte");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "and nothing beside it");
    }
}

#[test]
fn a_folder_without_an_outbox_is_told_and_none_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let output = dead_letters(folder.path(), &["list"]);
    assert!(
        !output.status.success() && stderr(&output).contains("state directory of a gateway"),
        "{}",
        stderr(&output)
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    for wrong in [&["replay"][..], &["discard", "--all", "7"], &["replay", "seven"]] {
        assert_eq!(dead_letters(folder.path(), wrong).status.code(), Some(2), "{wrong:?}");
    }
}
