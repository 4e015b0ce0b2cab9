//! Object stores: where backups can be kept away from the node's disk.
//!
//! [`location`] says where (`s3://bucket/prefix`) and opens it, [`http`] carries the requests, [`upload`] writes an object in parts and
//! [`download`] reads one in ranges, both in bounded memory. The protocol (signing, credentials, retries, parts) is the `object_store`
//! crate's; only the HTTP below it is this program's own, so that its TLS is the one that the node is asked with.

mod download;
mod http;
mod location;
mod upload;

pub(crate) use download::Download;
pub(crate) use location::{Location, Target};
pub(crate) use upload::Upload;
