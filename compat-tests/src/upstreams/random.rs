//! Numbers and build-ids that a seed reproduces.

/// A small reproducible generator of numbers (SplitMix64).
pub struct Random(u64);

impl Random {
    /// The same seed yields the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.number() % limit as u64) as usize
    }

    /// A build-id of 20 bytes.
    pub fn build_id(&mut self) -> String {
        (0..20).map(|_| format!("{:02x}", self.number() as u8)).collect()
    }
}
