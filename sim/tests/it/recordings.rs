//! Recordings as they come, and as nobody should send them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use twin_sim::replay::{Recording, RecordingError, Wrong};

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

fn rows(path: &Path) -> Vec<Value> {
    let recording = Recording::check(path).unwrap();
    recording.rows_after(0).unwrap().map(|row| serde_json::to_value(&row.unwrap().reported).unwrap()).collect()
}

fn refused(name: &str, content: impl AsRef<[u8]>) -> RecordingError {
    let folder = Folder::new();
    Recording::check(&folder.file(name, content)).unwrap_err()
}

#[test]
fn a_row_is_the_timestamp_as_it_stands_and_numbers() {
    let folder = Folder::new();
    let path = folder.file("s1.csv", "timestamp,value,count\n2015-07-10 14:24:00,73.96732207,564\n 2015 ,1e3,-0\n");
    assert_eq!(
        rows(&path),
        [
            json!({"timestamp": "2015-07-10 14:24:00", "value": 73.967_322_07, "count": 564}),
            json!({"timestamp": " 2015 ", "value": 1000.0, "count": 0}),
        ]
    );
    assert_eq!(Recording::check(&path).unwrap().device().as_str(), "s1");
}

#[test]
fn columns_may_stand_in_any_order_and_an_empty_cell_says_nothing() {
    let folder = Folder::new();
    let path = folder.file("s.csv", "a, b ,timestamp\n,2,t1\n 1 ,,t2\n,,\n");
    let expected = [json!({"b": 2, "timestamp": "t1"}), json!({"a": 1, "timestamp": "t2"}), json!({"timestamp": ""})];
    assert_eq!(rows(&path), expected);
}

#[test]
fn line_ends_quotes_a_byte_order_mark_and_a_missing_last_line_end_are_no_matter() {
    let folder = Folder::new();
    let plain = rows(&folder.file("a.csv", "timestamp,value\nt1,1\nt2,2\n"));
    for (name, text) in [
        ("crlf.csv", "timestamp,value\r\nt1,1\r\nt2,2\r\n"),
        ("quotes.csv", "\"timestamp\",\"value\"\n\"t1\",\"1\"\nt2,2\n"),
        ("bom.csv", "\u{feff}timestamp,value\nt1,1\nt2,2\n"),
        ("last.csv", "timestamp,value\nt1,1\nt2,2"),
        ("blank.csv", "timestamp,value\n\nt1,1\n\n\nt2,2\n\n"),
    ] {
        assert_eq!(rows(&folder.file(name, text)), plain, "{name}");
    }
    let quoted = rows(&folder.file("inner.csv", "timestamp,value\n\"a \"\"b\"\", c\nd\",1\n"));
    assert_eq!(quoted[0]["timestamp"], "a \"b\", c\nd");
}

#[test]
fn a_header_alone_is_a_recording_without_rows() {
    let folder = Folder::new();
    assert_eq!(rows(&folder.file("s.csv", "timestamp,value\n")), Vec::<Value>::new());
}

#[test]
fn what_is_wrong_is_told_with_file_line_and_column() {
    let error = refused("s.csv", "timestamp,value\nt1,1\nt2,n/a\n");
    assert!(matches!(error.wrong(), Wrong::NotANumber { line: 3, column, cell } if column == "value" && cell == "n/a"));
    assert!(error.to_string().contains("s.csv: line 3, column \"value\": \"n/a\""), "{error}");
    let error = refused("s.csv", "timestamp,value\nt1,1\nt2,2,3\n");
    assert!(matches!(error.wrong(), Wrong::Cells { line: 3, found: 3, expected: 2 }), "{error}");
    let error = refused("s.csv", "timestamp,value\nt1\n");
    assert!(matches!(error.wrong(), Wrong::Cells { line: 2, found: 1, expected: 2 }), "{error}");
    let error = refused("s.csv", b"timestamp,value\nt\xff,1\n");
    assert!(matches!(error.wrong(), Wrong::NotText { line: 2 }), "{error}");
}

#[test]
fn lines_are_counted_as_an_editor_counts_them() {
    let lines = ["timestamp,value", "t1,1", "", "t2,2", "", "", "t3,3"];
    for end in ["\n", "\r\n", "\r"] {
        for start in ["", "\u{feff}"] {
            for (wrong, line) in [("t4,x", 8), ("\n\nt4,x", 10), ("\"t\n4\",x", 8), ("t4,4,4", 8), ("t4", 8)] {
                let text = format!("{start}{}{end}{}{end}t5,5{end}", lines.join(end), wrong.replace('\n', end));
                let error = refused("s.csv", &text).to_string();
                assert!(error.contains(&format!("line {line}")), "{text:?}: {error}");
            }
            let mut text = format!("{start}{}{end}", lines.join(end)).into_bytes();
            text.extend(b"t\xff,1");
            assert!(matches!(refused("s.csv", text).wrong(), Wrong::NotText { line: 8 }));
        }
    }
    // Also where the file is longer than what is read at once.
    let long = format!("timestamp,value\r\n{}t,x\r\n", "t,1\r\n\r\n".repeat(50_000));
    assert!(matches!(refused("s.csv", long).wrong(), Wrong::NotANumber { line: 100_002, .. }));
}

