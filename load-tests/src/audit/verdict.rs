//! What the audit found.

use std::collections::HashMap;
use std::fmt;

use crate::audit::journal::Progress;
use crate::audit::watch::Observed;
use crate::measure::Spread;
use crate::rest::Reported;

/// Findings shown.
const FINDINGS_MAX: usize = 10;

/// The counts of one audit.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) kills: u32,
    /// Reports that were promised to be durable in an outbox.
    pub(crate) promised: u64,
    /// Of these, those that took no effect.
    pub(crate) promised_missing: u64,
    /// Reports that were acked, as far as a gateway lived to note it.
    pub(crate) acked: u64,
    /// Of these, those that took no effect, or whose effect is gone.
    pub(crate) missing: u64,
    /// Reports that took effect more than once.
    pub(crate) doubled: u64,
    /// Versions that were lower than one seen before.
    pub(crate) went_back: u64,
    /// Reports refused for good, of which there should be none.
    pub(crate) refused: u64,
    /// Numbers that gateways had to declare lost.
    pub(crate) numbers_lost: u64,
    /// Looks at twins: read over REST, and heard as events.
    pub(crate) looks: (u64, u64),
    /// Seconds from a kill until every gateway was acked something new: of a gateway, and of the node.
    pub(crate) recovery_s: [Spread; 2],
    pub(crate) findings: Vec<String>,
}

impl Verdict {
    /// Takes in one device: what its gateway noted, and how its twin is in the end.
    pub(crate) fn device(&mut self, device: &str, noted: Progress, twin: Option<&Reported>) {
        let nothing = Reported { device: device.to_owned(), version: 1, counter: 0 };
        let twin = twin.unwrap_or(&nothing);
        let effects = twin.version.saturating_sub(1);
        let (promised_missing, missing) = (missing(noted.promised, twin), missing(noted.acked, twin));
        // A gateway may have reported one number more than it lived to note.
        let doubled = effects.saturating_sub(twin.counter);
        self.promised += noted.promised;
        self.acked += noted.acked;
        self.promised_missing += promised_missing;
        self.missing += missing;
        self.doubled += doubled;
        if promised_missing > 0 || missing > 0 || doubled > 0 {
            self.find(format!(
                "{device}: promised {}, acked {}; its twin has version {} and counter {}: {promised_missing} missing, {doubled} doubled",
                noted.promised, noted.acked, twin.version, twin.counter
            ));
        }
    }

    /// Takes in what was seen on the way.
    pub(crate) fn observed(&mut self, observed: &Observed, end: &HashMap<String, Reported>) {
        self.looks = (observed.read.looks, observed.heard.looks);
        for observer in [&observed.read, &observed.heard] {
            self.went_back += observer.went_back;
            // What is still doubled in the end was counted there.
            self.doubled = self.doubled.max(observer.doubled);
            for finding in &observer.findings {
                self.find(finding.clone());
            }
            for (device, twin) in end {
                if let Some(seen) = observer.last(device)
                    && seen.version > twin.version
                {
                    self.went_back += 1;
                    self.find(format!(
                        "{device}: version {} was seen, in the end it is {}",
                        seen.version, twin.version
                    ));
                }
            }
        }
    }

    fn find(&mut self, finding: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    /// Was everything kept? An audit that saw nothing has not shown it.
    pub(crate) fn is_clean(&self) -> bool {
        let wrong =
            [self.promised_missing, self.missing, self.doubled, self.went_back, self.refused, self.numbers_lost];
        wrong.iter().all(|count| *count == 0) && self.acked > 0 && self.looks.0 > 0 && self.looks.1 > 0
    }
}

/// How many of the reports up to this number took no effect: those after the counter, or those that the version lacks.
fn missing(number: u64, twin: &Reported) -> u64 {
    number.saturating_sub(twin.counter.min(twin.version.saturating_sub(1)))
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, what: &str, count: u64, wrong: &str, wrong_count: u64| {
            let mark = if wrong_count == 0 { "" } else { "  <-- VIOLATED" };
            writeln!(f, "{what:<34}{count:>12}   {wrong:<22}{wrong_count:>8}{mark}")
        };
        row(f, "promised (durable in an outbox)", self.promised, "missing", self.promised_missing)?;
        row(f, "acked", self.acked, "missing", self.missing)?;
        row(f, "twins read during the run", self.looks.0, "versions going back", self.went_back)?;
        row(f, "events heard during the run", self.looks.1, "applied twice", self.doubled)?;
        row(f, "refused for good", self.refused, "numbers declared lost", self.numbers_lost)?;
        let [gateway, node] = &self.recovery_s;
        writeln!(
            f,
            "seconds from a kill until acks flow on every gateway, median (lowest .. highest): gateway {gateway}, node {node}"
        )?;
        for finding in &self.findings {
            writeln!(f, "  {finding}")?;
        }
        let Self { kills, acked, missing, doubled, went_back, promised, promised_missing, .. } = self;
        write!(
            f,
            "kills={kills} acked={acked} missing={missing} doubled={doubled} went_back={went_back} \
             promised={promised} promised_missing={promised_missing}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict_of(promised: u64, acked: u64, version: u64, counter: u64) -> Verdict {
        let mut verdict = Verdict { looks: (1, 1), ..Verdict::default() };
        let twin = Reported { device: "label".into(), version, counter };
        verdict.device("label", Progress { promised, acked }, Some(&twin));
        verdict
    }

    #[test]
    fn a_twin_that_took_each_report_once_is_clean() {
        assert!(verdict_of(9, 9, 10, 9).is_clean());
        // One report more than the gateway lived to note.
        assert!(verdict_of(9, 8, 11, 10).is_clean());
    }

    #[test]
    fn reports_missing_at_the_end_and_in_the_middle_are_found() {
        assert_eq!(verdict_of(9, 9, 8, 7).missing, 2);
        let middle = verdict_of(9, 8, 8, 9);
        assert_eq!((middle.missing, middle.promised_missing), (1, 2));
        assert!(!middle.is_clean());
    }

    #[test]
    fn a_report_that_took_effect_twice_is_found() {
        let verdict = verdict_of(9, 9, 12, 9);
        assert_eq!(verdict.doubled, 2);
        assert!(!verdict.is_clean());
    }

    #[test]
    fn a_twin_that_does_not_exist_misses_everything() {
        let mut verdict = Verdict::default();
        verdict.device("label", Progress { promised: 5, acked: 4 }, None);
        assert_eq!((verdict.missing, verdict.promised_missing), (4, 5));
    }

    #[test]
    fn an_audit_that_saw_nothing_is_not_clean() {
        assert!(!Verdict::default().is_clean());
    }
}
