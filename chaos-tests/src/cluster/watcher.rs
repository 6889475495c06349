//! Watchers: each follows a scope from server to server, resuming from what it was told, and every promise is checked on the way.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::FutureExt;
use kontiki_model::{Revision, Scope};
use kontiki_raft::simulation::Store;
use kontiki_raft::{Event, ReadError, Watch, WatchItem};

use super::client::scope;
use super::limits::{RING_EVENTS, WATCH_PAUSE};
use super::mutants::Mutant;
use super::runtime::{Machine, sleep};
use super::world::World;
use crate::invariants::{Violation, atomic, bookmarkable, ordered, reliable, resumable, unique};

/// What a watcher remembers from one server to the next.
struct Watcher {
    world: World,
    number: u64,
    scope: Scope,
    /// Everything up to here was told.
    told: Revision,
    last: Option<Revision>,
    /// Another event of the same command, which is to follow at once.
    owed: Option<Arc<Event>>,
}

/// The watch of one watcher on one life of one server.
struct Following {
    server: u64,
    machine: Arc<Machine>,
    store: Arc<Store>,
    watch: Watch,
    /// What a planted bug made of the stream.
    instead: VecDeque<WatchItem>,
    drop_next: bool,
}

pub async fn watcher(world: World, number: u64) {
    let namespace = (number % 3 == 2).then(|| "a".to_owned());
    let scope = Scope { namespace, ..scope() };
    let mut watcher = Watcher { world, number, scope, told: 0, last: None, owed: None };
    let mut following = None;
    loop {
        if watcher.world.violation().is_some() {
            return;
        }
        following = match following {
            None => watcher.resume(),
            Some(following) => watcher.follow(following),
        };
        if watcher.world.state().stopping && watcher.has_everything() {
            return;
        }
        sleep(watcher.world.about(WATCH_PAUSE)).await;
    }
}

impl Watcher {
    /// Goes on at any server.
    fn resume(&mut self) -> Option<Following> {
        let server = self.world.pick(&self.world.running())?;
        let (machine, replica) = self.world.server(server)?;
        let store = replica.store().clone();
        let from = match self.world.mutant() {
            Some(Mutant::WatchResumesLate) if self.told > 0 && self.told < store.revision() => self.told + 1,
            Some(Mutant::WatchResumesEarly) if self.told > 0 => self.told - 1,
            _ => self.told,
        };
        let behind = store.revision().saturating_sub(from) > RING_EVENTS as u64;
        let drop_next = behind && self.world.has(Mutant::EventDroppedBehindRing);
        match store.watch(self.scope.clone().into(), from) {
            Ok(watch) => {
                self.world.note(format!("watcher {} resumes from {from} at {server}", self.number));
                Some(Following { server, machine, store, watch, instead: VecDeque::new(), drop_next })
            }
            Err(error) => {
                let verdict = resumable::check(from, &error, store.floor(), store.revision());
                self.world.judge(verdict)?;
                if matches!(error, ReadError::Compacted { .. }) {
                    self.relist(&store);
                }
                None
            }
        }
    }

    /// History no longer reaches back: what any client does is read the state and watch from there.
    fn relist(&mut self, store: &Store) {
        self.told = store.revision();
        (self.last, self.owed) = (None, None);
        self.world.note(format!("watcher {} lists at {}", self.number, self.told));
    }

    /// Takes what is there; `None` when it is time for another server.
    fn follow(&mut self, mut following: Following) -> Option<Following> {
        if following.machine.is_off() || self.world.chance(20) {
            return None;
        }
        self.world.look();
        // A slow watcher does not take everything; but what belongs together, it does.
        let mut patience = 1 + self.world.draw(12);
        while patience > 0 || self.owed.is_some() {
            patience = patience.saturating_sub(1);
            let item = match following.next() {
                None => {
                    let verdict = atomic::check(self.owed.as_deref(), None);
                    self.world.judge(verdict)?;
                    let bookmark = following.watch.progress() + u64::from(self.world.has(Mutant::BookmarkAhead));
                    let verdict = self.bookmark(bookmark);
                    self.world.judge(verdict)?;
                    return Some(following);
                }
                Some(Ok(item)) => item,
                Some(Err(ReadError::Compacted { .. })) => {
                    let refusal = ReadError::Compacted { requested: self.told, floor: following.store.floor() };
                    let verdict = resumable::check(self.told, &refusal, following.store.floor(), Revision::MAX);
                    self.world.judge(verdict)?;
                    let store = following.store.clone();
                    self.relist(&store);
                    return None;
                }
                Some(Err(_)) => return None,
            };
            if self.planted(&mut following, &item) {
                continue;
            }
            let verdict = match &item {
                WatchItem::Event(event) => self.event(event),
                WatchItem::Progress(revision) => self.bookmark(*revision),
            };
            self.world.judge(verdict)?;
        }
        Some(following)
    }

    /// What a planted bug does to an item; true if it swallows it.
    fn planted(&self, following: &mut Following, item: &WatchItem) -> bool {
        let WatchItem::Event(event) = item else { return false };
        if std::mem::take(&mut following.drop_next) {
            return true;
        }
        match self.world.mutant() {
            Some(Mutant::SnapshotLosesLastEvent) => self.world.state().installed(following.server, event.revision()),
            Some(Mutant::CommandSplit) if self.world.state().chronicle.goes_on(event.revision()) => {
                following.instead.push_back(WatchItem::Progress(event.revision()));
                false
            }
            Some(Mutant::EventComesAgain) if self.world.chance(20) => {
                let before = self.last.and_then(|last| self.world.state().chronicle.get(last).cloned());
                following.instead.extend(before.map(WatchItem::Event));
                false
            }
            _ => false,
        }
    }

    fn event(&mut self, event: &Arc<Event>) -> Result<(), Violation> {
        ordered::check(self.last, event)?;
        unique::check(self.told, event)?;
        let state = self.world.state();
        atomic::check(self.owed.as_deref(), Some(event))?;
        reliable::check(state.chronicle.next(&self.scope, self.told).map(|next| &**next), event)?;
        self.told = event.revision();
        self.last = Some(event.revision());
        let next = state.chronicle.next(&self.scope, self.told);
        self.owed = next.filter(|next| next.index == event.index).cloned();
        Ok(())
    }

    fn bookmark(&mut self, revision: Revision) -> Result<(), Violation> {
        let state = self.world.state();
        let next = state.chronicle.next(&self.scope, self.told);
        atomic::check_shown(revision, self.owed.is_some())?;
        bookmarkable::check(self.told, next.map(|next| &**next), state.chronicle.revision(), revision)?;
        self.told = revision;
        Ok(())
    }

    fn has_everything(&self) -> bool {
        self.world.state().chronicle.next(&self.scope, self.told).is_none()
    }
}

impl Following {
    /// The next item, if there is one now.
    fn next(&mut self) -> Option<Result<WatchItem, ReadError>> {
        match self.instead.pop_front() {
            Some(item) => Some(Ok(item)),
            None => self.watch.next().now_or_never(),
        }
    }
}

/// Whoever still misses something when a watch has had all the time there is.
pub fn judge_end(world: &World, finished: bool) {
    if !finished {
        let state = world.state();
        let missing = state.chronicle.events().last().cloned();
        drop(state);
        world.judge(reliable::complete(missing.as_deref()));
    }
}
