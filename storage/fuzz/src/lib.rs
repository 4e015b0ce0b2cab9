//! What the fuzzer calls with any bytes, and `cargo test` with those of the corpus: a start finds something in a file or refuses it, and
//! never panics; and what it found once it finds again.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use twin_storage::redb::StorageBackend;
use twin_storage::redb::backends::InMemoryBackend;
use twin_storage::{DataFile, Disk, OpenError, read_rows, recovered_entries};

/// Takes any bytes.
pub type Body = fn(&[u8]);

/// All targets, by the names of their corpora.
pub const TARGETS: [(&str, Body); 4] = [
    ("journal", journal),
    ("journal_summed", journal_summed),
    ("journal_header", journal_header),
    ("backup_rows", backup_rows),
];

/// Bytes of a slot of the journals here: small, so that a few fit into what a fuzzer makes.
pub const SLOT_BYTES: u64 = 2048;
/// Bytes of a copy of the header.
pub const COPY_BYTES: usize = 4096;
/// Where the slots begin.
pub const SLOTS_AT: usize = 2 * COPY_BYTES;

/// Runs one target.
pub fn run(target: &str, bytes: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    body(bytes);
}

/// A disk on which there is nothing but a journal.
#[derive(Clone, Debug)]
struct JournalDisk(Arc<InMemoryBackend>);

impl JournalDisk {
    fn of(content: &[u8]) -> Self {
        let file = InMemoryBackend::new();
        file.set_len(content.len() as u64).expect("memory");
        file.write(0, content).expect("memory");
        Self(Arc::new(file))
    }
}

impl StorageBackend for JournalDisk {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

impl Disk for JournalDisk {
    fn open(&self, _: DataFile) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(self.clone()))
    }

    fn put_in_place(&self, _: DataFile) -> io::Result<()> {
        Ok(())
    }

    fn path(&self, file: DataFile) -> PathBuf {
        PathBuf::from("/nowhere").join(file.file_name())
    }
}

fn recover(content: &[u8]) {
    let disk: Arc<dyn Disk> = Arc::new(JournalDisk::of(content));
    match recovered_entries(&disk) {
        Ok(found) => assert_eq!(recovered_entries(&disk).expect("it was opened"), found, "found again"),
        Err(OpenError::Io { cause, .. }) => panic!("memory is always readable: {cause}"),
        Err(_) => {}
    }
}

/// A header that says that there are such slots, and that any frame may be of an opening before it.
fn header() -> Vec<u8> {
    let mut said = vec![0x83];
    for (name, number) in [("opening", 1_000_000_u64), ("slot_bytes", SLOT_BYTES), ("slots", 0)] {
        said.push(0xa0 | name.len() as u8);
        said.extend_from_slice(name.as_bytes());
        said.push(0xcf);
        said.extend_from_slice(&number.to_be_bytes());
    }
    let mut copy = b"twinmesh journal".to_vec();
    copy.extend_from_slice(&1_u32.to_be_bytes());
    copy.extend_from_slice(&crc32fast::hash(&said).to_be_bytes());
    copy.extend_from_slice(&(said.len() as u32).to_be_bytes());
    copy.extend_from_slice(&said);
    copy.resize(SLOTS_AT, 0);
    copy
}

/// Slots: behind a header that is whole.
fn journal(bytes: &[u8]) {
    recover(&[&header()[..], bytes].concat());
}

/// Slots whose frames have sums that are right, whatever is in them: what a checksum keeps from the rest.
fn journal_summed(bytes: &[u8]) {
    let mut content = [&header()[..], bytes].concat();
    for at in (SLOTS_AT..content.len()).step_by(512) {
        sum(&mut content[at..]);
    }
    recover(&content);
}

/// Sums a frame as `storage/src/log/journal/frame.rs` lays it out, if there is one.
fn sum(frame: &mut [u8]) {
    let number = |frame: &[u8], at: usize| u32::from_be_bytes(std::array::from_fn(|byte| frame[at + byte])) as usize;
    if frame.len() < 48 || !frame.starts_with(b"TMjf") {
        return;
    }
    let (items, body) = (number(frame, 40), number(frame, 44));
    let table = body.saturating_add(48);
    let end = items.saturating_mul(21).saturating_add(table);
    if end > frame.len() {
        return;
    }
    let mut at = 48_usize;
    for row in (table..end).step_by(21) {
        let next = at.saturating_add(number(frame, row + 13));
        if next > table {
            return;
        }
        let check = crc32fast::hash(&frame[at..next]);
        frame[row + 17..row + 21].copy_from_slice(&check.to_be_bytes());
        at = next;
    }
    let check = crc32fast::hash(&[&frame[8..48], &frame[table..end]].concat());
    frame[4..8].copy_from_slice(&check.to_be_bytes());
}

/// The two copies of a header, half of the bytes each, before nothing; and what they say, under a sum that is right.
fn journal_header(bytes: &[u8]) {
    let (one, two) = bytes.split_at(bytes.len() / 2);
    let mut content = vec![0; SLOTS_AT];
    for (copy, said) in [(0, one), (COPY_BYTES, two)] {
        let length = said.len().min(COPY_BYTES);
        content[copy..copy + length].copy_from_slice(&said[..length]);
    }
    recover(&content);
    for copy in [0, COPY_BYTES] {
        let length = u32::from_be_bytes(std::array::from_fn(|byte| content[copy + 24 + byte])) as usize;
        let version = content[copy + 16..copy + 20].to_vec();
        let Some(said) = content[copy + 28..copy + COPY_BYTES].get(..length) else { continue };
        let check = crc32fast::hash(&[&version, said].concat());
        content[copy + 20..copy + 24].copy_from_slice(&check.to_be_bytes());
    }
    recover(&content);
}

/// Rows as they lie in a backup.
fn backup_rows(bytes: &[u8]) {
    if let Ok(rows) = read_rows(bytes.to_vec().into()) {
        assert!(rows.len() <= bytes.len() / 8, "each has a head and a key");
    }
}
