//! Reading MessagePack where it lies, without building anything: what a report passes on its way need not become a tree.
//!
//! Nothing here allocates or recurses. What cannot be read is [`Malformed`], never a panic.

/// Bytes that are no MessagePack of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They end inside a value.
    #[error("it ends inside a value")]
    Truncated,
    /// Extension types have no meaning here.
    #[error("marker {0:#04x} is not part of the format")]
    Marker(u8),
    /// Another kind of value was expected.
    #[error("{0} was expected")]
    Expected(&'static str),
    /// Beyond what a twin's numbers hold.
    #[error("integer {0} is beyond +-2^52")]
    Integer(u64),
}

/// One step of a value: a scalar, or the head of what follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Item<'a> {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// An integer.
    Integer(i64),
    /// A float; not checked for being finite.
    Float(f64),
    /// A string; not checked for being UTF-8.
    Text(&'a [u8]),
    /// Bytes: ids, never a document's value.
    Binary(&'a [u8]),
    /// An array of so many elements, which follow.
    Array(usize),
    /// A map of so many pairs, which follow.
    Map(usize),
}

/// A place in some bytes. Copied to look ahead.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// At the beginning.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Bytes still to be read.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Is nothing left?
    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Passes these very bytes, if they come next.
    #[inline]
    pub fn pass(&mut self, bytes: &[u8]) -> bool {
        let comes_next = self.bytes[self.at..].starts_with(bytes);
        if comes_next {
            self.at += bytes.len();
        }
        comes_next
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(length).ok_or(Malformed::Truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed::Truncated)?;
        self.at = end;
        Ok(taken)
    }

    fn uint<const N: usize>(&mut self) -> Result<u64, Malformed> {
        let mut wide = [0; 8];
        wide[8 - N..].copy_from_slice(self.take(N)?);
        Ok(u64::from_be_bytes(wide))
    }

    fn sint<const N: usize>(&mut self) -> Result<i64, Malformed> {
        let unused = 64 - 8 * N as u32;
        Ok((self.uint::<N>()?.cast_signed() << unused) >> unused)
    }

    fn length<const N: usize>(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.uint::<N>()?).map_err(|_| Malformed::Truncated)
    }

    /// The next step.
    pub fn next_item(&mut self) -> Result<Item<'a>, Malformed> {
        let marker = *self.bytes.get(self.at).ok_or(Malformed::Truncated)?;
        self.at += 1;
        Ok(match marker {
            0x00..=0x7f => Item::Integer(i64::from(marker)),
            0xe0..=0xff => Item::Integer(i64::from(marker.cast_signed())),
            0xa0..=0xbf => Item::Text(self.take(usize::from(marker & 0x1f))?),
            0x90..=0x9f => Item::Array(usize::from(marker & 0x0f)),
            0x80..=0x8f => Item::Map(usize::from(marker & 0x0f)),
            0xc0 => Item::Null,
            0xc2 => Item::Bool(false),
            0xc3 => Item::Bool(true),
            0xca => Item::Float(f64::from(f32::from_bits(self.uint::<4>()? as u32))),
            0xcb => Item::Float(f64::from_bits(self.uint::<8>()?)),
            0xcc => Item::Integer(self.uint::<1>()?.cast_signed()),
            0xcd => Item::Integer(self.uint::<2>()?.cast_signed()),
            0xce => Item::Integer(self.uint::<4>()?.cast_signed()),
            0xcf => {
                let wide = self.uint::<8>()?;
                Item::Integer(i64::try_from(wide).map_err(|_| Malformed::Integer(wide))?)
            }
            0xd0 => Item::Integer(self.sint::<1>()?),
            0xd1 => Item::Integer(self.sint::<2>()?),
            0xd2 => Item::Integer(self.sint::<4>()?),
            0xd3 => Item::Integer(self.sint::<8>()?),
            0xd9 => self.length::<1>().and_then(|length| self.take(length)).map(Item::Text)?,
            0xda => self.length::<2>().and_then(|length| self.take(length)).map(Item::Text)?,
            0xdb => self.length::<4>().and_then(|length| self.take(length)).map(Item::Text)?,
            0xc4 => self.length::<1>().and_then(|length| self.take(length)).map(Item::Binary)?,
            0xc5 => self.length::<2>().and_then(|length| self.take(length)).map(Item::Binary)?,
            0xc6 => self.length::<4>().and_then(|length| self.take(length)).map(Item::Binary)?,
            0xdc => Item::Array(self.length::<2>()?),
            0xdd => Item::Array(self.length::<4>()?),
            0xde => Item::Map(self.length::<2>()?),
            0xdf => Item::Map(self.length::<4>()?),
            _ => return Err(Malformed::Marker(marker)),
        })
    }

    /// The marker that comes next, passed if `known` says so: most of what is read is one byte, or a short text.
    #[inline]
    fn short(&mut self, known: impl Fn(u8) -> bool) -> Option<u8> {
        let marker = self.bytes.get(self.at).copied().filter(|marker| known(*marker))?;
        self.at += 1;
        Some(marker)
    }

    /// The elements of the array that comes next.
    #[inline]
    pub fn array(&mut self) -> Result<usize, Malformed> {
        if let Some(marker) = self.short(|marker| marker & 0xf0 == 0x90) {
            return Ok(usize::from(marker & 0x0f));
        }
        match self.next_item()? {
            Item::Array(elements) => Ok(elements),
            _ => Err(Malformed::Expected("an array")),
        }
    }

    /// The pairs of the map that comes next.
    #[inline]
    pub fn map(&mut self) -> Result<usize, Malformed> {
        if let Some(marker) = self.short(|marker| marker & 0xf0 == 0x80) {
            return Ok(usize::from(marker & 0x0f));
        }
        match self.next_item()? {
            Item::Map(pairs) => Ok(pairs),
            _ => Err(Malformed::Expected("a map")),
        }
    }

    /// The text that comes next.
    #[inline]
    pub fn text(&mut self) -> Result<&'a [u8], Malformed> {
        if let Some(marker) = self.short(|marker| marker & 0xe0 == 0xa0) {
            return self.take(usize::from(marker & 0x1f));
        }
        match self.next_item()? {
            Item::Text(text) => Ok(text),
            _ => Err(Malformed::Expected("a string")),
        }
    }

    /// The integer that comes next.
    #[inline]
    pub fn integer(&mut self) -> Result<i64, Malformed> {
        if let Some(marker) = self.short(|marker| marker < 0x80) {
            return Ok(i64::from(marker));
        }
        match self.next_item()? {
            Item::Integer(integer) => Ok(integer),
            _ => Err(Malformed::Expected("an integer")),
        }
    }

    /// The number from 0 up that comes next; the full range of 64 bits.
    #[inline]
    pub fn unsigned(&mut self) -> Result<u64, Malformed> {
        if let Some(marker) = self.short(|marker| marker < 0x80) {
            return Ok(u64::from(marker));
        }
        match self.next_item() {
            Ok(Item::Integer(integer)) => u64::try_from(integer).map_err(|_| Malformed::Expected("a number from 0 up")),
            Err(Malformed::Integer(wide)) => Ok(wide),
            Ok(_) => Err(Malformed::Expected("a number from 0 up")),
            Err(error) => Err(error),
        }
    }

    /// The truth value that comes next.
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        match self.next_item()? {
            Item::Bool(bool) => Ok(bool),
            _ => Err(Malformed::Expected("true or false")),
        }
    }

    /// Passes one value with all inside it, and returns its bytes.
    #[inline]
    pub fn raw(&mut self) -> Result<&'a [u8], Malformed> {
        let length = match self.bytes.get(self.at) {
            Some(0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff) => 1,
            Some(marker @ 0xa0..=0xbf) => 1 + usize::from(marker & 0x1f),
            Some(0xcb) => 9,
            _ => return self.raw_walk(),
        };
        self.take(length)
    }

    fn raw_walk(&mut self) -> Result<&'a [u8], Malformed> {
        let from = self.at;
        let mut left: usize = 1;
        while left > 0 {
            left -= 1;
            let inside = match self.next_item() {
                Ok(Item::Array(elements)) => elements,
                Ok(Item::Map(pairs)) => pairs.checked_mul(2).ok_or(Malformed::Truncated)?,
                Ok(_) | Err(Malformed::Integer(_)) => 0,
                Err(error) => return Err(error),
            };
            left = left.checked_add(inside).ok_or(Malformed::Truncated)?;
            // Each element takes a byte at least: a claim beyond that is refused before it is walked.
            if left > self.bytes.len() - self.at {
                return Err(Malformed::Truncated);
            }
        }
        Ok(&self.bytes[from..self.at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;
    use crate::value::Value;
    use proptest::prelude::*;

    #[test]
    fn every_width_of_integer_is_read_as_its_value() {
        for integer in [0, 1, -1, 127, 128, -32, -33, 255, 256, -128, -129, 65_535, 65_536, -32_768, i64::MAX, i64::MIN]
        {
            let bytes = rmp_serde::to_vec(&integer).unwrap();
            assert_eq!(Reader::new(&bytes).next_item(), Ok(Item::Integer(integer)), "{bytes:?}");
        }
        let wide = rmp_serde::to_vec(&u64::MAX).unwrap();
        assert_eq!(Reader::new(&wide).next_item(), Err(Malformed::Integer(u64::MAX)));
        assert_eq!(Reader::new(&wide).unsigned(), Ok(u64::MAX));
    }

    #[test]
    fn a_value_is_passed_whole_and_a_false_claim_at_once() {
        let value = parse(br#"{"a": [1, {"b": "x"}, null], "c": -2.5, "d": {}}"#, "test").unwrap();
        let mut bytes = rmp_serde::to_vec(&value).unwrap();
        let length = bytes.len();
        bytes.push(0xc0);
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.raw().map(<[u8]>::len), Ok(length));
        assert_eq!(reader.next_item(), Ok(Item::Null));
        assert!(reader.is_at_end());
        for claim in [[0xdd, 0xff, 0xff, 0xff, 0xff], [0xdf, 0xff, 0xff, 0xff, 0xff], [0xdb, 0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(Reader::new(&claim).raw(), Err(Malformed::Truncated));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_serde_agrees_on_what_a_value_is(bytes: Vec<u8>) {
            let passed = Reader::new(&bytes).raw();
            let mut deserializer = rmp_serde::Deserializer::from_read_ref(&bytes);
            if serde::Deserialize::deserialize(&mut deserializer).map(|_: Value| ()).is_ok() {
                prop_assert!(passed.is_ok(), "{passed:?}");
            }
        }
    }
}
