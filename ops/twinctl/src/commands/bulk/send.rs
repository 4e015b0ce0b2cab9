//! `twinctl import` and `twinctl apply`: a file of items to the node, and what became of each.
//!
//! Items go in slices, each a request of its own and small enough to be sent before its results are read. Where one breaks, what has
//! no result is sent again: a slice's results come in the order of its items, so it is known which those are.
//!
//! **Invariant:** items of one twin take effect in their order, also where some are sent again: behind one that has to wait, the
//! later ones of its twin are sent again as well.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use ureq::http::Method;

use super::lines::{self, Line};
use super::patience::Patience;
use super::progress::Progress;
use crate::api_path::ApiPath;
use crate::client::{Ask, Client};
use crate::failure::Failure;
use crate::given::Given;
use crate::limits::{BULK_FAILURES_SHOWN_MAX, BULK_SLICE_BYTES_MAX, BULK_SLICE_ITEMS_MAX};
use crate::output::{self, Output};
use crate::problem::Problem;
use crate::table::printable;

/// Carries out `twinctl import`.
pub(crate) fn import(client: &Client, output: Output, file: &Path) -> Result<(), Failure> {
    Sending::new(client, output, "imports", "imported").run(file)
}

/// Carries out `twinctl apply`.
pub(crate) fn apply(client: &Client, output: Output, file: &Path) -> Result<(), Failure> {
    Sending::new(client, output, "twins:batchUpdate", "applied").run(file)
}

/// What some editors and spreadsheets write before UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// One line of the file that is not answered yet.
struct Item {
    line: u64,
    text: Vec<u8>,
    /// Empty where the line has none: the node says so.
    id: String,
}

/// What is looked at in a line of the file.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Seen {
    id: Option<String>,
    end: Option<bool>,
}

/// What became of an item.
#[derive(Deserialize)]
struct Outcome {
    status: u16,
}

struct Sending<'a> {
    client: &'a Client,
    output: Output,
    path: &'static str,
    word: &'static str,
    patience: Patience,
    items: u64,
    created: u64,
    /// By code.
    failed: BTreeMap<String, u64>,
    shown: u64,
}

impl<'a> Sending<'a> {
    fn new(client: &'a Client, output: Output, path: &'static str, word: &'static str) -> Self {
        let (patience, failed) = (Patience::new(), BTreeMap::new());
        Self { client, output, path, word, patience, items: 0, created: 0, failed, shown: 0 }
    }

    fn run(mut self, file: &Path) -> Result<(), Failure> {
        let wrong = |error: io::Error| Failure::Usage(format!("{}: {error}", file.display()));
        let given = Given::open(file).map_err(wrong)?;
        let progress = Progress::new(given.length());
        let mut reader = BufReader::with_capacity(256 * 1024, given);
        let mut place = Place::default();
        let stopped = loop {
            let (slice, unread) = read_slice(&mut reader, &mut place);
            let is_last = slice.is_empty();
            // What stands before a line that can't be read is sent all the same: then it is plain what is done.
            if let Err(stop) = self.send(slice, &progress) {
                break Some(stop);
            }
            progress.at(self.items, place.bytes);
            if let Some(error) = unread {
                break Some(Stop { line: place.line + 1, why: wrong(error) });
            }
            if is_last {
                break None;
            }
        };
        drop(progress);
        self.tell(file, stopped)
    }

    /// Sends a slice until each of its items has an outcome.
    fn send(&mut self, slice: Vec<Item>, progress: &Progress) -> Result<(), Stop> {
        let mut waiting: VecDeque<Item> = slice.into();
        while !waiting.is_empty() {
            let body: Vec<u8> = waiting.iter().flat_map(|item| item.text.iter().copied()).collect();
            let ask = Ask::new(Method::POST, ApiPath::new(self.path)).body_bytes("application/x-ndjson", body);
            let mut again = Again::default();
            let broken = match self.client.exchange_lines(ask) {
                Ok(answer) => self.take_results(answer, &mut waiting, &mut again, progress),
                Err(failure) => Err(failure),
            };
            let broken = broken.err().or_else(|| again.why.take());
            // Those that must wait come before those that were not answered.
            waiting = again.items.into_iter().chain(waiting).collect();
            if let Some(failure) = broken {
                // Of two items of a twin the later one may wait for the earlier, so the first of them all stands in front.
                let line = waiting.front().map_or(0, |item| item.line);
                self.patience.wait(failure, |line| progress.say(line)).map_err(|why| Stop { line, why })?;
            }
        }
        Ok(())
    }

