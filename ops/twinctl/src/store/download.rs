//! Reading an object in ranges, as they are wanted.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use object_store::{GetOptions, GetRange, ObjectStore as _, ObjectStoreExt as _};

use super::location::{Location, Store, failure, reason};
use crate::failure::Failure;
use crate::limits::STORE_PART_BYTES;

/// An object that is being read. Memory holds one range of it; where a request breaks off only its range is asked for again.
pub(crate) struct Download {
    store: Store,
    size_bytes: u64,
    /// What it was when it was begun: a range of another object is refused.
    etag: Option<String>,
    read_bytes: u64,
    range: Bytes,
}

impl Download {
    /// The object at the store's place.
    pub(crate) fn open(store: Store) -> Result<Self, Failure> {
        let head = store.runtime.block_on(store.objects.head(store.at.path()));
        let head = head.map_err(|error| failure(&store.at, &error))?;
        Ok(Self { size_bytes: head.size, etag: head.e_tag, read_bytes: 0, range: Bytes::new(), store })
    }

    /// Where it is.
    pub(crate) fn at(&self) -> &Location {
        &self.store.at
    }

    fn next_range(&self) -> object_store::Result<Bytes> {
        let end = self.size_bytes.min(self.read_bytes + STORE_PART_BYTES as u64);
        let options = GetOptions {
            range: Some(GetRange::Bounded(self.read_bytes..end)),
            if_match: self.etag.clone(),
            ..GetOptions::default()
        };
        self.store
            .runtime
            .block_on(async { self.store.objects.get_opts(self.store.at.path(), options).await?.bytes().await })
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.range.is_empty() && self.read_bytes < self.size_bytes {
            self.range = self.next_range().map_err(|error| io::Error::other(reason(&error)))?;
            self.read_bytes += self.range.len() as u64;
        }
        let taken = buffer.len().min(self.range.len());
        self.range.copy_to_slice(&mut buffer[..taken]);
        Ok(taken)
    }
}
