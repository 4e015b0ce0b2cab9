//! The items of a batch that are under way, in the order of their lines.
//!
//! **Invariant:** results leave in the order of the lines, one each; and an item is given to its twin again only if no later
//! item of the same twin was given.

use std::collections::VecDeque;

use prometheus_client::metrics::gauge::Gauge;
use twin_core::ids::TwinId;

use super::super::problem::Problem;
use crate::limits::{BATCH_ITEM_BYTES, BATCH_WINDOW_BYTES_MAX, BATCH_WINDOW_ITEMS_MAX};

/// Whom a result line names.
#[derive(Debug)]
pub(super) enum Named {
    Twin(TwinId),
    /// What stood there as an id, but is none.
    Text(Box<str>),
    Nobody,
}

impl Named {
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Twin(twin) => Some(twin.as_str()),
            Self::Text(text) => Some(text),
            Self::Nobody => None,
        }
    }
}

/// What became of an item that was carried out.
#[derive(Debug)]
pub(super) struct Steered {
    pub(super) version: u64,
    pub(super) desired_version: u64,
    pub(super) etag: String,
    /// It was carried out before.
    pub(super) replayed: bool,
}

#[derive(Debug)]
enum State {
    /// Not given to the core, or the core was busy.
    Waiting(Box<[u8]>),
    /// Given to the core. The line is kept: should the core be busy, it is read again.
    UnderWay(Box<[u8]>),
    Finished(Result<Steered, Problem>),
}

/// One line that is not answered yet.
#[derive(Debug)]
struct Slot {
    line: u64,
    named: Named,
    bytes: usize,
    state: State,
}

/// A line and what became of it.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) line: u64,
    pub(super) named: Named,
    pub(super) outcome: Result<Steered, Problem>,
}

/// The items under way. Items have numbers, from 0, without gaps.
#[derive(Debug)]
pub(super) struct Window {
    first: u64,
    slots: VecDeque<Slot>,
    bytes: usize,
    in_flight: Gauge,
}

