//! The twin against naive models, under random histories.

mod arbitrary;
mod corpus;
mod delta;
mod json;
mod once;
mod section;
mod story;
mod twin_model;
mod view;
