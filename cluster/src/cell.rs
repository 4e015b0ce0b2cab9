//! A cell: the group that stores the twins of some sites, and the grains on its leader.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::runtime::Handle;
use twin_core::command::Command;
use twin_core::event::{Outbound, OutboundKind};
use twin_core::grain::{Change, Done, Owner, Reply, Ticket};
use twin_core::ids::TwinId;
use twin_core::numbers::{Floor, OwnerOrder, WallTime};
use twin_core::once::OwnerTime;
use twin_core::refusal::Refusal;
use twin_core::rows::RowKind;
use twin_storage::RowChange;
use twin_storage::families::home_slot::HomeSlot;
use twin_storage::families::{
    Family, home, home_slot, site_twin, twin_alarms, twin_desired, twin_head, twin_hot, twin_marks,
};
use twin_storage::{Budgets, GroupReader};
use twin_transports::credit::Load;
use twin_transports::server::Submission;

use crate::admission::{Admission, Admitted, out_of};
use crate::committed_read::or_committed;
use crate::grains::{Grains, Shared, sampled_span};
use crate::lead::{Generation, Host, Lead};
use crate::limits::{RETRY_BUSY_MS, RETRY_UNAVAILABLE_MS};
use crate::observers::Observers;
use crate::rows::{HomeSlotRow, decode, encode};
use crate::slots::Floors;
use crate::stall::disk_full;
use crate::stats::Counters;

/// The refusal of whatever waited when its owner changed, or came while there was none.
pub fn owner_changed() -> Refusal {
    Refusal::Unavailable {
        message: "no owner is ready for the twin at the moment".into(),
        retry_after_ms: RETRY_UNAVAILABLE_MS,
    }
}

/// A cell on this node.
pub struct Cell {
    me: Weak<Self>,
    reader: GroupReader,
    /// Number of the running generation; 0: none. What is checked under the locks of the grains' table.
    generation: AtomicU64,
    term: AtomicU64,
    tenure: RwLock<Option<Arc<Tenure>>>,
    grains: Grains,
    floors: Floors,
    observers: Arc<Observers>,
    admission: Arc<Admission>,
    budgets: Arc<Budgets>,
    counters: Arc<Counters>,
    runtime: Handle,
    ready: tokio::sync::watch::Sender<bool>,
}

