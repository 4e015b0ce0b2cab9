//! The REST of a real node, over real HTTP.
#![allow(missing_docs, unreachable_pub, clippy::disallowed_methods, reason = "tests")]

mod access;
mod batch;
mod batch_clients;
mod batch_stream;
mod conditional;
mod deployment;
mod events;
mod gateway;
mod http;
mod keys;
mod lifecycle;
mod metrics;
mod openapi;
mod problems;
mod sections;
mod sites;
mod twins;
mod waits;
mod world;
