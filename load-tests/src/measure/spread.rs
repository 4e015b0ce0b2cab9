//! A figure measured several times.

use std::fmt;

use serde::Serialize;

/// Above this share of the median between the lowest and the highest, a figure is too noisy to be quoted without a word.
const NOISY_SHARE: f64 = 0.25;

/// Median with lowest and highest.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of nothing: zeros.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_unstable_by(f64::total_cmp);
        let (Some(min), Some(max)) = (figures.first(), figures.last()) else { return Self::default() };
        let (low, high) = ((figures.len() - 1) / 2, figures.len() / 2);
        Self { median: f64::midpoint(figures[low], figures[high]), min: *min, max: *max }
    }

    /// Is it too wide to be quoted without a word?
    pub(crate) fn is_noisy(&self) -> bool {
        self.max - self.min > NOISY_SHARE * self.median
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.median {
            median if median >= 1000.0 => 0,
            median if median >= 10.0 => 1,
            _ => 2,
        };
        let Self { median, min, max } = self;
        let text = format!("{median:.digits$} ({min:.digits$} .. {max:.digits$})");
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]);
        assert_eq!(spread.to_string(), "2.50 (1.00 .. 4.00)");
        assert_eq!(Spread::of([7.0]).to_string(), "7.00 (7.00 .. 7.00)");
        assert_eq!(Spread::of([]).to_string(), "0.00 (0.00 .. 0.00)");
    }

    #[test]
    fn a_wide_spread_is_noisy() {
        assert!(Spread::of([70.0, 100.0, 101.0]).is_noisy());
        assert!(!Spread::of([90.0, 100.0, 101.0]).is_noisy());
    }
}
