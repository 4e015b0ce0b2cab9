//! A test that cannot do all that it is for, because of the machine that it runs on, says so where it is seen.
//!
//! libtest keeps to itself what a test that passes prints with `println!` and `eprintln!`, so whoever ran it would take it for done.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, Write as _};

/// Names the file that each skip is appended to, one a line.
pub const FILE_VARIABLE: &str = "TWINMESH_SKIPPED";

/// Says on the real standard error that this was not tested, and why; and appends it to the file that `TWINMESH_SKIPPED` names, which
/// `.ci/run` shows at its end. Panics where that file cannot be written: a skip that nobody sees is a test that never was.
pub fn skipped(what: &str) {
    let line = line_of(what);
    // Not by a macro: those write to what libtest has put in its place. Where it is closed there is nobody to tell.
    let _ = io::stderr().write_all(line.as_bytes());
    if let Some(file) = std::env::var_os(FILE_VARIABLE).filter(|file| !file.is_empty()) {
        append(&file, &line).unwrap_or_else(|error| panic!("{FILE_VARIABLE}={}: {error}", file.display()));
    }
}

/// One line, whatever was said.
fn line_of(what: &str) -> String {
    format!("SKIPPED {}\n", what.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// In one write: several processes append to the file.
fn append(file: &OsStr, line: &str) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).open(file)?.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What the other test runs, in a process of its own.
    #[test]
    #[ignore = "it is no claim: run by the test beside it"]
    fn a_test_that_skips() {
        skipped("the moon:\n  it is not up");
    }

    #[test]
    fn what_a_passing_test_skipped_is_on_the_real_standard_error_and_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("skipped");
        for times in 1..=2 {
            let ran = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "tests::a_test_that_skips", "--ignored"])
                .env(FILE_VARIABLE, &file)
                .output()
                .unwrap();
            let (said, told) = (String::from_utf8(ran.stdout).unwrap(), String::from_utf8(ran.stderr).unwrap());
            assert!(ran.status.success() && said.contains("1 passed"), "{said}");
            assert_eq!(told, "SKIPPED the moon: it is not up\n");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), told.repeat(times));
        }
    }
}
