//! The task that works on one batch: the only one that knows its items.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::web::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::{CancellationToken, PollSemaphore};
use twin_cluster::Cluster;
use twin_core::command::Answer;
use twin_core::grain::Reply;
use twin_core::refusal::Refusal;
use twin_storage::Budgets;
use twin_transports::server::Submission;

use super::super::Rest;
use super::super::problem::Problem;
use super::answers::{Answered, Answers, Chunk};
use super::feed::Fed;
use super::item;
use super::job::{BadItem, Item, Job};
use super::lines::{Line, Lines};
use super::pace::Pace;
use super::result;
use super::stall::Stall;
use super::tally::Tally;
use super::window::{Named, Window};
use crate::limits::{
    BATCH_CHUNK_ITEMS_MAX, BATCH_IDLE_TIMEOUT, BATCH_PATIENCE, BATCH_RESULT_BYTES, REQUEST_BYTES, UNREAD_TIMEOUT,
};
use crate::metrics::{BatchMetrics, ItemCounts};

/// An item that can be given to the core.
struct Ready {
    item: u64,
    read: Item,
    line_bytes: usize,
}

/// One batch.
pub(super) struct Batch<J: Job> {
    job: J,
    cluster: Cluster,
    budgets: Arc<Budgets>,
    metrics: BatchMetrics,
    counts: ItemCounts,
    tally: Tally,
    closing: CancellationToken,
    chunks: Receiver<Fed>,
    results: Sender<Bytes>,
    answers: Arc<Answers>,
    /// Empty but for a moment; kept for its memory.
    taken: Vec<Answered>,
    lines: Lines,
    window: Window<J::Outcome>,
    /// Items that are read and not given to the core, in their order: a chunk at most, and those that the core was too busy for.
    ready: VecDeque<Ready>,
    pace: Arc<Pace>,
    /// This batch's place among those that wait for room.
    room: PollSemaphore,
    /// For how many items it waits there.
    wanted: Option<u32>,
    /// Room for a chunk.
    granted: Option<OwnedSemaphorePermit>,
    stall: Stall,
    /// No leader: nothing is given to the core before there is one, or the wait is over.
    hold_until: Option<Instant>,
    /// The body may have more.
    is_open: bool,
    /// Until when the next part of the body must come, while it is waited for.
    idle_at: Option<Instant>,
    out: Vec<u8>,
    /// Until when `out` must have been taken, while it is not.
    unread_at: Option<Instant>,
    /// Nobody is there to read results. What was sent is carried out all the same.
    is_unread: bool,
}

impl<J: Job> Batch<J> {
    pub(super) fn new(
        job: J,
        rest: &Rest,
        (counts, tally): (ItemCounts, Tally),
        chunks: Receiver<Fed>,
        results: Sender<Bytes>,
    ) -> Self {
        let (metrics, pace) = (rest.metrics.batches.clone(), Arc::clone(&rest.pace));
        let window = Window::new(J::OUTCOME_BYTES_MAX, metrics.in_flight.clone());
        Self {
            job,
            cluster: rest.cluster.clone(),
            budgets: Arc::clone(&rest.budgets),
            metrics,
            counts,
            tally,
            closing: rest.closing.clone(),
            chunks,
            results,
            answers: Arc::default(),
            taken: Vec::new(),
            lines: Lines::new(J::LINE_BYTES_MAX),
            window,
            ready: VecDeque::new(),
            room: PollSemaphore::new(pace.room()),
            pace,
            wanted: None,
            granted: None,
            stall: Stall::default(),
            hold_until: None,
            is_open: true,
            idle_at: None,
            out: Vec::new(),
            unread_at: None,
            is_unread: false,
        }
    }

    /// Until everything is answered, or nobody reads the answer.
    pub(super) async fn run(mut self) {
        loop {
            self.collect();
            self.retry();
            self.read();
            let has_given = self.give();
            self.write();
            let has_lines = self.lines.has_more();
            if !self.is_open && !has_lines && self.window.is_empty() && self.out.is_empty() {
                return;
            }
            if has_given {
                // A chunk is some work for this thread, and others wait for it.
                tokio::task::yield_now().await;
                continue;
            }
            // What was sent made room: nobody else would wake this up for lines that are here already.
            let has_more_to_do = has_lines && self.takes_items();
            if !has_more_to_do && !self.wait().await {
                tracing::warn!(timeout_s = UNREAD_TIMEOUT.as_secs(), "a batch ends, as its results are not read");
                return;
            }
        }
    }

    /// Puts what the core answered into the window.
    fn collect(&mut self) {
        let mut taken = std::mem::take(&mut self.taken);
        self.answers.take(&mut taken);
        for (item, answer) in taken.drain(..) {
            self.settle(item, answer);
        }
        self.taken = taken;
    }

