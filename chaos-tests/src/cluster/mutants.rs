//! Planted bugs. Each stands outside of what is shipped: around the storage, between clients and servers, or in the disk.

use kontiki_raft::simulation::Tamper;

/// A bug that a simulation can be given, to prove that it would be noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    AcknowledgedBeforeSync,
    EntrySkipped,
    VoteForgotten,
    AppliedTwiceAfterRestart,
    RevisionReusedAfterRestart,
    FollowerReadsWithoutIndex,
    DeposedLeaderAnswers,
    PreconditionOnStaleState,
    WatchResumesLate,
    WatchResumesEarly,
    EventDroppedBehindRing,
    SnapshotLosesLastEvent,
    BookmarkAhead,
    CommandSplit,
    EventComesAgain,
    PastIsPresent,
    LeaderGoesOnAfterCrash,
}

impl Mutant {
    pub const ALL: [Mutant; 17] = [
        Mutant::AcknowledgedBeforeSync,
        Mutant::EntrySkipped,
        Mutant::VoteForgotten,
        Mutant::AppliedTwiceAfterRestart,
        Mutant::RevisionReusedAfterRestart,
        Mutant::FollowerReadsWithoutIndex,
        Mutant::DeposedLeaderAnswers,
        Mutant::PreconditionOnStaleState,
        Mutant::WatchResumesLate,
        Mutant::WatchResumesEarly,
        Mutant::EventDroppedBehindRing,
        Mutant::SnapshotLosesLastEvent,
        Mutant::BookmarkAhead,
        Mutant::CommandSplit,
        Mutant::EventComesAgain,
        Mutant::PastIsPresent,
        Mutant::LeaderGoesOnAfterCrash,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Mutant::AcknowledgedBeforeSync => "AcknowledgedBeforeSync",
            Mutant::EntrySkipped => "EntrySkipped",
            Mutant::VoteForgotten => "VoteForgotten",
            Mutant::AppliedTwiceAfterRestart => "AppliedTwiceAfterRestart",
            Mutant::RevisionReusedAfterRestart => "RevisionReusedAfterRestart",
            Mutant::FollowerReadsWithoutIndex => "FollowerReadsWithoutIndex",
            Mutant::DeposedLeaderAnswers => "DeposedLeaderAnswers",
            Mutant::PreconditionOnStaleState => "PreconditionOnStaleState",
            Mutant::WatchResumesLate => "WatchResumesLate",
            Mutant::WatchResumesEarly => "WatchResumesEarly",
            Mutant::EventDroppedBehindRing => "EventDroppedBehindRing",
            Mutant::SnapshotLosesLastEvent => "SnapshotLosesLastEvent",
            Mutant::BookmarkAhead => "BookmarkAhead",
            Mutant::CommandSplit => "CommandSplit",
            Mutant::EventComesAgain => "EventComesAgain",
            Mutant::PastIsPresent => "PastIsPresent",
            Mutant::LeaderGoesOnAfterCrash => "LeaderGoesOnAfterCrash",
        }
    }
}

/// What a bug does to one life of one server.
pub struct Tampering {
    pub mutant: Option<Mutant>,
    pub server: u64,
    pub lives: u64,
}

/// Which entries a server with [`Mutant::EntrySkipped`] skips: one in so many.
const SKIPPED: u64 = 23;

impl Tamper for Tampering {
    fn keeps_vote(&self) -> bool {
        self.mutant != Some(Mutant::VoteForgotten)
    }

    fn times_applied(&self, index: u64) -> usize {
        let skips = self.mutant == Some(Mutant::EntrySkipped) && self.server == 2;
        usize::from(!(skips && index.is_multiple_of(SKIPPED)))
    }

    fn restores_leader(&self) -> bool {
        self.mutant == Some(Mutant::LeaderGoesOnAfterCrash)
    }

    fn forgets_applied(&self) -> u64 {
        u64::from(self.mutant == Some(Mutant::AppliedTwiceAfterRestart) && self.lives > 0)
    }
}
