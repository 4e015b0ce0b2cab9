//! What all parts of a gateway share: the state behind one lock, and whom to wake when it changed.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use twin_core::clock::Clock;
use twin_transports::entropy::Entropy;

use crate::core::Core;
use crate::core::twin::Told;
use crate::method::Methods;
use crate::options::TraceBatch;
use crate::outbox::dictionary::Dictionary;
use crate::outbox::format::Class;
use crate::readings::Readings;
use crate::receipt::NotAcked;

/// Shared by the handle, the session and the writer.
pub(crate) struct Shared {
    pub(crate) core: Mutex<Core>,
    /// Readings under way, apart from the rest: they are many, and touch none of it.
    pub(crate) readings: Mutex<Readings>,
    /// The outbox's paths by number: the state's, for those who encode and send without its lock.
    pub(crate) dictionary: Arc<RwLock<Dictionary>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) trace_batch: Option<TraceBatch>,
    pub(crate) methods: Methods,
    /// Wakes the writer.
    pub(crate) writer_wake: Condvar,
    /// Something to send on the state stream.
    pub(crate) state_wake: Notify,
    /// Something to send on the telemetry stream.
    pub(crate) event_wake: Notify,
    /// Something to send on the stream of alarms.
    pub(crate) alarm_wake: Notify,
    /// Something to send on the stream of readings.
    pub(crate) readings_wake: Notify,
    /// Something to send on the control stream.
    pub(crate) control_wake: Notify,
    /// A desired change for the application.
    pub(crate) desired_wake: Notify,
    /// The outbox has room, or is empty.
    pub(crate) room_wake: Notify,
    /// The gateway is to stop.
    pub(crate) stop: CancellationToken,
}

/// Whom to wake. Collected under the lock, carried out after it.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "a set of independent parties")]
pub(crate) struct Wakes {
    pub(crate) writer: bool,
    pub(crate) state: bool,
    pub(crate) event: bool,
    pub(crate) alarm: bool,
    pub(crate) control: bool,
    pub(crate) desired: bool,
    pub(crate) room: bool,
}

impl Wakes {
    /// Whoever sends this class.
    pub(crate) fn of(&mut self, class: Class) {
        match class {
            Class::State => self.state = true,
            Class::Event => self.event = true,
            Class::Alarm => self.alarm = true,
        }
    }
}

impl Shared {
    pub(crate) fn new(
        core: Core,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        trace_batch: Option<TraceBatch>,
    ) -> Self {
        Self {
            dictionary: Arc::clone(&core.dictionary),
            core: Mutex::new(core),
            readings: Mutex::default(),
            clock,
            entropy,
            trace_batch,
            methods: Methods::new(),
            writer_wake: Condvar::new(),
            state_wake: Notify::new(),
            event_wake: Notify::new(),
            alarm_wake: Notify::new(),
            readings_wake: Notify::new(),
            control_wake: Notify::new(),
            desired_wake: Notify::new(),
            room_wake: Notify::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Asks again whenever there may be room, until there is an answer.
    pub(crate) async fn until<T, E>(
        &self,
        mut ask: impl FnMut(&mut Core, Duration) -> Option<Result<T, E>>,
    ) -> Result<T, E> {
        // There is room almost always.
        if let Some(answer) = self.with(&mut ask) {
            return answer;
        }
        loop {
            let mut notified = std::pin::pin!(self.room_wake.notified());
            // Registered before asking, so that nothing is missed in between.
            notified.as_mut().enable();
            if let Some(answer) = self.with(&mut ask) {
                return answer;
            }
            notified.await;
        }
    }

    /// Gives an input to the state, at the present monotonic time.
    pub(crate) fn with<R>(&self, step: impl FnOnce(&mut Core, Duration) -> R) -> R {
        let now = self.clock.monotonic();
        let mut core = self.core.lock();
        let result = step(&mut core, now);
        let mut wakes = std::mem::take(&mut core.wakes);
        // What nobody waits for is found when the writer looks next; it need not look at once.
        wakes.writer &= core.writes.is_overslept(core.has_lazy_writes());
        let kept = core.chunks.take_kept();
        drop(core);
        self.wake(wakes);
        for promise in kept {
            promise.finish(Ok(()));
        }
        result
    }

    /// What became of a message.
    pub(crate) async fn told(&self, told: Told) -> Result<(), NotAcked> {
        tokio::select! {
            fate = told => fate.unwrap_or(Err(NotAcked::ShutDown)),
            () = self.stop.cancelled() => Err(NotAcked::ShutDown),
        }
    }

    fn wake(&self, wakes: Wakes) {
        if wakes.writer {
            self.writer_wake.notify_one();
        }
        if wakes.state {
            self.state_wake.notify_one();
        }
        if wakes.event {
            self.event_wake.notify_one();
        }
        if wakes.alarm {
            self.alarm_wake.notify_one();
        }
        if wakes.control {
            self.control_wake.notify_one();
        }
        if wakes.desired {
            self.desired_wake.notify_one();
        }
        if wakes.room {
            self.room_wake.notify_waiters();
        }
    }

    /// The disk failed: nothing more is promised, and nobody waits for it.
    pub(crate) fn fail(&self) {
        self.stop.cancel();
        self.room_wake.notify_waiters();
        self.desired_wake.notify_waiters();
    }
}