#[test]
fn numbers_that_no_twin_holds_are_refused_by_line() {
    for cell in ["NaN", "inf", "1e999", "4503599627370497", "99999999999999999999999999x"] {
        let error = refused("s.csv", format!("timestamp,value\nt1,{cell}\n"));
        assert!(
            matches!(error.wrong(), Wrong::NotANumber { line: 2, .. } | Wrong::Row { line: 2, .. }),
            "{cell}: {error}"
        );
    }
}

#[test]
fn a_header_must_have_a_timestamp_and_names_that_can_be_properties() {
    assert!(matches!(refused("s.csv", "").wrong(), Wrong::NoTimestamp));
    assert!(matches!(refused("s.csv", "time,value\nt,1\n").wrong(), Wrong::NoTimestamp));
    assert!(matches!(refused("s.csv", "t1,1\nt2,2\n").wrong(), Wrong::NoTimestamp));
    assert!(matches!(refused("s.csv", "timestamp,a,a\nt,1,2\n").wrong(), Wrong::ColumnTwice { .. }));
    for name in ["a.b", "a b", "$version", "$x", "a\tb"] {
        let error = refused("s.csv", format!("timestamp,\"{name}\"\nt,1\n"));
        assert!(matches!(error.wrong(), Wrong::Column { .. } | Wrong::ColumnReserved { .. }), "{name}: {error}");
    }
}

#[test]
fn an_open_quote_or_a_huge_cell_does_not_pull_the_file_into_memory() {
    let mut open_quote = b"timestamp,value\nt1,1\n\"t2,2\n".to_vec();
    open_quote.resize(8 * 1024 * 1024, b'x');
    let error = refused("s.csv", open_quote);
    assert!(matches!(error.wrong(), Wrong::TooLong { line: 3 }), "{error}");
    let long_cell = format!("timestamp,value\n{},1\n", "t".repeat(5000));
    assert!(matches!(refused("s.csv", long_cell).wrong(), Wrong::Row { line: 2, .. }));
    let long_header = format!("timestamp,{}\n", "c".repeat(1024 * 1024));
    assert!(matches!(refused("s.csv", long_header).wrong(), Wrong::TooLong { line: 1 }));
    let names: Vec<String> = (0..2000).map(|n| format!("c{n}")).collect();
    let wide = format!("timestamp,{}\nt{}\n", names.join(","), ",1".repeat(2000));
    assert!(matches!(refused("s.csv", wide).wrong(), Wrong::Row { line: 2, .. }));
}

#[test]
fn the_stem_names_the_device_so_it_must_be_a_twin_id_of_its_own() {
    assert!(matches!(refused("a b.csv", "timestamp\n").wrong(), Wrong::Name(_)));
    assert!(matches!(refused(&format!("{}.csv", "a".repeat(129)), "timestamp\n").wrong(), Wrong::Name(_)));
    let folder = Folder::new();
    let one = folder.file("s.csv", "timestamp\nt\n");
    let two = folder.file("s.txt", "timestamp\nt\n");
    let error = Recording::check_all(&[one.clone(), two]).unwrap_err();
    assert!(matches!(error.wrong(), Wrong::SameDevice { .. }), "{error}");
    assert!(Recording::check_all(&[one.clone(), one]).is_err());
    assert!(matches!(Recording::check(folder.0.path()).unwrap_err().wrong(), Wrong::NotAFile | Wrong::Name(_)));
    assert!(matches!(Recording::check(&folder.0.path().join("none.csv")).unwrap_err().wrong(), Wrong::Read(_)));
}

#[test]
fn a_recording_goes_on_where_it_was_and_is_known_again_after_it_has_grown() {
    let folder = Folder::new();
    let path = folder.file("s.csv", "timestamp,v\nt1,1\nt2,2\nt3,3\n");
    let before = Recording::check(&path).unwrap();
    let rest: Vec<_> = before.rows_after(2).unwrap().map(Result::unwrap).collect();
    assert_eq!((rest.len(), rest[0].number, rest[0].line), (1, 3, 4));
    folder.file("s.csv", "timestamp,v\nt1,1\nt2,2\nt3,3\nt4,4\n");
    assert_eq!(before.rows_after(0).unwrap().count(), 3, "what came after the check waits for the next run");
    let grown = Recording::check(&path).unwrap();
    assert_eq!((grown.source(), grown.rows()), (before.source(), 4));
    folder.file("s.csv", "timestamp,v\nother,1\n");
    assert_ne!(Recording::check(&path).unwrap().source(), before.source(), "another recording of the same name");
}

#[test]
fn a_recording_that_shrank_is_refused_rather_than_miscounted() {
    let folder = Folder::new();
    let path = folder.file("s.csv", "timestamp,v\nt1,1\nt2,2\n");
    let recording = Recording::check(&path).unwrap();
    assert!(matches!(recording.rows_after(3).unwrap_err().wrong(), Wrong::Shrunk { rows: 2, done: 3 }));
    folder.file("s.csv", "timestamp,v\nt1,1\n");
    let rows: Vec<_> = recording.rows_after(0).unwrap().collect();
    assert!(matches!(rows.last().unwrap().as_ref().unwrap_err().wrong(), Wrong::Changed { rows: 2 }));
    assert!(recording.rows_after(2).is_err());
}
