//! Half of what a node can do, for a long while, with clients coming and going: memory, files and descriptors must stay flat.
//!
//! - [`stores`]: gateways over the SDK with their devices. They report at a fixed rate all together (an open loop), shut down, and come
//!   back under the same name with the same outbox, or under a new one with new devices; then the old ones are deleted.
//! - [`passers`]: gateways that only pass by: connect, attach, beat, and go, or vanish without a word.
//! - [`rest_clients`]: make, change, read and delete twins over connections that they open and close, and some leave in the middle.
//! - [`observers`]: follow event streams for a while, come back with `Last-Event-ID`, or never read what they asked for.
//! - [`batches`]: changes up, twins and exports down, over twins that are used now and then: grains activate and passivate.
//!
//! [`samples`] looks at the node each second, [`trend`] judges what it saw, [`report`] shows it. **Invariant:** the node that is judged
//! was started for it: what finding out its capacity left in its memory could hide a leak.

mod batches;
mod observers;
mod passers;
mod report;
mod rest_clients;
mod run;
mod samples;
mod scene;
mod stores;
mod trend;

pub(crate) use run::run;
