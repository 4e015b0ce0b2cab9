//! The REST of a real node, over real HTTP.
#![allow(missing_docs, unreachable_pub, clippy::disallowed_methods, reason = "tests")]

mod access;
mod alarms;
mod audit;
mod audited;
mod batch;
mod batch_clients;
mod batch_get;
mod batch_stream;
mod certificates;
mod certified;
mod conditional;
mod credentials;
mod credit;
mod deployment;
mod events;
mod exports;
mod gateway;
mod health;
mod http;
mod keys;
mod lifecycle;
mod looks;
mod metrics;
mod openapi;
mod pki;
mod problems;
mod renewal;
mod sections;
mod site_removal;
mod sites;
mod tokens;
mod twins;
mod waits;
mod world;
