//! A set of byte offsets, kept as the fewest possible ranges.

use std::collections::BTreeMap;

use crate::types::ByteRange;

/// Sorted ranges that neither overlap nor touch. Memory grows with the number of ranges, not with
/// the bytes that they cover.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extents {
    /// End by start.
    ranges: BTreeMap<u64, u64>,
    total: u64,
}

impl Extents {
    /// The set that holds `range`.
    pub fn of(range: ByteRange) -> Self {
        let mut extents = Self::default();
        extents.insert(range);
        extents
    }

    /// How many bytes it holds.
    pub fn total(&self) -> u64 {
        self.total
    }

    pub fn insert(&mut self, range: ByteRange) {
        if range.is_empty() {
            return;
        }
        let ByteRange { mut start, mut end } = range;
        if let Some((&before, &before_end)) = self.ranges.range(..=start).next_back()
            && before_end >= start
        {
            start = before;
            end = end.max(before_end);
        }
        while let Some((&next, &next_end)) = self.ranges.range(start..=end).next() {
            end = end.max(next_end);
            self.drop_range(next, next_end);
        }
        self.add_range(start, end);
    }

    pub fn remove(&mut self, range: ByteRange) {
        if range.is_empty() {
            return;
        }
        for old in self.touched(range) {
            self.drop_range(old.start, old.end);
            self.add_range(old.start, range.start);
            self.add_range(range.end, old.end);
        }
    }

    /// Removes all from `end` on.
    pub fn truncate(&mut self, end: u64) {
        self.remove(ByteRange::new(end, u64::MAX));
    }

    /// Whether every byte of `range` is in it; true for an empty range.
    pub fn contains(&self, range: ByteRange) -> bool {
        range.is_empty()
            || self.ranges.range(..=range.start).next_back().is_some_and(|(_, &e)| e >= range.end)
    }

    /// What of `within` is in it, in order.
    pub fn covered(&self, within: ByteRange) -> Vec<ByteRange> {
        self.touched(within).into_iter().map(|range| range.intersection(within)).collect()
    }

    /// What of `within` is not in it, in order.
    pub fn gaps(&self, within: ByteRange) -> Vec<ByteRange> {
        let mut gaps = Vec::new();
        let mut at = within.start;
        for range in self.touched(within) {
            if range.start > at {
                gaps.push(ByteRange::new(at, range.start));
            }
            at = range.end;
        }
        if at < within.end {
            gaps.push(ByteRange::new(at, within.end));
        }
        gaps
    }

    /// The ranges that share a byte with `range`, in order and in full.
    fn touched(&self, range: ByteRange) -> Vec<ByteRange> {
        if range.is_empty() {
            return Vec::new();
        }
        let first = match self.ranges.range(..=range.start).next_back() {
            Some((&start, &end)) if end > range.start => start,
            _ => range.start,
        };
        let found = self.ranges.range(first..range.end);
        found.map(|(&start, &end)| ByteRange::new(start, end)).collect()
    }

    fn add_range(&mut self, start: u64, end: u64) {
        if start < end {
            self.ranges.insert(start, end);
            self.total += end - start;
        }
    }

    fn drop_range(&mut self, start: u64, end: u64) {
        self.ranges.remove(&start);
        self.total -= end - start;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(ByteRange),
        Remove(ByteRange),
        Truncate(u64),
    }

    fn range() -> impl Strategy<Value = ByteRange> {
        (0..64_u64, 0..16_u64).prop_map(|(start, len)| ByteRange::at(start, len))
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => range().prop_map(Step::Insert),
            2 => range().prop_map(Step::Remove),
            1 => (0..80_u64).prop_map(Step::Truncate),
        ]
    }

    fn bytes(ranges: &[ByteRange]) -> BTreeSet<u64> {
        ranges.iter().flat_map(|range| range.start..range.end).collect()
    }

    proptest! {
        #[test]
        fn extents_are_the_set_of_their_bytes(
            steps in prop::collection::vec(step(), 0..60),
            within in range(),
        ) {
            let mut extents = Extents::default();
            let mut oracle = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Insert(range) => {
                        extents.insert(range);
                        oracle.extend(range.start..range.end);
                    }
                    Step::Remove(range) => {
                        extents.remove(range);
                        oracle.retain(|byte| !(range.start..range.end).contains(byte));
                    }
                    Step::Truncate(end) => {
                        extents.truncate(end);
                        oracle.retain(|byte| *byte < end);
                    }
                }
                let all = extents.covered(ByteRange::new(0, 1000));
                prop_assert_eq!(&bytes(&all), &oracle);
                prop_assert!(all.windows(2).all(|pair| pair[0].end < pair[1].start));
                prop_assert_eq!(extents.total(), oracle.len() as u64);
                let inside: BTreeSet<u64> = (within.start..within.end).collect();
                let missing: BTreeSet<u64> = inside.difference(&oracle).copied().collect();
                let held: BTreeSet<u64> = inside.intersection(&oracle).copied().collect();
                prop_assert_eq!(bytes(&extents.gaps(within)), missing.clone());
                prop_assert_eq!(bytes(&extents.covered(within)), held);
                prop_assert_eq!(extents.contains(within), missing.is_empty());
            }
        }
    }
}
