//! What a file holds.

use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const PAGE_BYTES: usize = 4096;

/// Bytes of a file, by page. What was never written is zero.
#[derive(Clone, Default)]
pub(super) struct Content {
    pages: BTreeMap<u64, Arc<[u8]>>,
    pub(super) len: u64,
}

impl Content {
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) {
        let mut done = 0;
        while done < out.len() {
            let at = offset + done as u64;
            let (page, within) = (at / PAGE_BYTES as u64, (at % PAGE_BYTES as u64) as usize);
            let count = (PAGE_BYTES - within).min(out.len() - done);
            match self.pages.get(&page) {
                Some(bytes) => out[done..done + count].copy_from_slice(&bytes[within..within + count]),
                None => out[done..done + count].fill(0),
            }
            done += count;
        }
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let (page, within) = (at / PAGE_BYTES as u64, (at % PAGE_BYTES as u64) as usize);
            let count = (PAGE_BYTES - within).min(data.len() - done);
            let mut bytes = self.pages.get(&page).map_or_else(|| vec![0; PAGE_BYTES], |bytes| bytes.to_vec());
            bytes[within..within + count].copy_from_slice(&data[done..done + count]);
            self.pages.insert(page, bytes.into());
            done += count;
        }
        self.len = self.len.max(offset + data.len() as u64);
    }

    pub(super) fn set_len(&mut self, len: u64) {
        self.pages.split_off(&len.div_ceil(PAGE_BYTES as u64));
        if !len.is_multiple_of(PAGE_BYTES as u64)
            && let Some(page) = self.pages.get_mut(&(len / PAGE_BYTES as u64))
        {
            let mut bytes = page.to_vec();
            bytes[(len % PAGE_BYTES as u64) as usize..].fill(0);
            *page = bytes.into();
        }
        self.len = len;
    }

    /// Takes all pages up to this length, as far as they are not there.
    pub(super) fn allocate(&mut self, len: u64) {
        self.set_len(len);
        let empty: Arc<[u8]> = vec![0; PAGE_BYTES].into();
        for page in 0..len.div_ceil(PAGE_BYTES as u64) {
            self.pages.entry(page).or_insert_with(|| Arc::clone(&empty));
        }
    }

    /// Pages that a write there would take anew.
    pub(super) fn missing(&self, offset: u64, bytes: usize) -> u64 {
        let last = (offset + bytes as u64).div_ceil(PAGE_BYTES as u64);
        (offset / PAGE_BYTES as u64..last).filter(|page| !self.pages.contains_key(page)).count() as u64
    }
}
