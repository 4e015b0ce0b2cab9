//! What becomes of what was not synced.

/// What the power cut does to writes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// None is there.
    AllLost,
    /// All are there.
    AllKept,
    /// Each by itself is lost, kept or torn.
    Mixed,
    /// All are kept but the last, of which some sectors are.
    LastTorn,
}

impl Fate {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::AllLost, Self::AllKept, Self::Mixed, Self::LastTorn];
}

/// Chance under a seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Chance(pub u64);

impl Chance {
    /// 64 bits.
    #[allow(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below the bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}