impl Cell {
    /// A cell without a leader yet.
    pub fn new(
        reader: GroupReader,
        runtime: &Handle,
        grains: Grains,
        observers: Arc<Observers>,
        admission: Arc<Admission>,
        budgets: Arc<Budgets>,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            reader,
            generation: AtomicU64::default(),
            term: AtomicU64::default(),
            tenure: RwLock::new(None),
            grains,
            floors: Floors::default(),
            observers,
            admission,
            budgets,
            counters,
            runtime: runtime.clone(),
            ready: tokio::sync::watch::Sender::new(false),
        })
    }

    /// The table of grains.
    pub fn grains(&self) -> &Grains {
        &self.grains
    }

    /// Bytes admitted now.
    pub fn admitted_bytes(&self) -> usize {
        self.admission.admitted_bytes()
    }

    /// How full the fullest of the budgets is by which [`Self::submit_all`] admits.
    pub fn load(&self) -> Load {
        let (budget_bytes, admitted_permille) = self.admission.load();
        Load { budget_bytes, fill_permille: admitted_permille.max(self.budgets.fill_permille()) }
    }

    /// Committed rows.
    pub fn reader(&self) -> &GroupReader {
        &self.reader
    }

    /// Term of the running generation, or of the last.
    pub fn term(&self) -> u64 {
        self.term.load(Ordering::Relaxed)
    }

    /// True while commands can be carried out.
    pub fn readiness(&self) -> tokio::sync::watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Gives a command to a twin, if the budgets allow.
    pub fn submit(&self, twin: &TwinId, command: Command, bytes: usize, reply: Reply) {
        let claim = Claim::of(&command);
        self.submit_as(claim, twin, command, bytes, reply);
    }

    /// As [`Self::submit`], for what alarms wait for: it may use the share that is kept for them.
    pub fn submit_urgent(&self, twin: &TwinId, command: Command, bytes: usize, reply: Reply) {
        self.submit_as(Claim::Alarms, twin, command, bytes, reply);
    }

    fn submit_as(&self, claim: Claim, twin: &TwinId, command: Command, bytes: usize, reply: Reply) {
        let owner = self.tenure.read().clone().ok_or_else(owner_changed);
        match owner.and_then(|tenure| Ok((self.admit(bytes + COMMAND_OVERHEAD_BYTES, claim)?, tenure))) {
            Err(refusal) => reply.send(Err(refusal)),
            Ok((admitted, tenure)) => {
                let stalled = tenure.lead.is_stalled();
                let reply = if stalled { or_committed(&tenure, twin, &command, reply) } else { reply };
                self.give(&tenure, std::iter::once((twin.clone(), command, reply)), admitted);
            }
        }
    }

    /// Gives a batch of commands to their twins, in order; they are admitted together, or refused each by itself.
    pub fn submit_all(&self, batch: Vec<Submission>) {
        let bytes = batch.iter().map(|submission| submission.bytes + COMMAND_OVERHEAD_BYTES).sum();
        let owner = self.tenure.read().clone().ok_or_else(owner_changed);
        let claim = batch.iter().map(|submission| Claim::of(&submission.command)).max().unwrap_or(Claim::Read);
        match owner.and_then(|tenure| Ok((self.admit(bytes, claim)?, tenure))) {
            Err(refusal) => batch.into_iter().for_each(|submission| submission.reply.send(Err(refusal.clone()))),
            Ok((admitted, tenure)) => {
                let stalled = tenure.lead.is_stalled();
                let commands = batch.into_iter().map(|Submission { twin, command, reply, .. }| {
                    let reply = if stalled { or_committed(&tenure, &twin, &command, reply) } else { reply };
                    (twin, command, reply)
                });
                self.give(&tenure, commands, admitted);
            }
        }
    }

    fn admit(&self, bytes: usize, claim: Claim) -> Result<Admitted, Refusal> {
        let admitted = self.try_admit(bytes, claim);
        if admitted.is_err() {
            if claim == Claim::Alarms {
                Counters::count(&self.counters.alarms_busy);
            }
            Counters::count(&self.counters.commands_busy);
        }
        admitted
    }

    fn try_admit(&self, bytes: usize, claim: Claim) -> Result<Admitted, Refusal> {
        // What changes rows also needs room in the dirty state, in the log and on the disk.
        match claim {
            Claim::Read => Ok(()),
            Claim::Alarms => self.budgets.admit_alarms(bytes as u64),
            Claim::Rows => self.budgets.admit(bytes as u64),
        }
        .map_err(|pressure| out_of(&pressure))?;
        let busy = || Refusal::Busy { what: "the memory for commands under way".into(), retry_after_ms: RETRY_BUSY_MS };
        let admitted =
            if claim == Claim::Alarms { self.admission.admit_alarms(bytes) } else { self.admission.admit(bytes) };
        admitted.ok_or_else(busy)
    }

    fn give(&self, tenure: &Arc<Tenure>, commands: impl Iterator<Item = (TwinId, Command, Reply)>, admitted: Admitted) {
        let is_current = || self.is_current(tenure.lead.generation);
        let shared = Shared { admission: Arc::new(admitted), span: sampled_span() };
        self.grains.submit(tenure, is_current, commands, shared);
    }

    /// Passivates grains that had no command for `idle_after`.
    pub fn passivate_idle(&self, idle_after: Duration) {
        let tenure = self.tenure.read().clone();
        if let Some(tenure) = tenure {
            self.grains.passivate_idle(&tenure, idle_after);
        }
    }

    fn is_current(&self, generation: Generation) -> bool {
        self.generation.load(Ordering::Acquire) == generation.0
    }

    fn lead(&self) -> Result<Lead, Refusal> {
        self.tenure.read().as_ref().map(|tenure| tenure.lead.clone()).ok_or_else(owner_changed)
    }

    /// Commits rows that no grain computed.
    pub async fn commit_rows(&self, rows: Vec<RowChange>) -> Result<(), Refusal> {
        self.lead()?.commit_rows(rows).await
    }

    /// What the clock of its present owner says.
    pub fn time(&self) -> Result<OwnerTime, Refusal> {
        self.tenure.read().as_ref().map(|tenure| tenure.time()).ok_or_else(owner_changed)
    }

    /// Resolves when everything given before the call is applied; refused while that waits for room on the disk.
    pub async fn confirm(&self) -> Result<(), Refusal> {
        self.lead()?.confirmed().await
    }

    /// Resolves when everything committed before the call can be read here.
    pub async fn confirm_committed(&self) -> Result<(), Refusal> {
        self.lead()?.confirmed_committed(|generation| self.is_current(generation)).await
    }

    /// See [`Lead::settled`].
    pub(crate) fn settled(&self) -> Result<(), Refusal> {
        self.lead()?.settled()
    }
}

