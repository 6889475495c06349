//! A watch resumes from any revision that is retained, on any server that has got so far.

use kontiki_model::Revision;
use kontiki_raft::ReadError;

use super::{Violation, violated};

/// What a server refused to resume from a revision for, and how far its history and its state reach.
pub fn check(from: Revision, refusal: &ReadError, floor: Revision, revision: Revision) -> Result<(), Violation> {
    let right = match refusal {
        ReadError::Compacted { .. } => from < floor,
        ReadError::Future { .. } => from > revision,
        _ => false,
    };
    if right {
        return Ok(());
    }
    violated("retained history can be resumed", format!("from {from} between {floor} and {revision}: {refusal}"))
}
