//! Values at rest, sealed with an AEAD (AES-256-GCM of ring), under a key that is not in the directory.
//!
//! **What is sealed:** the values of all rows in `state.redb`, and all entries in `log.journal` (whose salts and header are in `log.redb`).
//! **What is not:** the keys of rows, which are
//! the ids of twins, sites and gateways, in `state.redb`; votes, log ids and memberships in both; sizes and counts. Each value is bound to
//! its place (file, family, group and key, or group and index), so that none passes for another's. An older value of the same place put
//! back by hand is not noticed.
//!
//! **Nonces never repeat.** Each opening of a file draws a salt of 32 random bytes and makes it durable before anything is sealed under
//! it; the cipher's key is derived from the operator's key, that salt and the file's name. Under it, nonces count from 0 in a counter of
//! this process, which is never set back. After a crash, a start, a copy of the directory or a restore there is another salt, hence
//! another key, and the count begins anew for that one. (A virtual machine that is set back *while it runs* keeps its process, and with
//! it the counter: such snapshots must not be gone on with twice.)
//!
//! Layout of a value: number of the salt (4 bytes), nonce (8), ciphertext, tag (16). [`SEAL_OVERHEAD_BYTES`] more than it was.

mod key;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use ring::rand::SecureRandom;

pub use key::{NoKey, STATE_KEY_BYTES, StateKey};

use crate::disk::Disk;
use crate::failure::DataFile;
use crate::open_error::OpenError;

/// 0 -> format and the check of the key; others -> salts, by number.
const SEAL: TableDefinition<'static, u32, &[u8]> = TableDefinition::new("seal");
const HEADER: u32 = 0;
/// Format of the table and of sealed values.
const FORMAT: u8 = 1;
const SALT_BYTES: usize = 32;
const HEAD_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// By how much a value grows.
pub const SEAL_OVERHEAD_BYTES: usize = HEAD_BYTES + TAG_BYTES;

/// How values are sealed at rest.
#[derive(Clone)]
pub struct SealOptions {
    /// The operator's key.
    pub key: StateKey,
    /// Where salts come from.
    pub random: Arc<dyn SecureRandom + Send + Sync>,
}

impl fmt::Debug for SealOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealOptions").finish_non_exhaustive()
    }
}

/// Seals and opens the values of one file.
pub(crate) struct Seal {
    file: DataFile,
    key: StateKey,
    salts: BTreeMap<u32, Vec<u8>>,
    /// Number of the salt of this opening.
    epoch: u32,
    cipher: LessSafeKey,
    /// The next nonce.
    count: AtomicU64,
    /// Ciphers of openings before, as they were needed.
    older: RwLock<HashMap<u32, Arc<LessSafeKey>>>,
}

/// A value that cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealed value of {0} is damaged, or is not of its place")]
pub(crate) struct NotOpened(DataFile);

/// Part of what makes a new file: it says that its values are sealed, and under which key, before there are any.
pub(crate) fn lay_down(write: &redb::WriteTransaction, seal: Option<&SealOptions>) -> Result<(), redb::Error> {
    let Some(seal) = seal else { return Ok(()) };
    let mut header = vec![FORMAT];
    header.extend_from_slice(&seal.key.check());
    write.open_table(SEAL)?.insert(HEADER, header.as_slice())?;
    Ok(())
}

