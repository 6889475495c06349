//! One watcher: a subject and how far it has been told.

use std::collections::VecDeque;
use std::sync::Arc;

use kontiki_model::Revision;
use tokio::runtime::Handle;
use tokio::sync::watch::Receiver;

use super::{Recent, Subject};
use crate::store::Store;
use crate::{Event, ReadError};

/// What a watch delivers.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchItem {
    Event(Arc<Event>),
    /// Every event of the subject up to this revision was delivered; comes when the watch has caught up.
    Progress(Revision),
}

/// The events of a subject in revision order, each once, without a gap. Dropping it ends it; no task runs for it.
pub struct Watch {
    store: Arc<Store>,
    subject: Subject,
    wake: Receiver<()>,
    /// Events that were fetched and not yet delivered; all at or below `fetched`.
    pending: VecDeque<Arc<Event>>,
    /// All events of the subject up to here are delivered or pending.
    fetched: Revision,
    /// Something was delivered since the last progress was told.
    progress_due: bool,
}

impl Watch {
    pub(crate) fn new(store: Arc<Store>, subject: Subject, from: Revision) -> Self {
        let wake = store.hub().subscribe(&subject);
        Watch { store, subject, wake, pending: VecDeque::new(), fetched: from, progress_due: true }
    }

    /// The next item; waits for one. Cancel safe: nothing is lost when the future is dropped.
    ///
    /// `Compacted` means that the watcher fell so far behind that history no longer reaches back to it; `Sealed` that the next
    /// event cannot be told; `Closed` that the log was shut down.
    pub async fn next(&mut self) -> Result<WatchItem, ReadError> {
        loop {
            if let Some(event) = self.pending.front() {
                // It stays the next one if it cannot be opened.
                let event = self.store.door().open_event(event.clone())?;
                self.pending.pop_front();
                self.progress_due = true;
                return Ok(WatchItem::Event(event));
            }
            self.wake.borrow_and_update();
            self.fetch().await?;
            if !self.pending.is_empty() {
                continue;
            }
            if std::mem::take(&mut self.progress_due) {
                return Ok(WatchItem::Progress(self.fetched));
            }
            if self.store.is_closed() {
                return Err(ReadError::Closed);
            }
            self.wake.changed().await.map_err(|_| ReadError::Closed)?;
        }
    }

    /// The revision up to which every event of the subject was delivered, without waiting: what a bookmark may say.
    pub fn progress(&mut self) -> Revision {
        if self.pending.is_empty()
            && let Recent::Events(events, seen) = self.store.hub().after(&self.subject, self.fetched)
            && events.is_empty()
        {
            self.fetched = seen;
        }
        // What is pending is not delivered: progress ends just before it.
        self.pending.front().map_or(self.fetched, |event| event.revision() - 1)
    }

    /// Reads on from `fetched`, until there is something to deliver or the ring says that there is nothing.
    async fn fetch(&mut self) -> Result<(), ReadError> {
        loop {
            if let Recent::Events(events, seen) = self.store.hub().after(&self.subject, self.fetched) {
                self.fetched = seen;
                self.pending.extend(events);
                return Ok(());
            }
            let (store, subject, from) = (self.store.clone(), self.subject.clone(), self.fetched);
            let read = move || store.events_after(&subject, from);
            let (events, seen) = match Handle::try_current() {
                Ok(tokio) => tokio.spawn_blocking(read).await.map_err(|_| ReadError::Closed)??,
                // A simulation: one thread, and a disk that takes no time.
                Err(_) => read()?,
            };
            self.fetched = seen;
            self.pending.extend(events);
            if !self.pending.is_empty() {
                return Ok(());
            }
        }
    }
}