impl Window {
    /// `in_flight` counts items of all windows.
    pub(super) fn new(in_flight: Gauge) -> Self {
        Self { first: 0, slots: VecDeque::new(), bytes: 0, in_flight }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// May another line be taken?
    pub(super) fn has_room(&self) -> bool {
        self.slots.len() < BATCH_WINDOW_ITEMS_MAX && self.bytes < BATCH_WINDOW_BYTES_MAX
    }

    /// An item that is to be given to its twin; its number.
    pub(super) fn push(&mut self, line: u64, twin: TwinId, text: &[u8]) -> u64 {
        self.add(line, Named::Twin(twin), text.len(), State::Waiting(text.into()))
    }

    /// It is given to its twin now.
    pub(super) fn given(&mut self, item: u64) {
        if let Some(slot) = self.slot(item)
            && let State::Waiting(text) = &mut slot.state
        {
            slot.state = State::UnderWay(std::mem::take(text));
        }
    }

    /// The core was too busy for it: it waits again.
    pub(super) fn not_taken(&mut self, item: u64) {
        if let Some(slot) = self.slot(item)
            && let State::UnderWay(text) = &mut slot.state
        {
            slot.state = State::Waiting(std::mem::take(text));
        }
    }

    /// A line that asks for nothing that can be done.
    pub(super) fn push_refused(&mut self, line: u64, named: Named, problem: Problem) {
        self.add(line, named, 0, State::Finished(Err(problem.shortened())));
    }

    fn add(&mut self, line: u64, named: Named, text_bytes: usize, state: State) -> u64 {
        let bytes = text_bytes + BATCH_ITEM_BYTES;
        self.bytes += bytes;
        self.slots.push_back(Slot { line, named, bytes, state });
        self.in_flight.inc();
        self.first + (self.slots.len() - 1) as u64
    }

    fn slot(&mut self, item: u64) -> Option<&mut Slot> {
        self.slots.get_mut(item.checked_sub(self.first)? as usize)
    }

    pub(super) fn finish(&mut self, item: u64, outcome: Result<Steered, Problem>) {
        if let Some(slot) = self.slot(item) {
            slot.state = State::Finished(outcome.map_err(Problem::shortened));
        }
    }

    /// The line of an item that is not finished.
    pub(super) fn text(&mut self, item: u64) -> Option<&[u8]> {
        match &self.slot(item)?.state {
            State::Waiting(text) | State::UnderWay(text) => Some(text),
            State::Finished(_) => None,
        }
    }

    /// Would giving the item to its twin again put it behind a later one?
    pub(super) fn is_overtaken(&self, item: u64) -> bool {
        let at = item.saturating_sub(self.first) as usize;
        let mut from_here = self.slots.iter().skip(at);
        let twin = from_here.next().and_then(|slot| slot.named.as_str());
        from_here.any(|later| later.named.as_str() == twin && !matches!(later.state, State::Waiting(_)))
    }

    /// The next result in order, once it is known.
    pub(super) fn pop(&mut self) -> Option<Finished> {
        if !matches!(self.slots.front()?.state, State::Finished(_)) {
            return None;
        }
        let Slot { line, named, bytes, state } = self.slots.pop_front()?;
        self.first += 1;
        self.bytes -= bytes;
        self.in_flight.dec();
        match state {
            State::Finished(outcome) => Some(Finished { line, named, outcome }),
            State::Waiting(_) | State::UnderWay(_) => None,
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        while self.slots.pop_front().is_some() {
            self.in_flight.dec();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn twin(id: &str) -> TwinId {
        TwinId::new(id).unwrap()
    }

    fn done() -> Steered {
        Steered { version: 1, desired_version: 1, etag: String::new(), replayed: false }
    }

    #[test]
    fn results_leave_in_the_order_of_the_lines() {
        let gauge = Gauge::default();
        let mut window = Window::new(gauge.clone());
        let items: Vec<u64> = ["a", "b", "c"].iter().zip(1..).map(|(id, n)| window.push(n, twin(id), b"x")).collect();
        window.push_refused(9, Named::Nobody, Problem::internal("x"));
        assert_eq!((items.clone(), gauge.get()), (vec![0, 1, 2], 4));
        window.finish(items[1], Ok(done()));
        assert!(window.pop().is_none(), "the first is not known yet");
        window.finish(items[0], Ok(done()));
        let lines: Vec<u64> = std::iter::from_fn(|| window.pop()).map(|finished| finished.line).collect();
        assert_eq!(lines, [1, 2]);
        assert_eq!(window.text(items[2]), Some(&b"x"[..]));
        window.finish(items[2], Ok(done()));
        assert_eq!(std::iter::from_fn(|| window.pop()).map(|finished| finished.line).collect::<Vec<_>>(), [3, 9]);
        assert_eq!((window.bytes, gauge.get()), (0, 0));
    }

    #[test]
    fn it_is_full_by_items_and_by_bytes_and_gives_its_count_back() {
        let gauge = Gauge::default();
        let mut window = Window::new(gauge.clone());
        let mut items = 0;
        while window.has_room() {
            window.push(1, twin("a"), b"{}");
            items += 1;
        }
        assert_eq!(items, BATCH_WINDOW_ITEMS_MAX);
        drop(window);
        assert_eq!(gauge.get(), 0);
        let mut window = Window::new(gauge);
        let text = vec![b' '; 64 * 1024];
        while window.has_room() {
            window.push(1, twin("a"), &text);
        }
        assert!(window.bytes < BATCH_WINDOW_BYTES_MAX + text.len() + BATCH_ITEM_BYTES);
    }

    #[test]
    fn an_item_is_overtaken_by_a_later_one_of_its_twin_only() {
        let mut window = Window::new(Gauge::default());
        let items: Vec<u64> = ["a", "b", "a"].iter().map(|id| window.push(1, twin(id), b"x")).collect();
        window.given(items[0]);
        assert!(!window.is_overtaken(items[0]), "the later one was not given");
        window.given(items[2]);
        assert!(window.is_overtaken(items[0]));
        window.not_taken(items[2]);
        assert!(!window.is_overtaken(items[0]));
        window.given(items[2]);
        window.finish(items[2], Ok(done()));
        assert!(window.is_overtaken(items[0]));
        assert!(!window.is_overtaken(items[1]));
        assert!(!window.is_overtaken(items[2]));
    }
}
