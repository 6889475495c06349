//! Revisions that never were: a restored or recovered cluster skips those that a lost one may have given out.
//!
//! Whoever remembers such a revision has seen a past that is not this log's. To them it is as if history began later: they
//! get what a watcher gets who was away for too long, and look again from now.

use kontiki_model::Revision;

use crate::codec::{self, Tag};
use crate::disk::DiskError;
use crate::limits::GAPS_MAX;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gaps(Vec<(Revision, Revision)>);

impl Gaps {
    pub fn read(frame: Option<Vec<u8>>) -> Result<Self, DiskError> {
        let Some(frame) = frame else { return Ok(Gaps::default()) };
        codec::decode(Tag::Gaps, &frame).map(Gaps).map_err(DiskError::record("the mark of skipped revisions"))
    }

    pub fn frame(&self) -> Vec<u8> {
        codec::encode(Tag::Gaps, &self.0)
    }

    /// Adds a range, both ends included, which reaches behind all that are there. The oldest are forgotten first.
    pub fn add(&mut self, mut first: Revision, last: Revision) {
        if first > last {
            return;
        }
        // A past that was set back to before an earlier gap, or to within it.
        while let Some((begin, _)) = self.0.pop_if(|(_, end)| *end >= first) {
            first = first.min(begin);
        }
        self.0.push((first, last));
        if self.0.len() > GAPS_MAX {
            self.0.remove(0);
        }
    }

    /// The first revision behind the gap that a revision is in.
    pub fn end(&self, revision: Revision) -> Option<Revision> {
        let next = self.0.partition_point(|(_, last)| *last < revision);
        self.0.get(next).filter(|(first, _)| *first <= revision).map(|(_, last)| last + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_in_a_gap_is_told_where_it_ends() {
        let mut gaps = Gaps::default();
        gaps.add(11, 19);
        gaps.add(21, 20);
        gaps.add(30, 30);
        let ends: Vec<_> = [10, 11, 19, 20, 29, 30, 31].map(|revision| gaps.end(revision)).into();
        assert_eq!(ends, [None, Some(20), Some(20), None, None, Some(31), None]);
        assert_eq!(Gaps::read(Some(gaps.frame())).ok(), Some(gaps));
    }

    #[test]
    fn a_gap_takes_in_those_behind_its_beginning() {
        let mut gaps = Gaps::default();
        for (first, last) in [(11, 19), (30, 39), (50, 59), (35, 99)] {
            gaps.add(first, last);
        }
        assert_eq!(gaps, Gaps(vec![(11, 19), (30, 99)]));
        gaps.add(5, 120);
        assert_eq!(gaps, Gaps(vec![(5, 120)]));
    }
}