impl Cell {
    fn committed_floors(&self) -> Result<Vec<(HomeSlot, Floor)>, Refusal> {
        let slots = usize::from(home_slot::HOME_SLOTS);
        let scan =
            self.reader.scan(Family::HomeSlot, &[], None, slots).map_err(|error| unreadable("the floors", error))?;
        scan.rows
            .iter()
            .map(|(key, value)| {
                let slot = home_slot::decode(key).map_err(|error| unreadable("a floor", error))?;
                let row: HomeSlotRow = decode("home slot", value).map_err(|error| unreadable("a floor", error))?;
                Ok((slot, row.floor))
            })
            .collect()
    }
}

/// What commands need room for. Of a batch of several kinds, the last counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// Only memory while they are under way.
    Read,
    /// As [`Self::Rows`]; a share of everything is kept for them, and for the attaches that they wait for.
    Alarms,
    /// Memory, dirty state, log and disk.
    Rows,
}

impl Claim {
    fn of(command: &Command) -> Self {
        match command {
            Command::Alarm { .. } => Self::Alarms,
            command if command.is_read() => Self::Read,
            _ => Self::Rows,
        }
    }
}

/// What a command weighs besides its payload: its place among those that wait, closures, row overhead.
const COMMAND_OVERHEAD_BYTES: usize = 512;