    /// Reads results, one for each item from the first on; those that have one leave `waiting`.
    fn take_results(
        &mut self,
        answer: impl io::Read,
        waiting: &mut VecDeque<Item>,
        again: &mut Again,
        progress: &Progress,
    ) -> Result<(), Failure> {
        let url = || self.client.base().to_owned();
        let mut reader = BufReader::with_capacity(64 * 1024, answer);
        while !waiting.is_empty() {
            let result = match lines::next(&mut reader) {
                Ok(Line::Whole(result)) => result,
                Ok(Line::Torn(_) | Line::End) => {
                    return Err(Failure::Unreachable { url: url(), reason: "the results were cut off".to_owned() });
                }
                Err(error) => {
                    return Err(Failure::Unreachable { url: url(), reason: format!("the results broke off: {error}") });
                }
            };
            let outcome: Outcome = serde_json::from_slice(&result)
                .map_err(|error| Failure::Answer { url: url(), reason: error.to_string() })?;
            let Some(item) = waiting.pop_front() else { break };
            if again.takes(&item, outcome.status, &result) {
                again.items.push(item);
                continue;
            }
            self.patience.refill();
            self.items += 1;
            match outcome.status {
                201 => self.created += 1,
                200..=299 => {}
                _ => self.refused(&item, &result, progress)?,
            }
        }
        Ok(())
    }

