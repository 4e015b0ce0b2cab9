//! `twinctl export`: twins into a file, whole or not at all to be taken for whole.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write};
use std::path::Path;

use serde::Deserialize;
use serde_json::json;

use super::lines::{self, Line};
use super::patience::Patience;
use super::progress::Progress;
use crate::api_path::ApiPath;
use crate::cli::ExportArgs;
use crate::client::Client;
use crate::failure::Failure;
use crate::problem::Problem;

/// What is looked at in a line; the rest goes through as it came.
#[derive(Deserialize)]
struct Seen {
    id: Option<String>,
    site: Option<String>,
    end: Option<bool>,
    #[serde(default, rename = "cursorSiteMissing")]
    cursor_site_missing: bool,
}

/// What an export has so far.
#[derive(Debug, Default, PartialEq)]
struct SoFar {
    twins: u64,
    bytes: u64,
    /// `<site>/<id>` of the last one.
    cursor: Option<String>,
}

/// How one answer ended.
enum End {
    Whole,
    Broken(Failure),
}

/// Carries out `twinctl export`.
pub(crate) fn export(client: &Client, arguments: &ExportArgs) -> Result<(), Failure> {
    let (mut so_far, mut sink): (SoFar, Box<dyn Write>) = match arguments.out.as_deref() {
        None => (SoFar::default(), Box::new(io::stdout().lock())),
        Some(path) if arguments.resume => {
            let Some((so_far, file)) = take_up(path)? else {
                eprintln!("{} is whole already", path.display());
                return Ok(());
            };
            (so_far, Box::new(file))
        }
        Some(path) => (SoFar::default(), Box::new(create(path)?)),
    };
    let mut sink = BufWriter::with_capacity(256 * 1024, &mut sink);
    let progress = Progress::new(None);
    let mut patience = Patience::new();
    loop {
        let answer = client.open_lines(path(arguments, so_far.cursor.as_deref()));
        let broken = match answer {
            Ok(answer) => match copy(client, answer, &mut sink, &mut so_far, &progress, &mut patience) {
                Ok(End::Whole) => break,
                Ok(End::Broken(failure)) => failure,
                Err(failure) => return Err(failure),
            },
            Err(failure) => failure,
        };
        // What is there is kept: --resume goes on from it.
        sink.flush()?;
        patience.wait(broken, |line| progress.say(line))?;
    }
    // The whole of it, however many answers it took.
    writeln!(sink, "{}", json!({"end": true, "twins": so_far.twins}))?;
    sink.flush()?;
    drop(progress);
    if arguments.out.is_some() {
        eprintln!("{} twins", so_far.twins);
    }
    Ok(())
}

fn path(arguments: &ExportArgs, cursor: Option<&str>) -> ApiPath {
    let parameters = [("site", arguments.site.as_deref()), ("prefix", arguments.prefix.as_deref()), ("cursor", cursor)];
    let given = parameters.into_iter().filter_map(|(key, value)| Some((key, value?)));
    given.fold(ApiPath::new("exports"), |path, (key, value)| path.query(key, value))
}

fn create(path: &Path) -> Result<File, Failure> {
    OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| {
        let hint = if error.kind() == io::ErrorKind::AlreadyExists { " (--resume goes on with it)" } else { "" };
        Failure::Usage(format!("{}: {error}{hint}", path.display()))
    })
}

/// The whole lines of a file that an export began. `None`: it is whole.
fn take_up(path: &Path) -> Result<Option<(SoFar, File)>, Failure> {
    let wrong = |what: String| Failure::Usage(format!("{}: {what}", path.display()));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| wrong(error.to_string()))?;
    let mut so_far = SoFar::default();
    let mut reader = BufReader::with_capacity(256 * 1024, &mut file);
    let mut last = None;
    while let Line::Whole(line) = lines::next(&mut reader).map_err(|error| wrong(error.to_string()))? {
        so_far.bytes += line.len() as u64;
        so_far.twins += 1;
        last = Some(line);
    }
    if let Some(line) = last {
        match serde_json::from_slice::<Seen>(&line) {
            Ok(Seen { end: Some(true), .. }) => return Ok(None),
            Ok(Seen { id: Some(id), site: Some(site), .. }) => so_far.cursor = Some(format!("{site}/{id}")),
            _ => return Err(wrong("its last line is not one of an export; nothing was changed".to_owned())),
        }
    }
    // What is behind the last whole line comes again.
    file.set_len(so_far.bytes)
        .and_then(|()| file.seek(SeekFrom::Start(so_far.bytes)))
        .map_err(|error| wrong(error.to_string()))?;
    Ok(Some((so_far, file)))
}

/// Writes the lines of one answer, as far as they come.
fn copy(
    client: &Client,
    answer: impl Read,
    sink: &mut impl Write,
    so_far: &mut SoFar,
    progress: &Progress,
    patience: &mut Patience,
) -> Result<End, Failure> {
    let broken = |reason: String| Ok(End::Broken(Failure::Unreachable { url: client.base().to_owned(), reason }));
    let mut reader = BufReader::with_capacity(64 * 1024, answer);
    // That it answers is something.
    patience.reached();
    loop {
        let line = match lines::next(&mut reader) {
            Ok(Line::Whole(line)) => line,
            Ok(Line::Torn(_) | Line::End) => return broken("the export was cut off".to_owned()),
            Err(error) => return broken(format!("the export broke off: {error}")),
        };
        let not_understood = |reason: String| Failure::Answer { url: client.base().to_owned(), reason };
        let seen: Seen = serde_json::from_slice(&line).map_err(|error| not_understood(error.to_string()))?;
        match seen {
            Seen { end: Some(true), cursor_site_missing, .. } => {
                if cursor_site_missing {
                    progress
                        .say("note: the site of the last twin in the file is not there any more; went on behind it");
                }
                return Ok(End::Whole);
            }
            Seen { end: Some(false), .. } => {
                let mut problem: Problem = serde_json::from_slice(&line).unwrap_or_default();
                problem.retry_after_s = None;
                return Ok(End::Broken(Failure::Refused(Box::new(problem))));
            }
            Seen { id: Some(id), site: Some(site), .. } => {
                sink.write_all(&line)?;
                so_far.cursor = Some(format!("{site}/{id}"));
                so_far.twins += 1;
                so_far.bytes += line.len() as u64;
                progress.at(so_far.twins, so_far.bytes);
                patience.refill();
            }
            _ => return Err(not_understood("a line of the export names no twin".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "{\"id\":\"a\",\"site\":\"s\"}\n";

    #[test]
    fn a_file_is_taken_up_behind_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("twins.ndjson");
        let (so_far, _) = take_up(&path).unwrap().unwrap();
        assert_eq!(so_far, SoFar::default(), "there was none");
        std::fs::write(&path, format!("{LINE}{{\"id\":\"b\",\"site\":\"s\"}}\n{{\"id\":\"c\",\"si")).unwrap();
        let (so_far, mut file) = take_up(&path).unwrap().unwrap();
        assert_eq!((so_far.twins, so_far.cursor.as_deref()), (2, Some("s/b")));
        file.write_all(b"next\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{LINE}{{\"id\":\"b\",\"site\":\"s\"}}\nnext\n"));
        assert!(take_up(&path).is_err(), "something else stands there");
        std::fs::write(&path, format!("{LINE}{{\"end\":true,\"twins\":1}}\n")).unwrap();
        assert!(take_up(&path).unwrap().is_none());
        assert!(create(&path).unwrap_err().to_string().contains("--resume"));
    }
}