impl Seal {
    /// How the file's values are sealed; `None`: they are not.
    pub(crate) fn open(
        database: &Database,
        disk: &dyn Disk,
        file: DataFile,
        options: Option<&SealOptions>,
    ) -> Result<Option<Arc<Self>>, OpenError> {
        let path = || disk.path(file);
        let damaged = |error: redb::Error| OpenError::of_redb(path(), error);
        let rows = read(database).map_err(damaged)?;
        let (mut salts, options) = match (rows, options) {
            (None, None) => return Ok(None),
            (None, Some(_)) => return Err(OpenError::NotSealed { path: path() }),
            (Some(_), None) => return Err(OpenError::KeyMissing { path: path() }),
            (Some(salts), Some(options)) => (salts, options),
        };
        let header = salts.remove(&HEADER).unwrap_or_default();
        match header.split_first() {
            Some((&FORMAT, check)) if check == options.key.check() => {}
            Some((&FORMAT, _)) => return Err(OpenError::KeyWrong { path: path() }),
            Some((&found, _)) => {
                return Err(OpenError::Newer { path: path(), found: found.into(), reads: FORMAT.into() });
            }
            None => return Err(damaged(redb::Error::Corrupted("its seal has no header".to_owned()))),
        }
        let mut salt = vec![0; SALT_BYTES];
        options.random.fill(&mut salt).map_err(|_| OpenError::Entropy { path: path() })?;
        let epoch = salts.last_key_value().map_or(HEADER, |(epoch, _)| *epoch) + 1;
        write(database, epoch, &salt).map_err(damaged)?;
        let cipher = options.key.cipher(&salt, file.file_name());
        salts.insert(epoch, salt);
        let (key, count, older) = (options.key.clone(), AtomicU64::new(0), RwLock::default());
        Ok(Some(Arc::new(Self { file, key, salts, epoch, cipher, count, older })))
    }

    /// The value as it is written to this place.
    pub(crate) fn seal(&self, place: &[&[u8]], value: &[u8]) -> Vec<u8> {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let mut sealed = Vec::with_capacity(value.len() + SEAL_OVERHEAD_BYTES);
        sealed.extend_from_slice(&self.epoch.to_be_bytes());
        sealed.extend_from_slice(&count.to_be_bytes());
        sealed.extend_from_slice(value);
        let tag =
            self.cipher.seal_in_place_separate_tag(nonce(count), Aad::from(place.concat()), &mut sealed[HEAD_BYTES..]);
        match tag {
            Ok(tag) => sealed.extend_from_slice(tag.as_ref()),
            // Only for values of 64 GiB.
            Err(_) => unreachable!("rows and entries are bounded"),
        }
        sealed
    }

    /// The value that was sealed for this place.
    pub(crate) fn unseal(&self, place: &[&[u8]], sealed: &[u8]) -> Result<Vec<u8>, NotOpened> {
        let not_opened = NotOpened(self.file);
        let (head, rest) = sealed.split_at_checked(HEAD_BYTES).ok_or(not_opened)?;
        let (epoch, count) = head.split_at(4);
        let epoch = epoch.try_into().map(u32::from_be_bytes).map_err(|_| not_opened)?;
        let count = count.try_into().map(u64::from_be_bytes).map_err(|_| not_opened)?;
        let mut value = rest.to_vec();
        let aad = Aad::from(place.concat());
        let length = if epoch == self.epoch {
            self.cipher.open_in_place(nonce(count), aad, &mut value).map_err(|_| not_opened)?.len()
        } else {
            let cipher = self.older(epoch).ok_or(not_opened)?;
            cipher.open_in_place(nonce(count), aad, &mut value).map_err(|_| not_opened)?.len()
        };
        value.truncate(length);
        Ok(value)
    }

    fn older(&self, epoch: u32) -> Option<Arc<LessSafeKey>> {
        if let Some(cipher) = self.older.read().get(&epoch) {
            return Some(Arc::clone(cipher));
        }
        let cipher = Arc::new(self.key.cipher(self.salts.get(&epoch)?, self.file.file_name()));
        self.older.write().insert(epoch, Arc::clone(&cipher));
        Some(cipher)
    }
}

impl From<NotOpened> for redb::StorageError {
    fn from(error: NotOpened) -> Self {
        Self::Corrupted(error.to_string())
    }
}

fn nonce(count: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - 8..].copy_from_slice(&count.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn read(database: &Database) -> Result<Option<BTreeMap<u32, Vec<u8>>>, redb::Error> {
    let read = database.begin_read()?;
    let table = match read.open_table(SEAL) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        table => table?,
    };
    let rows = table.iter()?.map(|row| row.map(|(number, value)| (number.value(), value.value().to_vec())));
    Ok(Some(rows.collect::<Result<_, _>>()?))
}

fn write(database: &Database, epoch: u32, salt: &[u8]) -> Result<(), redb::Error> {
    let mut write = database.begin_write()?;
    write.set_quick_repair(true);
    write.open_table(SEAL)?.insert(epoch, salt)?;
    write.commit()?;
    Ok(())
}