    fn settle(&mut self, item: u64, answer: Result<Answer, Refusal>) {
        let outcome = match answer {
            Ok(answer) => self.job.settle(answer),
            Err(refusal) => {
                let now = Instant::now();
                let is_pressed = matches!(refusal, Refusal::Busy { .. } | Refusal::Unavailable { .. });
                // Room on a disk is made by people: who sends one change is told at once, and so is who sends many.
                let will_pass = !self.closing.is_cancelled() && !self.budgets.disk_is_full();
                let waits = is_pressed && will_pass && self.stall.has_patience(now, BATCH_PATIENCE);
                match (&refusal, refusal.retry_after()) {
                    // Busy means that nothing was done.
                    (Refusal::Busy { .. }, Some(after)) if waits && !self.window.is_overtaken(item) => {
                        self.window.not_taken(item);
                        if self.stall.add(item, now + after) {
                            self.metrics.stalls.inc();
                        }
                        return;
                    }
                    // This one's outcome may be unknown, so it is the client's to try again; but the next ones can wait.
                    (Refusal::Unavailable { .. }, _) if waits => self.hold_until = Some(now + BATCH_PATIENCE),
                    _ => {}
                }
                if !is_pressed {
                    self.stall.is_over();
                }
                Err(self.job.refused(refusal))
            }
        };
        let mut outcome_bytes = 0;
        if let Ok(outcome) = &outcome {
            self.stall.is_over();
            outcome_bytes = self.job.weigh(outcome);
        }
        self.window.finish(item, outcome, outcome_bytes);
    }

    /// Makes ready what the core was too busy for, before all that came later.
    fn retry(&mut self) {
        if !self.stall.is_waiting() {
            return;
        }
        for item in self.stall.take_due(Instant::now()).into_iter().rev() {
            let Some(text) = self.window.text(item) else { continue };
            let line_bytes = text.len();
            match self.job.read(text) {
                Ok(Some(read)) => self.ready.push_front(Ready { item, read, line_bytes }),
                // It was read before.
                Ok(None) => self.window.finish(item, Err(Problem::internal("a line means something else now")), 0),
                Err(BadItem { problem, .. }) => self.window.finish(item, Err(problem), 0),
            }
        }
    }

    /// Reads items while there is room for them.
    fn read(&mut self) {
        while self.takes_items() && self.lines.has_more() {
            if let Some((number, line)) = self.lines.next() {
                self.take_line(number, line);
            }
        }
    }

    /// May items be given to the core now?
    fn may_give(&self) -> bool {
        !self.ready.is_empty() && !self.stall.is_waiting() && self.hold_until.is_none()
    }

    /// Gives a chunk to the core, if there is one and it is its turn. Whether it did.
    fn give(&mut self) -> bool {
        if !self.may_give() {
            // Others can use it meanwhile.
            self.granted = None;
            return false;
        }
        let Some(room) = self.granted.take().or_else(|| self.room_now()) else { return false };
        let items = self.ready.len().min(room.num_permits());
        let given: Vec<Ready> = self.ready.drain(..items).collect();
        let turn = self.pace.begin(room);
        let chunk = Chunk::new(given.iter().map(|ready| ready.item).collect(), turn, &self.answers);
        let submissions = given.into_iter().zip(0..).map(|(Ready { item, read, line_bytes }, index)| {
            self.window.given(item);
            let Item { twin, command } = read;
            Submission { twin, command, bytes: REQUEST_BYTES + line_bytes, reply: Reply::shared(chunk.clone(), index) }
        });
        self.cluster.submit_all(submissions.collect());
        // Looked at before the next item is given: what is behind a refused one must not overtake it.
        if self.answers.take_pressure() {
            self.collect();
        }
        true
    }

    /// Room for the chunk that is ready, if nobody waits for it.
    fn room_now(&mut self) -> Option<OwnedSemaphorePermit> {
        if self.wanted.is_some() {
            return None;
        }
        let items = self.ready.len().min(BATCH_CHUNK_ITEMS_MAX) as u32;
        let room = self.pace.room().try_acquire_many_owned(items).ok();
        if room.is_none() {
            self.wanted = Some(items);
        }
        room
    }

    fn takes_items(&self) -> bool {
        self.window.has_room()
            && self.ready.len() < BATCH_CHUNK_ITEMS_MAX
            && !self.stall.is_waiting()
            && self.hold_until.is_none()
    }

