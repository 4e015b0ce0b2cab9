//! The key of what a node holds at rest.

use std::fmt;

use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::hmac;

/// Bytes of a key.
pub const STATE_KEY_BYTES: usize = 32;

/// Text that is no key. It is not shown: it may be one with a slip of the pen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it holds no key: a key is {} hexadecimal digits, as `openssl rand -hex {STATE_KEY_BYTES}` prints", 2 * STATE_KEY_BYTES)]
pub struct NoKey;

/// The key that an operator keeps. Never used itself: each file, each start and each backup has a key of its own, derived from it.
/// Shown by nothing.
#[derive(Clone)]
pub struct StateKey([u8; STATE_KEY_BYTES]);

impl fmt::Debug for StateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateKey(..)")
    }
}

/// Length of a derived key that is handed out.
struct Derived;

impl KeyType for Derived {
    fn len(&self) -> usize {
        STATE_KEY_BYTES
    }
}

impl StateKey {
    /// From its hexadecimal digits; white space around them does no harm.
    pub fn from_text(text: &str) -> Result<Self, NoKey> {
        let text = text.trim();
        let mut key = [0; STATE_KEY_BYTES];
        if text.len() != 2 * STATE_KEY_BYTES || !text.is_ascii() {
            return Err(NoKey);
        }
        for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| NoKey)?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(NoKey);
            }
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NoKey)?;
        }
        Ok(Self(key))
    }

    /// A key for one purpose under one salt.
    pub fn derived(&self, salt: &[u8], purpose: &str) -> [u8; STATE_KEY_BYTES] {
        let mut key = [0; STATE_KEY_BYTES];
        let (salt, info) = (Salt::new(HKDF_SHA256, salt), [purpose.as_bytes()]);
        let filled = salt.extract(&self.0).expand(&info, Derived).and_then(|okm| okm.fill(&mut key));
        debug_assert!(filled.is_ok(), "HKDF gives 32 bytes");
        key
    }

    /// A cipher for one file and one start.
    pub(super) fn cipher(&self, salt: &[u8], purpose: &str) -> LessSafeKey {
        match UnboundKey::new(&AES_256_GCM, &self.derived(salt, purpose)) {
            Ok(key) => LessSafeKey::new(key),
            Err(_) => unreachable!("AES-256 has keys of 32 bytes"),
        }
    }

    /// By which a wrong key is told from the right one. Says nothing about the key.
    pub(super) fn check(&self) -> [u8; 32] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), b"twinmesh state key check 1");
        std::array::from_fn(|at| tag.as_ref().get(at).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_64_hexadecimal_digits_and_is_never_shown() {
        let text = "00112233445566778899aabbccddeeffFFeeddccbbaa99887766554433221100";
        let key = StateKey::from_text(&format!(" {text}\n")).expect("a key");
        assert_eq!(format!("{key:?}"), "StateKey(..)");
        for wrong in
            ["", "00", &text[1..], &format!("{text}0"), &text.replace('0', "x"), &text.replace("00", "+0"), "\u{e9}"]
        {
            assert_eq!(StateKey::from_text(wrong).err(), Some(NoKey), "{wrong}");
        }
        assert!(!NoKey.to_string().contains("0011"));
    }

    #[test]
    fn derived_keys_differ_by_salt_and_purpose() {
        let key = StateKey([7; 32]);
        let derived = key.derived(b"salt", "log");
        assert_eq!(derived, key.derived(b"salt", "log"));
        assert_ne!(derived, key.derived(b"salu", "log"));
        assert_ne!(derived, key.derived(b"salt", "state"));
        assert_ne!(derived, StateKey([8; 32]).derived(b"salt", "log"));
    }
}
