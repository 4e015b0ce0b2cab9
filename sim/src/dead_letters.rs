//! The dead letters of a gateway that does not run: for its owner.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use twin_core::command::StateBody;
use twin_core::json::to_compact;
use twin_core::op::Op;
use twin_gateway::limits::DEAD_LETTERS_PAGE_MAX;
use twin_gateway::{
    Body, Class, DeadLetter, DeadLetterId, Gateway, ListedDeadLetter, OUTBOX_FILE, Outlook, ReplayError,
};

use crate::handled::{Handled, HandledError, How};
use crate::replay::is_replays;

/// What is to be done with them.
#[derive(Clone, Debug)]
pub enum Task {
    /// One a line; `json`: as an object, with what it says.
    List {
        /// As JSON?
        json: bool,
    },
    /// These, or all that it can help.
    Replay(Chosen),
    /// These, or all.
    Discard(Chosen),
}

/// Some of them.
#[derive(Clone, Debug)]
pub enum Chosen {
    /// All.
    All,
    /// These.
    These(Vec<DeadLetterId>),
}

/// Carries it out on the outbox in this folder, and tells `out`. Call it within a tokio runtime.
pub async fn run(state_dir: PathBuf, task: Task, out: &mut dyn Write) -> anyhow::Result<()> {
    if !state_dir.join(OUTBOX_FILE).exists() {
        bail!("there is no {OUTBOX_FILE} in {}: give the state directory of a gateway", state_dir.display());
    }
    let gateway = Gateway::open_outbox(&state_dir)?;
    let done = carry_out(&gateway, &state_dir, task, out).await;
    gateway.shutdown().await;
    done
}

async fn carry_out(gateway: &Gateway, state_dir: &Path, task: Task, out: &mut dyn Write) -> anyhow::Result<()> {
    let handles = !matches!(task, Task::List { .. });
    let done = handle(gateway, state_dir, task, out).await;
    if handles {
        note_those_left(gateway, state_dir)?;
    }
    done
}

async fn handle(gateway: &Gateway, state_dir: &Path, task: Task, out: &mut dyn Write) -> anyhow::Result<()> {
    match task {
        Task::List { json } => list(gateway, json, out)?,
        Task::Replay(Chosen::All) => {
            let open = all_dead_letters(gateway).filter(|listed| listed.outlook == Outlook::Open);
            note(state_dir, open, How::Replayed)?;
            let replayed = gateway.replay_dead_letters().await?;
            writeln!(
                out,
                "replayed={} outdated={} useless={}",
                replayed.receipts.len(),
                replayed.outdated,
                replayed.useless
            )?;
            if let Some(error) = replayed.stopped {
                bail!("the rest is left: {error}");
            }
        }
        Task::Replay(Chosen::These(ids)) => {
            note(state_dir, those(gateway, &ids), How::Replayed)?;
            let (mut replayed, mut failed) = (0, None);
            for id in ids {
                match gateway.replay_dead_letter(id).await {
                    Ok(_) => replayed += 1,
                    Err(error @ ReplayError::Disk(_)) => return Err(error.into()),
                    Err(ReplayError::NotReplayed(error)) => {
                        eprintln!("twin-sim: {error}");
                        failed = Some(error);
                    }
                }
            }
            writeln!(out, "replayed={replayed}")?;
            if failed.is_some() {
                bail!("some were not replayed");
            }
        }
        Task::Discard(chosen) => {
            let ids = match chosen {
                Chosen::These(ids) => ids,
                Chosen::All => all_dead_letters(gateway).map(|listed| listed.id).collect(),
            };
            note(state_dir, those(gateway, &ids), How::Discarded)?;
            let discarded = gateway.discard_dead_letters(&ids).await?;
            writeln!(out, "discarded={discarded}")?;
            if discarded < ids.len() as u64 {
                bail!("{} of them are not there", ids.len() as u64 - discarded);
            }
        }
    }
    let backlog = gateway.status().backlog_messages;
    if backlog > 0 {
        eprintln!("twin-sim: {backlog} messages in {} go when the gateway runs again", state_dir.display());
    }
    Ok(())
}

/// Those of these that are there.
fn those(gateway: &Gateway, ids: &[DeadLetterId]) -> impl Iterator<Item = ListedDeadLetter> {
    let ids: HashSet<DeadLetterId> = ids.iter().copied().collect();
    all_dead_letters(gateway).filter(move |listed| ids.contains(&listed.id))
}

