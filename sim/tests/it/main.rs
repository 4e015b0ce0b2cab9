//! The simulator's own parts, without a node. Replays against a node are tested beside the node's binary.

mod command_line;
mod dead_letters;
mod recordings;
