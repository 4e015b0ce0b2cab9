//! How figures are shown: a table on the terminal, JSON, and SVG plots.

pub(crate) mod figure;
mod json;
pub(crate) mod plot;
mod svg;
mod table;

pub(crate) use figure::{Figure, Target};
pub(crate) use json::write_json;
pub(crate) use plot::{Axis, Plot, Series};
pub(crate) use svg::render;
pub(crate) use table::print_table;
