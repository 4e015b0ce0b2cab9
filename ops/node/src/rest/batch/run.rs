//! The task that works on one batch: the only one that knows its items.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::web::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use twin_cluster::Cluster;
use twin_core::command::Answer;
use twin_core::grain::Reply;
use twin_core::refusal::Refusal;

use super::super::problem::Problem;
use super::answers::{Answered, Answers};
use super::feed::Fed;
use super::item::{self, BadItem, Item};
use super::lines::{Line, Lines};
use super::result;
use super::stall::Stall;
use super::window::{Named, Steered, Window};
use crate::limits::{
    BATCH_IDLE_TIMEOUT, BATCH_LINE_BYTES_MAX, BATCH_LINGER, BATCH_PATIENCE, BATCH_RESULT_BYTES, REQUEST_BYTES,
    UNREAD_TIMEOUT,
};
use crate::metrics::BatchMetrics;

/// One batch.
pub(super) struct Batch {
    cluster: Cluster,
    metrics: BatchMetrics,
    closing: CancellationToken,
    chunks: Receiver<Fed>,
    results: Sender<Bytes>,
    answers: Arc<Answers>,
    /// Empty but for a moment; kept for its memory.
    taken: Vec<Answered>,
    lines: Lines,
    window: Window,
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

impl Batch {
    pub(super) fn new(
        cluster: Cluster,
        metrics: BatchMetrics,
        closing: CancellationToken,
        chunks: Receiver<Fed>,
        results: Sender<Bytes>,
    ) -> Self {
        let window = Window::new(metrics.in_flight.clone());
        Self {
            cluster,
            metrics,
            closing,
            chunks,
            results,
            answers: Arc::default(),
            taken: Vec::new(),
            lines: Lines::new(BATCH_LINE_BYTES_MAX),
            window,
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
            self.submit();
            self.write();
            let has_lines = self.lines.has_more();
            if !self.is_open && !has_lines && self.window.is_empty() && self.out.is_empty() {
                return;
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
            Ok(Answer::Steered { version, desired_version, steering_etag }) => {
                Ok(Steered { version, desired_version: desired_version.get(), etag: steering_etag })
            }
            Ok(other) => Err(Problem::internal(format!("the twin answered {other:?} to a change"))),
            Err(refusal) => {
                let now = Instant::now();
                let is_pressed = matches!(refusal, Refusal::Busy { .. } | Refusal::Unavailable { .. });
                let waits = is_pressed && !self.closing.is_cancelled() && self.stall.has_patience(now, BATCH_PATIENCE);
                match (&refusal, refusal.retry_after()) {
                    // Busy means that nothing was done.
                    (Refusal::Busy { .. }, Some(after)) if waits && !self.window.is_overtaken(item) => {
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
                Err(refusal.into())
            }
        };
        if outcome.is_ok() {
            self.stall.is_over();
        }
        self.window.finish(item, outcome);
    }

    /// Gives the items that the core was too busy for to it again.
    fn retry(&mut self) {
        if !self.stall.is_waiting() {
            return;
        }
        let now = Instant::now();
        for item in self.stall.take_due(now) {
            if self.stall.is_waiting() {
                // One before it was refused again.
                self.stall.add(item, now);
                continue;
            }
            let Some(text) = self.window.text(item) else { continue };
            let bytes = text.len();
            match item::parse(text) {
                Ok(read) => self.give(item, read, bytes),
                Err(BadItem { problem, .. }) => self.window.finish(item, Err(problem)),
            }
        }
    }

    /// Gives items to the core while there is room for them.
    fn submit(&mut self) {
        while self.takes_items() && self.lines.has_more() {
            if let Some((number, line)) = self.lines.next() {
                self.take_line(number, line);
            }
        }
    }

    fn takes_items(&self) -> bool {
        self.window.has_room() && !self.stall.is_waiting() && self.hold_until.is_none()
    }

    fn take_line(&mut self, number: u64, line: Line) {
        let text = match line {
            Line::Whole(text) => text,
            Line::TooLong(bytes) => {
                let detail = format!("the line has {bytes} bytes, the limit is {BATCH_LINE_BYTES_MAX}");
                let problem = Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail);
                let problem = problem.with_limit(BATCH_LINE_BYTES_MAX as u64);
                return self.window.push_refused(number, Named::Nobody, problem);
            }
        };
        if item::is_blank(&text) {
            return;
        }
        match item::parse(&text) {
            Ok(read) => {
                let item = self.window.push(number, read.twin.clone(), &text);
                self.give(item, read, text.len());
            }
            Err(BadItem { id, problem }) => {
                self.window.push_refused(number, id.map_or(Named::Nobody, Named::Text), problem);
            }
        }
    }

    fn give(&mut self, item: u64, Item { twin, command }: Item, bytes: usize) {
        self.answers.expect();
        let answers = Arc::clone(&self.answers);
        let reply = Reply::once(move |answer| answers.push(item, answer));
        self.cluster.submit(&twin, command, REQUEST_BYTES + bytes, reply);
        // Looked at before the next item is given: what is behind a refused one must not overtake it.
        if self.answers.take_pressure() {
            self.collect();
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
                    Ok(_) => self.metrics.count_ok(1),
                    Err(problem) => self.metrics.count_refused(problem.code()),
                }
                if !self.is_unread {
                    result::write(&finished, &mut self.out);
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
        tokio::select! {
            () = self.answers.some() => self.linger().await,
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

    /// Answers come many at a time: to send each on its own would cost more than the item.
    async fn linger(&self) {
        let until = Instant::now() + BATCH_LINGER;
        while self.answers.outstanding() > 0 && timeout_at(until, self.answers.all()).await.is_ok() {}
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
