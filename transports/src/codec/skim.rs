//! One walk over a frame's MessagePack before serde sees it.
//!
//! serde reserves memory by the length that an array *claims* and recurses as deep as the input says. After the skim both are
//! bounded: a claim never exceeds the bytes that are left (each element takes at least one), and depth has a limit. The walk
//! neither allocates nor recurses and costs about a nanosecond per element.

use super::FrameError;
use crate::limits::FRAME_DEPTH_MAX;

/// Checks that `bytes` is exactly one well-formed MessagePack value.
pub(super) fn skim(bytes: &[u8]) -> Result<(), FrameError> {
    let mut cursor = Cursor { bytes, at: 0 };
    // Elements still to come, per open container; level 0 is the frame itself.
    let mut left = [0u64; FRAME_DEPTH_MAX + 1];
    left[0] = 1;
    let mut depth = 0;
    loop {
        while left[depth] == 0 {
            if depth == 0 {
                return cursor.at_end();
            }
            depth -= 1;
        }
        left[depth] -= 1;
        let elements = cursor.element()?;
        if elements > 0 {
            if elements > cursor.left() {
                return Err(cursor.error("an array or map claims more elements than there are bytes"));
            }
            if depth == FRAME_DEPTH_MAX {
                return Err(cursor.error("nested too deep"));
            }
            depth += 1;
            left[depth] = elements;
        }
    }
}

/// Reads the head of a frame: `[kind, body, ...]`; returns the kind and where the body begins.
pub(super) fn head(bytes: &[u8]) -> Result<(u64, usize), FrameError> {
    let mut cursor = Cursor { bytes, at: 0 };
    let elements = match cursor.byte()? {
        marker @ 0x90..=0x9f => u64::from(marker & 0x0f),
        0xdc => cursor.uint(2)?,
        0xdd => cursor.uint(4)?,
        _ => return Err(FrameError::malformed("a frame is an array [kind, body]")),
    };
    if elements < 2 {
        return Err(FrameError::malformed(format!(
            "a frame is an array [kind, body], this one has {elements} elements"
        )));
    }
    let kind = match cursor.byte()? {
        marker @ 0x00..=0x7f => u64::from(marker),
        0xcc => cursor.uint(1)?,
        0xcd => cursor.uint(2)?,
        0xce => cursor.uint(4)?,
        0xcf => cursor.uint(8)?,
        _ => return Err(FrameError::malformed("a frame's kind is a number from 0 up")),
    };
    Ok((kind, cursor.at))
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    fn error(&self, what: &str) -> FrameError {
        FrameError::malformed(format!("{what} (at byte {})", self.at))
    }

    fn at_end(&self) -> Result<(), FrameError> {
        if self.left() == 0 { Ok(()) } else { Err(self.error("bytes follow the frame's value")) }
    }

    fn byte(&mut self) -> Result<u8, FrameError> {
        let byte = *self.bytes.get(self.at).ok_or_else(|| self.error("the frame ends inside a value"))?;
        self.at += 1;
        Ok(byte)
    }

    fn uint(&mut self, width: usize) -> Result<u64, FrameError> {
        let mut value = 0;
        for _ in 0..width {
            value = value << 8 | u64::from(self.byte()?);
        }
        Ok(value)
    }

    fn skip(&mut self, count: u64) -> Result<u64, FrameError> {
        if count > self.left() {
            return Err(self.error("a value claims more bytes than the frame has"));
        }
        self.at += count as usize;
        Ok(0)
    }

    /// Passes one marker with what belongs to it; returns how many elements follow inside it.
    fn element(&mut self) -> Result<u64, FrameError> {
        match self.byte()? {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => Ok(0),
            marker @ 0x80..=0x8f => Ok(2 * u64::from(marker & 0x0f)),
            marker @ 0x90..=0x9f => Ok(u64::from(marker & 0x0f)),
            marker @ 0xa0..=0xbf => self.skip(u64::from(marker & 0x1f)),
            0xcc | 0xd0 => self.skip(1),
            0xcd | 0xd1 => self.skip(2),
            0xca | 0xce | 0xd2 => self.skip(4),
            0xcb | 0xcf | 0xd3 => self.skip(8),
            0xc4 | 0xd9 => self.uint(1).and_then(|n| self.skip(n)),
            0xc5 | 0xda => self.uint(2).and_then(|n| self.skip(n)),
            0xc6 | 0xdb => self.uint(4).and_then(|n| self.skip(n)),
            0xdc => self.uint(2),
            0xdd => self.uint(4),
            0xde => Ok(2 * self.uint(2)?),
            0xdf => Ok(2 * self.uint(4)?),
            // 0xc1 is reserved; extension types have no meaning here.
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => Err(self.error("extension types are not part of the protocol")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_beyond_the_bytes_is_refused_before_serde_sees_it() {
        // array32 of 4 billion elements; map32 likewise; str32 likewise.
        for marker in [0xdd_u8, 0xdf, 0xdb] {
            let error = skim(&[marker, 0xff, 0xff, 0xff, 0xff, 0x01]).unwrap_err();
            assert!(error.to_string().contains("claims more"), "{error}");
        }
    }

    #[test]
    fn nesting_has_a_bound() {
        let mut bytes = vec![0x91_u8; FRAME_DEPTH_MAX];
        bytes.push(0x01);
        assert!(skim(&bytes).is_ok());
        bytes.insert(0, 0x91);
        assert!(skim(&bytes).unwrap_err().to_string().contains("too deep"));
    }

    #[test]
    fn bytes_behind_the_value_are_refused() {
        assert!(skim(&[0x01, 0x02]).unwrap_err().to_string().contains("bytes follow"));
        assert!(skim(&[]).is_err());
    }
}
