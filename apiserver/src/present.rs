//! Whether what this server knows is the present: all that was acknowledged, by whichever server of the cluster.
//!
//! Requests are judged on it. A server that leads knows it from when it has caught up with the leaders before it: nothing is
//! acknowledged that it has not applied. The others ask.

use std::sync::atomic::{AtomicU64, Ordering};

use kontiki_model::Status;

use crate::{core::Core, rest::store};

#[derive(Default)]
pub(crate) struct Present {
    /// The last term in which this server led and had caught up with all terms before.
    led_in: AtomicU64,
}

/// How it is known that this server has caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// A majority was asked.
    Confirmed,
    /// It leads. If somebody else does without its knowledge, that comes out where it reads or writes.
    Leads,
}

impl Core {
    /// Waits until this server knows all that was acknowledged before the call.
    pub(crate) async fn reach_present(&self) -> Result<Known, Status> {
        let leading = || Some(*self.log.leadership().borrow()).filter(|now| now.leader);
        let before = leading();
        if before.is_some_and(|now| self.present.led_in.load(Ordering::Acquire) == now.term) {
            return Ok(Known::Leads);
        }
        store::barrier(self).await?;
        if let Some(now) = before
            && leading() == before
        {
            self.present.led_in.fetch_max(now.term, Ordering::AcqRel);
        }
        Ok(Known::Confirmed)
    }
}
