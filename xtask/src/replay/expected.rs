//! Transcripts that are known not to be answered as recorded, and why. Whoever makes one pass takes its line away: the run says so.

use super::Target;

/// One transcript, with what it fails against.
pub struct Expected {
    pub transcript: &'static str,
    pub on: &'static [Target],
    pub why: &'static str,
}

const EVERYWHERE: &[Target] = &[Target::Alone, Target::Leader, Target::Follower];

pub static EXPECTED: &[Expected] = &[Expected {
    transcript: "crud-core-pod",
    on: EVERYWHERE,
    why: "the recorded server added a source openshift-service-ca.crt to every pod's token volume; Kubernetes does not",
}];