/// Where the folder is a replay's, which counts its rows: notes what is about to be done.
fn note(state_dir: &Path, letters: impl Iterator<Item = ListedDeadLetter>, how: How) -> Result<(), HandledError> {
    if !is_replays(state_dir) {
        return Ok(());
    }
    let mut handled = Handled::load(state_dir)?;
    for ListedDeadLetter { id, letter, .. } in letters {
        handled.note(id.number(), &letter, how);
    }
    handled.save(state_dir)
}

/// What is still there was not handled after all.
fn note_those_left(gateway: &Gateway, state_dir: &Path) -> Result<(), HandledError> {
    if !is_replays(state_dir) {
        return Ok(());
    }
    let mut handled = Handled::load(state_dir)?;
    all_dead_letters(gateway).for_each(|listed| handled.forget(listed.id.number()));
    handled.save(state_dir)
}

/// All of them, page by page.
pub(crate) fn all_dead_letters(gateway: &Gateway) -> impl Iterator<Item = ListedDeadLetter> {
    let (mut after, mut more) = (None, true);
    std::iter::from_fn(move || {
        if !more {
            return None;
        }
        let page = gateway.dead_letter_page(after, DEAD_LETTERS_PAGE_MAX);
        more = page.more;
        after = page.letters.last().map(|listed| listed.id).or(after);
        Some(page.letters)
    })
    .flatten()
}

fn list(gateway: &Gateway, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    for ListedDeadLetter { id, letter, outlook } in all_dead_letters(gateway) {
        let line = if json { object(id, &letter, outlook).to_string() } else { line(id, &letter, outlook) };
        match writeln!(out, "{line}") {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("cannot write the list")?,
        }
    }
    let dropped = gateway.status().dead_letters_dropped;
    if dropped > 0 {
        eprintln!("twin-sim: {dropped} older ones were dropped for room");
    }
    Ok(())
}

const fn class(letter: &DeadLetter) -> &'static str {
    match letter.class {
        Class::State => "state",
        Class::Alarm => "alarm",
        Class::Event => "event",
    }
}

const fn outlook_word(outlook: Outlook) -> &'static str {
    match outlook {
        Outlook::Open => "open",
        Outlook::Outdated => "outdated",
        Outlook::None(_) => "useless",
    }
}

fn line(id: DeadLetterId, letter: &DeadLetter, outlook: Outlook) -> String {
    let DeadLetter { twin, code, message, .. } = letter;
    format!("{id}\t{twin}\t{}\t{}\t{code}\t{message}", class(letter), outlook_word(outlook))
}

fn object(id: DeadLetterId, letter: &DeadLetter, outlook: Outlook) -> Value {
    json!({
        "id": id.to_string(),
        "twin": letter.twin.as_str(),
        "class": class(letter),
        "stay": { "boot": letter.stay.boot.get(), "counter": letter.stay.counter },
        "first": letter.first.get(),
        "last": letter.last.get(),
        "code": letter.code,
        "message": letter.message,
        "outlook": outlook_word(outlook),
        "why": if let Outlook::None(why) = outlook { Some(why) } else { None },
        "body": letter.body.as_ref().map(body),
    })
}

/// A value of ours as one of `serde_json`'s.
fn plain(value: &twin_core::value::Value) -> Value {
    serde_json::from_str(&to_compact(value)).unwrap_or_default()
}

fn body(body: &Body) -> Value {
    match body {
        Body::Event(name, payload) => json!({ "event": name, "payload": plain(payload) }),
        Body::State(StateBody::Report(ops)) => json!({ "report": ops.iter().map(op).collect::<Vec<_>>() }),
        Body::State(StateBody::DesiredApplied(version)) => json!({ "desiredApplied": version.get() }),
        Body::State(StateBody::DesiredRejected { path, version, reason }) => {
            json!({ "desiredRejected": { "path": path.to_string(), "version": version.get(), "reason": reason } })
        }
        Body::State(StateBody::Lost) | Body::Alarm(None) => json!("lost"),
        Body::Alarm(Some(alarm)) => {
            json!({ "alarm": alarm.name, "severity": alarm.severity.name(), "payload": plain(&alarm.payload) })
        }
    }
}

fn op(op: &Op) -> Value {
    match op {
        Op::Set { path, value } => json!({ "set": path.to_string(), "value": plain(value) }),
        Op::Replace { path, value } => json!({ "replace": path.to_string(), "value": plain(value) }),
        Op::Remove { path } => json!({ "remove": path.to_string() }),
    }
}
