//! Frames of a sealed backup.
//!
//! Everything behind the manifest is sealed (AES-256-GCM), frame by frame, under a key that belongs to this backup alone: whoever writes it
//! derives it under a salt drawn for it. The nonce is the frame's place, so none repeats, and none can be moved, left out or added.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::Kind;

/// Bytes of a backup's key.
pub const KEY_BYTES: usize = 32;

pub(crate) struct Cipher(LessSafeKey);

impl Cipher {
    pub(crate) fn new(key: &[u8; KEY_BYTES]) -> Self {
        match UnboundKey::new(&AES_256_GCM, key) {
            Ok(key) => Self(LessSafeKey::new(key)),
            Err(_) => unreachable!("AES-256 has keys of 32 bytes"),
        }
    }

    pub(crate) fn seal(&self, kind: Kind, place: u64, payload: &mut Vec<u8>) {
        if self.0.seal_in_place_append_tag(nonce(place), Aad::from([kind as u8]), payload).is_err() {
            unreachable!("frames are far shorter than 64 GiB");
        }
    }

    /// `None`: another key, or another payload.
    pub(crate) fn open(&self, kind: Kind, place: u64, mut payload: Vec<u8>) -> Option<Vec<u8>> {
        let length = self.0.open_in_place(nonce(place), Aad::from([kind as u8]), &mut payload).ok()?.len();
        payload.truncate(length);
        Some(payload)
    }
}

fn nonce(place: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - 8..].copy_from_slice(&place.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}
