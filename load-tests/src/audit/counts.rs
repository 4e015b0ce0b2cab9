//! One observer's view of the twins, and what it finds wrong with it.

use std::collections::HashMap;

use crate::rest::Reported;

/// What one observer saw of all twins, in its order. Each observer has its own: only what one sees after the other's answer
/// can be compared with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observer {
    last: HashMap<String, Reported>,
    /// Looks taken at a twin.
    pub(crate) looks: u64,
    /// Times that a version was lower than before, or the same with another content.
    pub(crate) went_back: u64,
    /// Reports seen to have taken effect twice: the most by which a twin's version was ahead of its counter, summed up.
    pub(crate) doubled: u64,
    worst: HashMap<String, u64>,
    /// The first things found wrong, in words.
    pub(crate) findings: Vec<String>,
}

/// Findings kept in words; the counts go on.
const FINDINGS_MAX: usize = 10;

impl Observer {
    /// Looks at a twin.
    pub(crate) fn look(&mut self, seen: Reported) {
        self.looks += 1;
        let effects = seen.version.saturating_sub(1);
        let ahead = effects.saturating_sub(seen.counter);
        let worst = self.worst.entry(seen.device.clone()).or_default();
        if ahead > *worst {
            self.doubled += ahead - *worst;
            *worst = ahead;
            let Reported { device, version, counter } = &seen;
            self.find(format!("{device}: version {version} with counter {counter}: {ahead} reports took effect twice"));
        }
        if let Some(before) = self.last.get(&seen.device) {
            let back = seen.version < before.version;
            let forked = seen.version == before.version && seen.counter != before.counter;
            if back || forked {
                let finding = format!(
                    "{}: version {} (counter {}) was seen after version {} (counter {})",
                    seen.device, seen.version, seen.counter, before.version, before.counter
                );
                self.went_back += 1;
                self.find(finding);
            }
        }
        self.last.insert(seen.device.clone(), seen);
    }

    /// Looks at an event, which tells of a change: the same version twice is one change told twice.
    pub(crate) fn look_at_event(&mut self, seen: Reported) {
        if self.last.get(&seen.device).is_some_and(|before| before.version == seen.version) {
            self.doubled += 1;
            self.find(format!("{}: the event of version {} came twice", seen.device, seen.version));
        }
        self.look(seen);
    }

    /// The last it saw of a twin.
    pub(crate) fn last(&self, device: &str) -> Option<&Reported> {
        self.last.get(device)
    }

    fn find(&mut self, finding: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(version: u64, counter: u64) -> Reported {
        Reported { device: "label".into(), version, counter }
    }

    #[test]
    fn a_twin_that_goes_forward_is_fine_however_far_it_jumps() {
        let mut observer = Observer::default();
        for n in [0, 1, 1, 2, 9] {
            observer.look(seen(n + 1, n));
        }
        assert_eq!((observer.went_back, observer.doubled, observer.looks), (0, 0, 5));
    }

    #[test]
    fn versions_that_go_back_or_fork_are_found() {
        let mut observer = Observer::default();
        observer.look(seen(5, 4));
        observer.look(seen(4, 3));
        observer.look(seen(4, 2));
        assert_eq!(observer.went_back, 2);
    }

    #[test]
    fn what_took_effect_twice_is_counted_once_per_effect() {
        let mut observer = Observer::default();
        observer.look(seen(7, 4));
        observer.look(seen(8, 5));
        assert_eq!(observer.doubled, 2);
    }

    #[test]
    fn an_event_told_twice_is_found() {
        let mut observer = Observer::default();
        observer.look_at_event(seen(2, 1));
        observer.look_at_event(seen(2, 1));
        assert_eq!(observer.doubled, 1);
    }
}
