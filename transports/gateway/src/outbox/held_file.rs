//! A file that is looked at before anything is written to it. redb writes as it opens (it repairs what a crash left, and notes that
//! somebody has the file), so whoever opens what turns out to be something else, or damaged, has changed it already.
//!
//! What is written is held back, and read as if it were there, until the file is known for what it should be. Then it all goes to the
//! file in the order in which it came, syncs included: whatever happens meanwhile, the file is as redb would have left it.
//!
//! In the end it may be held back again, for good: [`super::database`] says why.

use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use redb::{BackendError, StorageBackend};

use crate::limits::HELD_BACK_BYTES_MAX;

/// Backend of a file that is being looked at.
#[derive(Clone, Debug)]
pub(crate) struct HeldFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: Box<dyn StorageBackend>,
    /// Does all go to the file?
    through: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    steps: Vec<Step>,
    bytes: usize,
}

#[derive(Debug)]
enum Step {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

impl Held {
    /// The length after these steps.
    fn len(&self, file_len: u64) -> u64 {
        self.steps.iter().fold(file_len, |len, step| match step {
            Step::Write(at, data) => len.max(at + data.len() as u64),
            Step::SetLen(len) => *len,
            Step::Sync => len,
        })
    }

    fn hold(&mut self, step: Step) -> io::Result<()> {
        if let Step::Write(_, data) = &step {
            self.bytes += data.len();
        }
        if self.bytes > HELD_BACK_BYTES_MAX {
            let message = format!("opening it would write more than {HELD_BACK_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        self.steps.push(step);
        Ok(())
    }

    /// What lies at `offset` after these steps, over what lies there before.
    fn overlay(&self, offset: u64, out: &mut [u8]) {
        let end = offset + out.len() as u64;
        for step in &self.steps {
            match step {
                Step::Write(at, data) => {
                    let (from, to) = (offset.max(*at), end.min(at + data.len() as u64));
                    if from < to {
                        let part = &data[(from - at) as usize..(to - at) as usize];
                        out[(from - offset) as usize..(to - offset) as usize].copy_from_slice(part);
                    }
                }
                // Should it grow again, there are zeros.
                Step::SetLen(len) if *len < end => out[(offset.max(*len) - offset) as usize..].fill(0),
                Step::SetLen(_) | Step::Sync => {}
            }
        }
    }
}

impl HeldFile {
    pub(crate) fn new(file: Box<dyn StorageBackend>) -> Self {
        Self(Arc::new(Inner { file, through: AtomicBool::new(false), held: Mutex::default() }))
    }

    /// Carries out what was held back. From here on all goes to the file.
    pub(crate) fn let_through(&self) -> io::Result<()> {
        let mut held = self.0.held.lock();
        for step in std::mem::take(&mut held.steps) {
            match step {
                Step::Write(at, data) => self.0.file.write(at, &data)?,
                Step::SetLen(len) => self.0.file.set_len(len)?,
                Step::Sync => self.0.file.sync_data()?,
            }
        }
        self.0.through.store(true, Ordering::Release);
        Ok(())
    }

    /// From here on nothing goes to the file any more.
    pub(crate) fn hold_back(&self) {
        self.0.through.store(false, Ordering::Release);
    }

    fn is_through(&self) -> bool {
        self.0.through.load(Ordering::Acquire)
    }
}

impl StorageBackend for HeldFile {
    fn len(&self) -> Result<u64, io::Error> {
        let len = self.0.file.len()?;
        Ok(if self.is_through() { len } else { self.0.held.lock().len(len) })
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        if self.is_through() {
            return self.0.file.read(offset, out);
        }
        let held = self.0.held.lock();
        let file_len = self.0.file.len()?;
        if offset + out.len() as u64 > held.len(file_len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let in_file = file_len.saturating_sub(offset).min(out.len() as u64) as usize;
        let (before, beyond) = out.split_at_mut(in_file);
        if !before.is_empty() {
            self.0.file.read(offset, before)?;
        }
        beyond.fill(0);
        held.overlay(offset, out);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        if self.is_through() { self.0.file.set_len(len) } else { self.0.held.lock().hold(Step::SetLen(len)) }
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        if self.is_through() { self.0.file.sync_data() } else { self.0.held.lock().hold(Step::Sync) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        if self.is_through() {
            return self.0.file.write(offset, data);
        }
        self.0.held.lock().hold(Step::Write(offset, data.to_vec()))
    }

    fn close(&self) -> Result<(), io::Error> {
        self.0.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redb::backends::InMemoryBackend;

    use super::*;

    #[derive(Clone, Debug)]
    enum Call {
        Write(u64, Vec<u8>),
        SetLen(u64),
        Sync,
        Read(u64, usize),
    }

    fn call() -> impl Strategy<Value = Call> {
        prop_oneof![
            (0_u64..64, prop::collection::vec(1_u8.., 0..24)).prop_map(|(at, data)| Call::Write(at, data)),
            (0_u64..64).prop_map(Call::SetLen),
            Just(Call::Sync),
            (0_u64..64, 0_usize..24).prop_map(|(at, len)| Call::Read(at, len)),
        ]
    }

    fn file(len: u64) -> InMemoryBackend {
        let file = InMemoryBackend::new();
        file.set_len(len).unwrap();
        file.write(0, &vec![0xee; len as usize]).unwrap();
        file
    }

    proptest! {
        #[test]
        fn what_is_held_back_is_read_as_if_it_were_there_and_is_there_once_let_through(
            len in 0_u64..64,
            calls in prop::collection::vec(call(), 1..40),
            through_at in 0_usize..40,
        ) {
            let (plain, held) = (file(len), HeldFile::new(Box::new(file(len))));
            for (at, call) in calls.iter().enumerate() {
                if at == through_at {
                    held.let_through().unwrap();
                }
                match call {
                    // A file of the memory does not grow by a write; redb sets the length first.
                    Call::Write(at, data) if at + data.len() as u64 <= plain.len().unwrap() => {
                        plain.write(*at, data).unwrap();
                        held.write(*at, data).unwrap();
                    }
                    Call::Write(..) => {}
                    Call::SetLen(len) => {
                        plain.set_len(*len).unwrap();
                        held.set_len(*len).unwrap();
                    }
                    Call::Sync => held.sync_data().unwrap(),
                    Call::Read(at, len) => {
                        let (mut expected, mut found) = (vec![0; *len], vec![0; *len]);
                        let outcome = plain.read(*at, &mut expected).is_ok();
                        prop_assert_eq!(held.read(*at, &mut found).is_ok(), outcome);
                        if outcome {
                            prop_assert_eq!(found, expected);
                        }
                    }
                }
                prop_assert_eq!(held.len().unwrap(), plain.len().unwrap());
            }
            held.let_through().unwrap();
            held.hold_back();
            held.set_len(len + 7).unwrap();
            held.write(0, &[0xdd; 7]).unwrap();
            held.sync_data().unwrap();
            prop_assert_eq!(held.len().unwrap(), len + 7);
            let len = plain.len().unwrap();
            let (mut expected, mut found) = (vec![0; len as usize], vec![0; len as usize]);
            plain.read(0, &mut expected).unwrap();
            prop_assert_eq!(held.0.file.len().unwrap(), len);
            held.0.file.read(0, &mut found).unwrap();
            prop_assert_eq!(found, expected);
        }
    }
}
