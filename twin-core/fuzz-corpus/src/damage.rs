//! Damaged copies of some bytes.

/// Bytes that mean something where MessagePack or JSON is read: bounds, lists and maps, nothing, what is never used, a double, a text
/// and lists with their lengths in front.
const LIKELY: [u8; 11] = [0, 0x7f, 0x80, 0x90, 0xc0, 0xc1, 0xcb, 0xd9, 0xdd, 0xdf, 0xff];

/// The same damages in every run: some bytes are changed, one is left out or said twice.
#[derive(Debug)]
pub(crate) struct Damage {
    state: u64,
}

impl Damage {
    pub(crate) fn new() -> Self {
        Self { state: 0x9e37_79b9_7f4a_7c15 }
    }

    /// Without end.
    pub(crate) fn of(mut self, bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        std::iter::repeat_with(move || {
            let mut bytes = bytes.to_vec();
            for _ in 0..=self.chance(3) {
                let Some(last) = bytes.len().checked_sub(1) else { break };
                let at = self.chance(bytes.len());
                match self.chance(4) {
                    0 if last > 0 => _ = bytes.remove(at),
                    1 => bytes.insert(at, bytes[at]),
                    2 => bytes[at] = LIKELY[self.chance(LIKELY.len())],
                    _ => bytes[at] ^= 1 << self.chance(8),
                }
            }
            bytes
        })
    }

    /// Xorshift.
    fn chance(&mut self, below: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as usize % below
    }
}
