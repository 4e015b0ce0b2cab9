//! Reading the audit log back, newest first.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use super::file::{content_of, newest_first};
use super::line::{Kind, Line};

/// Some lines, newest first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) lines: Vec<Line>,
    /// Lines before this number are on the next page; `None`: there are none.
    pub(crate) next: Option<u64>,
}

/// The newest lines before a number. Of a change that has its answer the beginning is left out: the answer says it all.
pub(super) fn read(dir: &Path, kinds: &[Kind], before: u64, limit: usize) -> io::Result<Page> {
    let mut lines = Vec::new();
    for kind in kinds {
        // One more than wanted, to know whether there are more.
        of_kind(dir, *kind, before, limit + 1, &mut lines)?;
    }
    lines.sort_unstable_by_key(|line: &Line| std::cmp::Reverse(line.n));
    let more = lines.len() > limit;
    lines.truncate(limit);
    let next = if more { lines.last().map(|line| line.n) } else { None };
    Ok(Page { lines, next })
}

fn of_kind(dir: &Path, kind: Kind, before: u64, wanted: usize, into: &mut Vec<Line>) -> io::Result<()> {
    let mut answered = HashSet::new();
    let mut found = 0;
    for path in newest_first(dir, kind)? {
        // The oldest goes when a new one is begun.
        let Some(content) = content_of(&path)? else { continue };
        // What is no line was torn by a crash or a full disk.
        let lines = content.rsplit(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Line>(line).ok());
        for line in lines {
            answered.extend(line.record.begun);
            if line.n < before && !answered.contains(&line.n) {
                into.push(line);
                found += 1;
                if found == wanted {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}
