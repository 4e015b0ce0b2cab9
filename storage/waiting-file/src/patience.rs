//! Waiting for room, for as long as that makes sense.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// May writes wait? Not while their file is opened or closed: whoever does that is told at once. So there is none at first.
#[derive(Debug, Default)]
pub struct Patience {
    patient: Mutex<bool>,
    impatience: Condvar,
}

impl Patience {
    /// From here on writes wait, until [`Self::give_up`].
    pub fn be_patient(&self) {
        *self.patient.lock() = true;
    }

    /// Writes that wait fail, and none waits any more: the file is being closed.
    pub fn give_up(&self) {
        *self.patient.lock() = false;
        self.impatience.notify_all();
    }

    /// Waits so long, or until somebody gives up, and says whether it is worth another try. `begins` is called first, where there is
    /// patience at all.
    pub fn wait(&self, so_long: Duration, begins: impl FnOnce()) -> bool {
        let mut patient = self.patient.lock();
        if !*patient {
            return false;
        }
        begins();
        self.impatience.wait_for(&mut patient, so_long);
        *patient
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_patience_nobody_waits_and_whoever_waits_is_woken_when_it_ends() {
        let patience = Patience::default();
        assert!(!patience.wait(Duration::from_secs(60), || panic!("nobody waits")));
        patience.be_patient();
        assert!(patience.wait(Duration::from_millis(1), || {}));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| patience.wait(Duration::from_secs(600), || {}));
            // Before it waits or after: it comes back either way.
            patience.give_up();
            assert!(!waiting.join().unwrap());
        });
    }
}
