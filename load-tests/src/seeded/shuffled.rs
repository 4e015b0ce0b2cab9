//! Numbers in an order that is none, without a table of them.

/// Rounds of the Feistel network: four make a permutation that no sort order shows through.
const ROUNDS: u64 = 4;

/// A permutation of `0..len` that looks random, and is the same each time for the same seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shuffled {
    len: u64,
    half_bits: u32,
    seed: u64,
}

impl Shuffled {
    pub(crate) fn of(len: u64, seed: u64) -> Self {
        // Two halves of so many bits hold every number, and less than four times as many.
        let half_bits = (64 - len.saturating_sub(1).leading_zeros()).div_ceil(2).max(1);
        Self { len, half_bits, seed: hashed(seed) }
    }

    /// How many numbers there are.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The number at this place; each comes at exactly one. Places go round.
    pub(crate) fn at(&self, place: u64) -> u64 {
        let mut number = place % self.len.max(1);
        // The network permutes a power of four; whoever starts within the range comes back into it.
        loop {
            number = self.mixed(number);
            if number < self.len.max(1) {
                return number;
            }
        }
    }

    fn mixed(&self, number: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (number >> self.half_bits, number & mask);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ (hashed(right ^ self.seed ^ (round << 48)) & mask));
        }
        left << self.half_bits | right
    }
}

/// The finalizer of SplitMix64.
fn hashed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_comes_once() {
        for len in [1, 2, 3, 10, 1000, 4097] {
            let shuffled = Shuffled::of(len, 7);
            let mut seen: Vec<u64> = (0..len).map(|place| shuffled.at(place)).collect();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..len), "of {len}");
            assert_eq!(shuffled.at(len), shuffled.at(0));
        }
    }

    #[test]
    fn another_seed_is_another_order() {
        let (one, other) = (Shuffled::of(1_000_000, 1), Shuffled::of(1_000_000, 2));
        assert!((0..100).filter(|place| one.at(*place) == other.at(*place)).count() < 3);
    }

    #[test]
    fn a_stretch_is_spread_over_all_and_not_evenly() {
        let shuffled = Shuffled::of(1_000_000, 7);
        let mut tenths = [0; 10];
        let mut hundredths = [0_u32; 100];
        for place in 0..1000 {
            let number = shuffled.at(place);
            tenths[(number / 100_000) as usize] += 1;
            hundredths[(number / 10_000) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (60..=140).contains(count)), "{tenths:?}");
        // Chance makes some hundredths fuller than others; an arithmetic progression would not.
        let (least, most) = (hundredths.iter().min(), hundredths.iter().max());
        assert!(least < Some(&7) && most > Some(&13), "{hundredths:?}");
    }
}
