//! One figure: what was measured, what it should be, and what it is a share of.

use serde::Serialize;

use crate::measure::Spread;

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    /// Does the median reach it?
    pub(crate) fn is_reached(self, median: f64) -> bool {
        match self {
            Self::AtLeast(bound) => median >= bound,
            Self::AtMost(bound) => median <= bound,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, ">= {bound}"),
            Self::AtMost(bound) => write!(f, "<= {bound}"),
        }
    }
}

/// A figure divided by its baseline or peer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Share {
    pub(crate) of: String,
    #[serde(flatten)]
    pub(crate) spread: Spread,
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) scenario: &'static str,
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    #[serde(flatten)]
    pub(crate) spread: Spread,
    pub(crate) repeats: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reached: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) share: Option<Share>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

impl Figure {
    /// A figure by its repeats.
    pub(crate) fn new(scenario: &'static str, name: impl Into<String>, unit: &'static str, repeats: Vec<f64>) -> Self {
        let spread = Spread::of(repeats.iter().copied());
        Self {
            scenario,
            name: name.into(),
            unit,
            spread,
            repeats,
            target: None,
            reached: None,
            share: None,
            note: None,
        }
    }

    /// A figure that was measured once.
    pub(crate) fn once(scenario: &'static str, name: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self::new(scenario, name, unit, vec![value])
    }

    /// What it should be.
    pub(crate) fn target(mut self, target: Target) -> Self {
        self.reached = Some(!self.repeats.is_empty() && target.is_reached(self.spread.median));
        self.target = Some(target);
        self
    }

    /// What it is a share of: repeat by repeat where both have as many, since they were interleaved.
    pub(crate) fn share_of(mut self, of: impl Into<String>, baseline: &[f64]) -> Self {
        let spread = ratio(&self.repeats, baseline);
        self.share = Some(Share { of: of.into(), spread });
        self
    }

    /// What a reader must know to understand it.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

/// Ratios of repeats, one by one if there are as many of both; else of the medians.
pub(crate) fn ratio(of: &[f64], to: &[f64]) -> Spread {
    Spread::of(ratios(of, to))
}

/// As [`ratio`], each for itself.
pub(crate) fn ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    let divide = |of: f64, to: f64| if to > 0.0 { of / to } else { 0.0 };
    if of.len() == to.len() {
        of.iter().zip(to).map(|(of, to)| divide(*of, *to)).collect()
    } else {
        vec![divide(Spread::of(of.iter().copied()).median, Spread::of(to.iter().copied()).median)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_taken_repeat_by_repeat() {
        let figure = Figure::new("W1", "updates", "/s", vec![10.0, 30.0]).share_of("redis", &[20.0, 30.0]);
        let share = figure.share.unwrap().spread;
        assert!((share.min - 0.5).abs() < 1e-9 && (share.max - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_target_is_reached_by_the_median() {
        let at_least = |bound| Figure::new("W1", "x", "x", vec![1.0, 2.0, 9.0]).target(Target::AtLeast(bound)).reached;
        assert_eq!((at_least(2.0), at_least(2.1)), (Some(true), Some(false)));
        let nothing = Figure::new("W1", "x", "x", vec![]).target(Target::AtMost(5.0));
        assert_eq!(nothing.reached, Some(false), "what was not measured reaches nothing");
    }
}
