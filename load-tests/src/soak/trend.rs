//! Is a curve flat?
//!
//! The first sixth is warm-up. The median of the last sixth is compared with that of the second one, and a line is laid through
//! everything after the warm-up: either of them could miss what the other sees. Medians, because a checkpoint or a batch makes peaks.
//! A curve that falls is as little flat as one that rises: while it falls it could hide a leak.

use serde::Serialize;

use crate::measure::Spread;

/// Parts of a run; the first is warm-up.
const PARTS: usize = 6;

/// How a curve goes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Trend {
    /// Median of the second sixth.
    pub(super) early: f64,
    /// Median of the last sixth.
    pub(super) late: f64,
    /// What a line through everything after the warm-up rises by from its begin to its end.
    pub(super) rise: f64,
    /// The highest after the warm-up.
    pub(super) highest: f64,
}

impl Trend {
    /// Of points (seconds, value) in the order of time; `None`: too few to say anything.
    pub(super) fn of(points: &[(f64, f64)]) -> Option<Self> {
        if points.len() < 2 * PARTS {
            return None;
        }
        let part = |number: usize| &points[number * points.len() / PARTS..(number + 1) * points.len() / PARTS];
        let median = |points: &[(f64, f64)]| Spread::of(points.iter().map(|point| point.1)).median;
        let warm = &points[points.len() / PARTS..];
        Some(Self {
            early: median(part(1)),
            late: median(part(PARTS - 1)),
            rise: slope(warm) * (warm[warm.len() - 1].0 - warm[0].0),
            highest: warm.iter().map(|point| point.1).fold(f64::MIN, f64::max),
        })
    }

    /// Which share of the early median it is off by: by the late median or by the line, whichever is more.
    pub(super) fn off_share(&self) -> f64 {
        self.off() / self.early.abs().max(f64::MIN_POSITIVE)
    }

    /// The same in units of the curve.
    pub(super) fn off(&self) -> f64 {
        (self.late - self.early).abs().max(self.rise.abs())
    }
}

/// Least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let (mut along, mut both) = (0.0, 0.0);
    for point in points {
        along += (point.0 - x) * (point.0 - x);
        both += (point.0 - x) * (point.1 - y);
    }
    if along > 0.0 { both / along } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(value: impl Fn(f64) -> f64) -> Trend {
        let points: Vec<_> = (0..1800).map(|second| (f64::from(second), value(f64::from(second)))).collect();
        Trend::of(&points).unwrap()
    }

    #[test]
    fn a_sawtooth_and_a_warm_up_are_flat() {
        let sawtooth = curve(|second| 300.0 + (second % 10.0) * 6.0);
        assert!(sawtooth.off_share() < 0.01, "{sawtooth:?}");
        let warm_up = curve(|second| if second < 290.0 { second } else { 290.0 });
        assert!(warm_up.off_share() < 0.01, "{warm_up:?}");
    }

    #[test]
    fn a_leak_of_an_eighth_is_not_flat_and_one_of_a_twentieth_is() {
        let leak = |share: f64| curve(move |second| 300.0 * (1.0 + share * second / 1800.0));
        // From the middle of the second sixth to that of the last one.
        assert!(leak(0.2).off_share() > 0.1, "{:?}", leak(0.2));
        assert!(leak(0.05).off_share() < 0.1, "{:?}", leak(0.05));
    }

    #[test]
    fn a_step_up_at_the_end_is_seen_by_the_medians_and_one_in_between_by_the_line() {
        let end = curve(|second| if second < 1450.0 { 300.0 } else { 340.0 });
        assert!(end.off_share() > 0.1, "{end:?}");
        let hill = curve(|second| if (700.0..1490.0).contains(&second) { 450.0 } else { 300.0 });
        assert!((hill.late - hill.early).abs() < 1.0 && hill.rise.abs() > 1.0, "{hill:?}");
    }

    #[test]
    fn what_falls_is_not_flat() {
        assert!(curve(|second| 400.0 - second / 10.0).off_share() > 0.1);
    }

    #[test]
    fn a_few_points_say_nothing() {
        assert_eq!(Trend::of(&[(0.0, 1.0); 11]), None);
    }
}