    fn take_line(&mut self, number: u64, line: Line) {
        let text = match line {
            Line::Whole(text) => text,
            Line::TooLong(bytes) => {
                let detail = format!("the line has {bytes} bytes, the limit is {}", J::LINE_BYTES_MAX);
                let problem = Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail);
                let problem = problem.with_limit(J::LINE_BYTES_MAX as u64);
                return self.window.push_refused(number, Named::Nobody, problem);
            }
        };
        if item::is_blank(&text) {
            return;
        }
        match self.job.read(&text) {
            Ok(None) => {}
            Ok(Some(read)) => {
                let item = self.window.push(number, read.twin.clone(), &text);
                self.ready.push_back(Ready { item, read, line_bytes: text.len() });
            }
            Err(BadItem { id, problem }) => {
                self.window.push_refused(number, id.map_or(Named::Nobody, Named::Text), problem);
            }
        }
    }

    /// Sends what is finished, as far as it is taken. The rest stays in the window, which may fill up meanwhile: so a client that
    /// sends no more than a window holds may send it all before it reads.
    fn write(&mut self) {
        loop {
            while self.out.len() < BATCH_RESULT_BYTES
                && let Some(finished) = self.window.pop()
            {
                match &finished.outcome {
                    Ok(_) => {
                        self.tally.done += 1;
                        self.counts.count_ok(1);
                    }
                    Err(problem) => {
                        self.tally.refused += 1;
                        self.counts.count_refused(problem.code());
                    }
                }
                if !self.is_unread {
                    result::write(&self.job, &finished, &mut self.out);
                }
            }
            if self.out.is_empty() {
                return;
            }
            match self.results.try_reserve() {
                Ok(place) => {
                    place.send(std::mem::take(&mut self.out).into());
                    self.unread_at = None;
                }
                Err(TrySendError::Full(())) => {
                    self.unread_at.get_or_insert_with(|| Instant::now() + UNREAD_TIMEOUT);
                    return;
                }
                Err(TrySendError::Closed(())) => {
                    self.is_unread = true;
                    self.unread_at = None;
                    self.out.clear();
                }
            }
        }
    }

    /// Waits until there is something to do. `false`: for too long nobody read.
    async fn wait(&mut self) -> bool {
        // Nothing is read that there is no room for: this is what holds a client back.
        let reads = self.is_open && !self.lines.has_more() && self.takes_items();
        let now = Instant::now();
        self.idle_at = reads.then(|| self.idle_at.unwrap_or(now + BATCH_IDLE_TIMEOUT));
        let (idle_at, retry_at, hold_until) = (self.idle_at, self.stall.retry_at(), self.hold_until);
        let unread_at = self.unread_at;
        let wanted = self.wanted.filter(|_| self.granted.is_none());
        tokio::select! {
            () = self.answers.some() => {}
            // Dropped and polled again it keeps its place.
            room = poll_fn(|context| self.room.poll_acquire_many(context, wanted.unwrap_or(1))), if wanted.is_some() => {
                self.granted = room;
                self.wanted = None;
            }
            fed = self.chunks.recv(), if reads => self.take(fed),
            // There is room for results, or nobody to read them: either is found out by trying.
            () = async { drop(self.results.reserve().await) }, if unread_at.is_some() => {}
            () = sleep_until(unread_at.unwrap_or(now)), if unread_at.is_some() => return false,
            () = sleep_until(idle_at.unwrap_or(now)), if idle_at.is_some() => {
                let detail = format!("the rest of the line did not arrive within {} s", BATCH_IDLE_TIMEOUT.as_secs());
                self.close(Some(Problem::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", detail)));
            }
            () = sleep_until(retry_at.unwrap_or(now)), if retry_at.is_some() => {}
            _ = timeout_at(hold_until.unwrap_or(now), self.cluster.ready()), if hold_until.is_some() => {
                self.hold_until = None;
            }
            () = self.closing.cancelled(), if self.is_open => {
                let problem = Refusal::Unavailable {
                    message: "the node is stopping".to_owned(),
                    retry_after_ms: BATCH_PATIENCE.as_millis() as u64,
                };
                self.close(Some(problem.into()));
            }
        }
        true
    }

    fn take(&mut self, fed: Option<Fed>) {
        self.idle_at = None;
        match fed {
            Some(Fed::Chunk(chunk)) => self.lines.push(chunk),
            Some(Fed::End) => self.close(None),
            Some(Fed::Broken(why)) => {
                self.close(Some(Problem::bad_request(
                    "broken-body",
                    format!("the body broke off in this line: {why}"),
                )));
            }
            None => self.close(Some(Problem::bad_request("broken-body", "the body broke off in this line"))),
        }
    }

    /// Nothing more is read. What is not yet a whole line is the last item if the body is complete, and otherwise refused: nobody
    /// knows what would have stood there.
    fn close(&mut self, broken: Option<Problem>) {
        self.is_open = false;
        self.chunks.close();
        if self.lines.has_more() {
            // Whole lines wait, and the node is stopping.
            return;
        }
        match (self.lines.last(), broken) {
            (None, _) => {}
            (Some((number, line)), None) => self.take_line(number, line),
            (Some((_, Line::Whole(text))), Some(_)) if item::is_blank(&text) => {}
            (Some((number, _)), Some(problem)) => self.window.push_refused(number, Named::Nobody, problem),
        }
    }
}
