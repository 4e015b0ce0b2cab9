//! The twin against naive models, under random histories.

mod arbitrary;
mod delta;
mod json;
mod section;
mod story;
mod twin_model;
mod view;