    fn refused(&mut self, item: &Item, result: &[u8], progress: &Progress) -> Result<(), Failure> {
        let problem: Problem = serde_json::from_slice(result).unwrap_or_default();
        let code = problem.code.clone().unwrap_or_else(|| problem.status.to_string());
        *self.failed.entry(code.clone()).or_default() += 1;
        if self.output.json {
            // As it came, with its line in the file.
            let result: &RawValue = serde_json::from_slice(result)
                .map_err(|error| Failure::Answer { url: self.client.base().to_owned(), reason: error.to_string() })?;
            return output::line(&format!(r#"{{"line":{},"result":{}}}"#, item.line, result.get().trim()));
        }
        self.shown += 1;
        if self.shown <= BULK_FAILURES_SHOWN_MAX {
            let detail = problem.detail.unwrap_or_default();
            let (id, detail) = (printable(&item.id), printable(&detail));
            progress.say(&format!("line {}: {id}: {}: {detail}", item.line, printable(&code)));
        }
        Ok(())
    }

    fn tell(self, file: &Path, stopped: Option<Stop>) -> Result<(), Failure> {
        let failed: u64 = self.failed.values().sum();
        let done = self.items - failed;
        // Nothing was done: what went wrong says it all.
        let stopped = match stopped {
            Some(Stop { why, .. }) if self.items == 0 && !matches!(why, Failure::Usage(_)) => return Err(why),
            // The reader of the output is gone.
            Some(Stop { why, .. }) if why.is_broken_pipe() => return Err(why),
            stopped => stopped,
        };
        if self.output.json {
            let mut summary = json!({"items": self.items, "done": done, "created": self.created, "failed": failed});
            if let (Some(stop), Some(members)) = (&stopped, summary.as_object_mut()) {
                members.insert("stoppedAtLine".to_owned(), stop.line.into());
            }
            output::line(&summary.to_string())?;
        } else {
            let made = if self.created > 0 { format!(", {} of them new", self.created) } else { String::new() };
            output::line(&format!("{done} of {} twins {}{made}", self.items, self.word))?;
        }
        if let Some(Stop { line, why }) = stopped {
            let command = if self.word == "imported" { "import" } else { "apply" };
            let on = if file == Path::new("-") {
                format!("twinctl {command} - with the input from line {line} on")
            } else {
                format!("tail -n +{line} {} | twinctl {command} -", file.display())
            };
            let (items, word) = (self.items, self.word);
            return Err(Failure::Stopped { why: Box::new(why), line, items, done, word, on });
        }
        if failed == 0 {
            return Ok(());
        }
        let by_code = self.failed.iter().map(|(code, count)| format!("{} {count}", printable(code)));
        Err(Failure::Items { failed, items: self.items, by_code: by_code.collect::<Vec<_>>().join(", ") })
    }
}

/// Why a file was not sent to its end, and the first line whose item has no outcome.
struct Stop {
    line: u64,
    why: Failure,
}

/// How far a file was read.
#[derive(Default)]
struct Place {
    line: u64,
    bytes: u64,
}

/// Items that the node had no room or no leader for.
#[derive(Default)]
struct Again {
    items: Vec<Item>,
    ids: HashSet<String>,
    /// Why, of the last.
    why: Option<Failure>,
}

impl Again {
    /// Must the item be sent again?
    fn takes(&mut self, item: &Item, status: u16, result: &[u8]) -> bool {
        if matches!(status, 429 | 503) {
            let problem: Problem = serde_json::from_slice(result).unwrap_or_default();
            self.why = Some(Failure::Refused(Box::new(problem)));
            self.ids.insert(item.id.clone());
            return true;
        }
        // It came before one that has to come before it.
        self.ids.contains(&item.id)
    }
}

/// The next items of the file, as many as go into one request, and what keeps the next line from being read.
fn read_slice(reader: &mut impl BufRead, place: &mut Place) -> (Vec<Item>, Option<io::Error>) {
    let (mut slice, mut slice_bytes) = (Vec::new(), 0);
    while slice.len() < BULK_SLICE_ITEMS_MAX && slice_bytes < BULK_SLICE_BYTES_MAX {
        let mut text = match lines::next(reader) {
            Ok(Line::Whole(text) | Line::Torn(text)) => text,
            Ok(Line::End) => break,
            Err(error) => {
                return (slice, Some(io::Error::new(error.kind(), format!("line {}: {error}", place.line + 1))));
            }
        };
        place.line += 1;
        place.bytes += text.len() as u64;
        if place.line == 1 && text.starts_with(BYTE_ORDER_MARK) {
            text.drain(..BYTE_ORDER_MARK.len());
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        // What cannot be read is sent all the same: the node says what is wrong with it.
        let Seen { id, end } = serde_json::from_slice(&text).unwrap_or_default();
        if end == Some(true) {
            continue;
        }
        if text.last() != Some(&b'\n') {
            text.push(b'\n');
        }
        slice_bytes += text.len();
        slice.push(Item { line: place.line, text, id: id.unwrap_or_default() });
    }
    (slice, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_cut_into_slices_that_know_their_lines() {
        let text: String =
            (0..BULK_SLICE_ITEMS_MAX + 5).flat_map(|n| [format!("{{\"id\":\"t-{n}\"}}"), "\n\n".to_owned()]).collect();
        let mut reader = BufReader::new(text.as_bytes());
        let mut place = Place::default();
        let (first, _) = read_slice(&mut reader, &mut place);
        assert_eq!((first.len(), first[1].line, first[1].id.as_str()), (BULK_SLICE_ITEMS_MAX, 3, "t-1"));
        let (second, _) = read_slice(&mut reader, &mut place);
        assert_eq!((second.len(), place.bytes), (5, text.len() as u64));
        assert!(read_slice(&mut reader, &mut place).0.is_empty());

        let mut reader = BufReader::new(&b"{\"end\":true,\"twins\":1}\n{torn"[..]);
        let (last, _) = read_slice(&mut reader, &mut Place::default());
        assert_eq!((last.len(), last[0].line, &last[0].text[..]), (1, 2, &b"{torn\n"[..]));
    }

    #[test]
    fn a_line_that_is_too_long_is_named_by_its_number_and_a_byte_order_mark_is_skipped() {
        let long = "x".repeat(crate::limits::BULK_LINE_BYTES_MAX as usize + 1);
        let text = format!("\u{feff}{{\"id\":\"a\"}}\n\n{long}\n");
        let mut reader = BufReader::new(text.as_bytes());
        let (before, unread) = read_slice(&mut reader, &mut Place::default());
        assert_eq!(before.len(), 1, "what stands before it is not lost");
        let refused = unread.map(|error| error.to_string());
        assert!(refused.as_ref().is_some_and(|said| said.starts_with("line 3: ")), "{refused:?}");
        let mut reader = BufReader::new("\u{feff}{\"id\":\"a\"}\n".as_bytes());
        let (slice, _) = read_slice(&mut reader, &mut Place::default());
        assert_eq!((slice[0].id.as_str(), slice[0].text.as_slice()), ("a", &b"{\"id\":\"a\"}\n"[..]));
    }

    #[test]
    fn behind_an_item_that_waits_the_later_ones_of_its_twin_are_sent_again() {
        let item = |id: &str| Item { line: 0, text: Vec::new(), id: id.to_owned() };
        let mut again = Again::default();
        assert!(!again.takes(&item("a"), 200, b"{}"));
        assert!(again.takes(&item("a"), 429, b"{\"status\":429}"));
        assert!(!again.takes(&item("b"), 200, b"{}"));
        assert!(again.takes(&item("a"), 200, b"{}"));
        assert!(matches!(again.why, Some(Failure::Refused(problem)) if problem.status == 429));
    }
}
