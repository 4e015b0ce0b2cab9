//! What a grain needs of the cell that owns it.

use super::done::Done;
use crate::event::Outbound;
use crate::ids::TwinId;
use crate::numbers::Floor;
use crate::once::OwnerTime;
use crate::rows::RowImages;

/// What a command changed: the after-images of a twin's rows, to be committed together.
#[derive(Debug)]
pub struct Change {
    /// Whose.
    pub twin: TwinId,
    /// After-images; `None`: the row is gone.
    pub rows: RowImages,
    /// To be told once it is committed.
    pub events: Vec<Outbound>,
    /// On a delete: what the home slot's floor must be raised to, in the same commit.
    pub delete_floor: Option<Floor>,
}

/// Place of a commit among all that an owner was given. The default is before all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What a grain needs of the cell that owns it.
pub trait Owner: Send + Sync + 'static {
    /// What commands hold from their admission to their answers.
    type Admission: Clone + Send + 'static;

    /// Everything of an id that is created now starts above this.
    fn floor(&self, twin: &TwinId) -> Floor;

    /// What its clock says. Asked for changes with an idempotency key only.
    fn time(&self) -> OwnerTime;

    /// Does anybody hear of what this twin's device reports? Asked in every turn, so it must cost next to nothing where nobody
    /// does.
    fn observed(&self, twin: &TwinId) -> bool;

    /// Commits changes of different twins, in the order of the calls. `done` gets `Ok` after they are applied. A change with a
    /// `delete_floor` comes alone.
    fn commit(&self, changes: Vec<Change>, done: Done<Self::Admission>) -> Ticket;

    /// Is this commit, and with it all before it, applied? Only for a ticket of this owner.
    fn is_applied(&self, ticket: Ticket) -> bool;

    /// Confirms that this owner still owned its twins after the call. With `rests_on_in_flight`, also that everything given
    /// to [`Owner::commit`] before is applied.
    fn confirm(&self, rests_on_in_flight: bool, done: Done<Self::Admission>);
}