/// A row that can't be read: said loudly, as only an operator can help.
pub(crate) fn unreadable(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Refusal {
    tracing::error!(%what, %error, "a stored row cannot be read");
    Refusal::Unavailable { message: format!("stored state of {what} cannot be read: {error}"), retry_after_ms: 10_000 }
}

impl Host for Cell {
    fn begin(&self, lead: Lead) {
        let floors = match self.committed_floors() {
            Ok(floors) => floors,
            Err(refusal) => {
                // Without the floors a twin that is made again could get old numbers: the cell stays closed.
                tracing::error!(%refusal, "the cell does not open");
                return;
            }
        };
        self.floors.load(floors);
        let Some(cell) = self.me.upgrade() else { return };
        self.term.store(lead.term, Ordering::Relaxed);
        self.generation.store(lead.generation.0, Ordering::Release);
        let begun = self.grains.clock().monotonic();
        *self.tenure.write() = Some(Arc::new(Tenure { cell, lead, begun }));
        self.ready.send_replace(true);
    }

    fn end(&self, _: Generation) {
        self.ready.send_replace(false);
        // First no grain of the old generation can be added any more, then all go.
        self.generation.store(0, Ordering::Release);
        *self.tenure.write() = None;
        self.grains.throw_away();
    }

    fn committed(&self, events: Vec<Outbound>) {
        self.observers.tell(events);
    }
}

/// A cell's rule in one generation: what its grains know as their owner. A grain of an older generation holds an older
/// tenure, and nothing it gives to it is ever committed.
pub struct Tenure {
    cell: Arc<Cell>,
    lead: Lead,
    /// When it began, by the node's monotonic clock: all that earlier owners committed was there before.
    begun: Duration,
}

impl Tenure {
    pub(crate) fn is_current(&self) -> bool {
        self.cell.is_current(self.lead.generation)
    }

    pub(crate) fn now(&self) -> WallTime {
        self.cell.grains.clock().wall()
    }

    pub(crate) fn grains(&self) -> &Grains {
        &self.cell.grains
    }

    pub(crate) fn reader(&self) -> &GroupReader {
        &self.cell.reader
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.cell.runtime
    }
}

impl Owner for Tenure {
    type Admission = Arc<Admitted>;

    fn floor(&self, twin: &TwinId) -> Floor {
        self.cell.floors.of(twin)
    }

    /// A term is one process's, whose clock this is; the barrier that opened it stands behind all earlier terms.
    fn time(&self) -> OwnerTime {
        let owner = OwnerOrder { site_epoch: 1, lineage: 1, term: self.lead.term };
        OwnerTime { owner, begun: self.begun, now: self.cell.grains.clock().monotonic() }
    }

    fn observed(&self, twin: &TwinId) -> bool {
        self.cell.observers.hear_of(twin)
    }

    fn commit(&self, changes: Vec<Change>, done: Done<Arc<Admitted>>) -> Ticket {
        let mut rows = Vec::with_capacity(changes.len());
        let mut events = Vec::new();
        let mut raise = None;
        for Change { twin, rows: images, events: outbound, delete_floor } in changes {
            rows.extend(images.into_iter().map(|(kind, row)| row_change(kind, &twin, row)));
            rows.extend(outbound.iter().filter_map(listing_change));
            events.extend(outbound);
            raise = delete_floor.map(|floor| (twin, floor)).or(raise);
        }
        match raise {
            None => self.lead.commit(rows, events, done),
            Some((twin, floor)) => self.cell.floors.raise(&twin, floor, |slot, floor| {
                rows.push(RowChange::put(Family::HomeSlot, home_slot::key(slot), encode(&HomeSlotRow { floor })));
                self.lead.commit(rows, events, done)
            }),
        }
    }

    fn is_applied(&self, ticket: Ticket) -> bool {
        self.lead.is_applied(ticket)
    }

    fn confirm(&self, rests_on_in_flight: bool, done: Done<Arc<Admitted>>) {
        if rests_on_in_flight && self.lead.is_stalled() {
            return done.tell(Err(disk_full()));
        }
        // A sole voter needs no ReadIndex round, since nobody else can lead; what the grain knows is then committed unless
        // something of its own is still in flight. The generation is checked after the state was read: had the chain broken
        // before, this state would have to be forgotten.
        if !rests_on_in_flight && self.is_current() {
            done.tell(Ok(()));
        } else {
            self.lead.confirm(done);
        }
    }
}

fn row_change(kind: RowKind, twin: &TwinId, value: Option<bytes::Bytes>) -> RowChange {
    let (family, key) = match kind {
        RowKind::Hot => (Family::TwinHot, twin_hot::key(twin)),
        RowKind::Head => (Family::TwinHead, twin_head::key(twin)),
        RowKind::Desired => (Family::TwinDesired, twin_desired::key(twin)),
        RowKind::Marks => (Family::TwinMarks, twin_marks::key(twin)),
        RowKind::Alarms => (Family::TwinAlarms, twin_alarms::key(twin)),
        RowKind::Home => (Family::Home, home::key(twin)),
    };
    RowChange { family, key, value }
}

/// The listing of a site follows the twins' lives, in the same entry.
fn listing_change(event: &Outbound) -> Option<RowChange> {
    let key = || site_twin::key(&event.site, &event.twin);
    match event.kind {
        OutboundKind::Created => Some(RowChange::put(Family::SiteTwin, key(), bytes::Bytes::from_static(&[1]))),
        OutboundKind::Deleted => Some(RowChange::delete(Family::SiteTwin, key())),
        _ => None,
    }
}
