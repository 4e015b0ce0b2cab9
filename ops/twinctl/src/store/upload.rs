//! Writing an object in parts, as they come.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, OnceLock};

use object_store::{MultipartUpload, ObjectStoreExt as _, PutPayload};
use tokio::task::JoinHandle;

use super::location::{Location, Store, failure, reason};
use crate::failure::Failure;
use crate::limits::{STORE_PART_BYTES, STORE_PART_BYTES_MAX, STORE_PARTS_IN_FLIGHT_MAX, STORE_PARTS_OF_A_SIZE};

/// An object that is being written. What is not finished is no object: it is aborted when this is dropped.
///
/// **Invariant:** memory holds the part that is filled and those under way, however large the object becomes. A store takes 10,000 parts
/// of one object, so parts grow.
pub(crate) struct Upload {
    store: Store,
    /// Told by whoever reads the stream's head; before the first part is full.
    name: Arc<OnceLock<String>>,
    filled: Vec<u8>,
    parts: usize,
    multipart: Option<Box<dyn MultipartUpload>>,
    under_way: VecDeque<JoinHandle<object_store::Result<()>>>,
}

impl Upload {
    /// Into the store's place, under a name that is told later.
    pub(crate) fn new(store: Store, name: Arc<OnceLock<String>>) -> Self {
        Self { store, name, filled: Vec::new(), parts: 0, multipart: None, under_way: VecDeque::new() }
    }

    /// Where it goes.
    pub(crate) fn at(&self) -> Location {
        self.name.get().map_or_else(|| self.store.at.clone(), |name| self.store.at.child(name))
    }

    /// Takes bytes, and sends a part when there are enough. Waits while too many are under way.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let wanted = self.part_bytes() - self.filled.len();
            let (now, later) = bytes.split_at(wanted.min(bytes.len()));
            self.filled.extend_from_slice(now);
            bytes = later;
            if self.filled.len() == self.part_bytes() {
                self.send_part().map_err(|error| io::Error::other(reason(&error)))?;
            }
        }
        Ok(())
    }

    /// All of it was written, and is what it should be: makes the object. Gives where it is.
    pub(crate) fn finish(mut self) -> Result<Location, Failure> {
        let at = self.at();
        let finished = self.try_finish();
        finished.map_err(|error| failure(&at, &error)).map(|()| at)
    }

    fn try_finish(&mut self) -> object_store::Result<()> {
        let at = self.at();
        if self.multipart.is_none() {
            self.refuse_to_replace(&at)?;
            let payload = PutPayload::from(std::mem::take(&mut self.filled));
            return self.store.runtime.block_on(self.store.objects.put(at.path(), payload)).map(|_| ());
        }
        if !self.filled.is_empty() {
            self.send_part()?;
        }
        self.settle(0)?;
        if let Some(multipart) = &mut self.multipart {
            self.store.runtime.block_on(multipart.complete())?;
        }
        self.multipart = None;
        Ok(())
    }

    fn part_bytes(&self) -> usize {
        let grown = STORE_PART_BYTES << (self.parts / STORE_PARTS_OF_A_SIZE).min(8);
        grown.min(STORE_PART_BYTES_MAX)
    }

    fn send_part(&mut self) -> object_store::Result<()> {
        if self.multipart.is_none() {
            let at = self.at();
            self.refuse_to_replace(&at)?;
            let begun = self.store.runtime.block_on(self.store.objects.put_multipart(at.path()))?;
            self.multipart = Some(begun);
        }
        self.settle(STORE_PARTS_IN_FLIGHT_MAX - 1)?;
        if let Some(multipart) = &mut self.multipart {
            let part = multipart.put_part(PutPayload::from(std::mem::take(&mut self.filled)));
            self.parts += 1;
            self.under_way.push_back(self.store.runtime.spawn(part));
        }
        Ok(())
    }

    /// Waits until no more than so many parts are under way.
    fn settle(&mut self, left: usize) -> object_store::Result<()> {
        while self.under_way.len() > left {
            let Some(part) = self.under_way.pop_front() else { break };
            let sent = self.store.runtime.block_on(part);
            sent.map_err(|source| object_store::Error::JoinError { source })??;
        }
        Ok(())
    }

    fn refuse_to_replace(&self, at: &Location) -> object_store::Result<()> {
        match self.store.runtime.block_on(self.store.objects.head(at.path())) {
            Ok(_) => Err(object_store::Error::AlreadyExists { path: at.to_string(), source: "it is there".into() }),
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(mut multipart) = self.multipart.take() else { return };
        for part in self.under_way.drain(..) {
            part.abort();
        }
        if let Err(error) = self.store.runtime.block_on(multipart.abort()) {
            // The store's own rule for unfinished uploads must clean up.
            eprintln!("twinctl: the unfinished upload to {} could not be aborted: {error}", self.at());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use object_store::memory::InMemory;

    use super::super::Download;
    use super::*;

    fn place() -> Location {
        Location::read("s3://bucket/prefix").unwrap().unwrap()
    }

    fn upload(objects: &Arc<InMemory>, name: &str) -> Upload {
        let named = Arc::new(OnceLock::from(name.to_owned()));
        Upload::new(Store::new(objects.clone(), place()).unwrap(), named)
    }

    #[test]
    fn what_is_written_in_parts_comes_back_as_it_was_and_is_never_replaced() {
        let objects = Arc::new(InMemory::new());
        for (name, bytes) in
            [("none", 0), ("small", 1000), ("even", STORE_PART_BYTES * 2), ("large", STORE_PART_BYTES * 3 + 7)]
        {
            let content: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
            let mut to = upload(&objects, name);
            for piece in content.chunks(100_003) {
                to.write(piece).unwrap();
                assert!(to.filled.len() < STORE_PART_BYTES && to.under_way.len() <= STORE_PARTS_IN_FLIGHT_MAX);
            }
            let at = to.finish().unwrap();
            let mut back = Vec::new();
            Download::open(Store::new(objects.clone(), at).unwrap()).unwrap().read_to_end(&mut back).unwrap();
            assert!(back == content, "{name}");
            let again = upload(&objects, name).finish().unwrap_err().to_string();
            assert!(again.contains("already"), "{again}");
        }
    }

    #[test]
    fn what_is_not_finished_is_no_object() {
        let objects = Arc::new(InMemory::new());
        let mut half = upload(&objects, "half");
        half.write(&vec![7; STORE_PART_BYTES * 2]).unwrap();
        let at = half.at();
        drop(half);
        let gone = Download::open(Store::new(objects, at).unwrap()).err().unwrap();
        assert!(gone.to_string().contains("no such object"), "{gone}");
    }
}
