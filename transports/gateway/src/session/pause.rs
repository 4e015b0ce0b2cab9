//! How long to wait before connecting again: pure, so that every case can be tested.

use std::time::Duration;

use twin_transports::refuse::RefusalCode;

use crate::backoff::{Backoff, jittered};
use crate::limits::{RECONNECT_MAX, RECONNECT_REFUSED_MIN, RETRY_AFTER_MAX, SESSION_GOOD_AFTER};
use crate::session::end::End;

/// The pause after an attempt, or a session that lived this long. `longest` is for a node that does not answer; one that answers
/// with a refusal is given more room.
pub(crate) fn pause(end: &End, lived: Duration, longest: Duration, backoff: &mut Backoff, random: u64) -> Duration {
    if lived >= SESSION_GOOD_AFTER {
        backoff.reset();
    }
    if end.is(RefusalCode::StaleBoot) {
        // It is not stale any more: worth trying soon.
        return backoff.next(RECONNECT_MAX, random);
    }
    match end {
        End::Refused { retry_after: Some(after), .. } => {
            // What the node asks for at least; and not all at the same moment.
            jittered((*after).min(RETRY_AFTER_MAX), random).max(backoff.next(RECONNECT_MAX, random))
        }
        // Only a person can mend it, but then the gateway must come back by itself.
        End::Refused { retry_after: None, .. } => jittered(RECONNECT_REFUSED_MIN, random),
        End::Failed(_) | End::Stopped => backoff.next(longest, random),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: RefusalCode, retry_after: Option<Duration>) -> End {
        End::Refused { code: code.as_str().into(), message: String::new(), retry_after }
    }

    #[test]
    fn the_nodes_retry_time_is_kept_but_not_believed_without_bound() {
        let mut backoff = Backoff::default();
        let end = refused(RefusalCode::Busy, Some(Duration::from_secs(5)));
        assert!(pause(&end, Duration::ZERO, RECONNECT_MAX, &mut backoff, 7) >= Duration::from_secs(5));
        let end = refused(RefusalCode::Busy, Some(Duration::from_secs(1_000_000)));
        assert!(pause(&end, Duration::ZERO, RECONNECT_MAX, &mut backoff, 7) <= RETRY_AFTER_MAX * 2);
    }

    #[test]
    fn what_only_a_person_can_mend_is_tried_slowly_and_for_ever() {
        let delay =
            pause(&refused(RefusalCode::Revoked, None), Duration::ZERO, RECONNECT_MAX, &mut Backoff::default(), 1);
        assert!(delay >= RECONNECT_REFUSED_MIN && delay < RECONNECT_REFUSED_MIN * 2);
    }

    #[test]
    fn a_stale_boot_is_mended_and_tried_at_once() {
        let delay =
            pause(&refused(RefusalCode::StaleBoot, None), Duration::ZERO, RECONNECT_MAX, &mut Backoff::default(), 1);
        assert!(delay < Duration::from_secs(1));
    }

    #[test]
    fn sessions_that_end_at_once_make_the_pauses_grow() {
        let mut backoff = Backoff::default();
        let failed = End::Failed("cut".into());
        let sum = |backoff: &mut Backoff, lived| {
            (0..20).map(|n| pause(&failed, lived, RECONNECT_MAX, backoff, u64::MAX - n)).sum::<Duration>()
        };
        assert!(sum(&mut backoff, Duration::ZERO) > sum(&mut Backoff::default(), SESSION_GOOD_AFTER));
    }
}
