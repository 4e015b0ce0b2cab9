//! Power cuts: a script of everything that a node does with its storage, ended at each call to the disk; and scripts drawn by a seed.

mod chance;
mod cuts;
mod script;
mod witness;
