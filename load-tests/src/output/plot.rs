//! A plot before it is drawn.

use serde::Serialize;

/// An axis.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Axis {
    /// With its unit.
    pub(crate) label: String,
    /// Logarithmic? All values must be positive then; others are left out.
    pub(crate) log: bool,
}

impl Axis {
    pub(crate) fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), log: false }
    }

    pub(crate) fn log(label: impl Into<String>) -> Self {
        Self { label: label.into(), log: true }
    }
}

/// A line with its points.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Series {
    pub(crate) fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points }
    }
}

/// A line plot.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Plot {
    /// Name of its file, without `.svg`.
    pub(crate) file: &'static str,
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) series: Vec<Series>,
}
