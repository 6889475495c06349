//! Many objects at one revision, page by page.

use std::sync::Arc;

use kontiki_model::{Head, Key, Revision, Scope};

use super::Store;
use super::read::{decode_stored, stored};
use crate::codec;
use crate::disk::{DiskError, StateDb};
use crate::state::Slot;
use crate::{ReadError, Stored};

/// Whether an object is of interest, by its key and head.
pub type Filter<'a> = &'a (dyn Fn(&Key, &Head) -> bool + 'a);

/// What a list leaves out.
#[derive(Clone, Default)]
pub struct ListOptions<'a> {
    /// What an earlier page left.
    pub rest: Option<Rest>,
    pub limit: Option<usize>,
    /// The past state at this revision, while it is retained.
    pub at: Option<Revision>,
    pub filter: Option<Filter<'a>>,
}

/// What is behind a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// The last key of the page.
    pub after: Key,
    /// How many objects follow it; with a filter nobody counts them.
    pub left: Option<u64>,
}

impl ListOptions<'_> {
    fn after(&self) -> Option<&Key> {
        self.rest.as_ref().map(|rest| &rest.after)
    }

    fn left(&self) -> Option<u64> {
        self.rest.as_ref().and_then(|rest| rest.left)
    }

    /// How many objects in order decide what is on the page and whether there is another one.
    fn needed(&self) -> usize {
        match (self.limit, self.filter) {
            (Some(limit), None) => limit.saturating_add(1),
            (None, _) | (_, Some(_)) => usize::MAX,
        }
    }
}

/// Objects in key order.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    pub items: Vec<Stored>,
    /// The revision that all of them were read at: `at` for the following pages.
    pub revision: Revision,
    /// What is left for the next page, if there is one.
    pub rest: Option<Rest>,
}

impl Store {
    pub fn list(&self, scope: &Scope, options: ListOptions<'_>) -> Result<Page, ReadError> {
        match options.at {
            None => self.list_now(scope, &options),
            Some(at) => match self.list_unchanged(scope, at, &options)? {
                Some(page) => Ok(page),
                None => self.list_past(scope, at, &options),
            },
        }
    }

    /// What a scope has, in key order and without bodies.
    pub fn heads(&self, scope: &Scope) -> Vec<(Key, Revision, Arc<Head>)> {
        let slots: Vec<_> = self.live().index.range(scope, None).cloned().collect();
        slots.into_iter().map(|slot| (slot.key.clone(), slot.revision, slot.head.clone())).collect()
    }

    /// How many objects a scope has, counted up to a bound.
    pub fn count(&self, scope: &Scope, most: usize) -> usize {
        self.live().index.count_to(scope, most)
    }

    /// Which version of each object of a scope there was at a revision, in key order. No body is read.
    pub fn versions(&self, scope: &Scope, at: Revision) -> Result<Vec<(Key, Revision)>, ReadError> {
        let (now, live, db) = {
            let live = self.live();
            live.check_resource(&scope.resource, at)?;
            let slots = live.index.range(scope, None).map(|slot| (slot.key.clone(), slot.revision)).collect();
            (live.index.revision(), slots, live.db.clone())
        };
        if self.hub().unchanged(&scope.resource, at, now) {
            return Ok(live);
        }
        let mut versions = Vec::new();
        for version in db.versions_at(&scope.prefix_bytes(), None, at, codec::version_is_deleted) {
            let (key, revision, is_deleted) = version?;
            if !is_deleted {
                let key = Key::from_bytes(&key).ok_or_else(|| DiskError::Missing(format!("the key in {key:?}")))?;
                versions.push((key, revision));
            }
        }
        // First whether history was dropped meanwhile: that explains what is missing.
        self.live().check_resource(&scope.resource, at)?;
        Ok(versions)
    }

    fn list_now(&self, scope: &Scope, options: &ListOptions<'_>) -> Result<Page, ReadError> {
        let live = self.live();
        let slots: Vec<_> = live.index.range(scope, options.after()).take(options.needed()).cloned().collect();
        let revision = live.index.revision();
        if slots.is_empty() {
            return Ok(Page { items: Vec::new(), revision, rest: None });
        }
        let db = live.db.clone();
        // Taken under the lock: what compaction drops from now on stays visible in it.
        let view = db.view();
        let count = || options.left().unwrap_or_else(|| live.index.count(scope, options.after()) as u64);
        let all = options.filter.is_none().then(count);
        drop(live);
        let (chosen, rest) = paginate(slots, all, options);
        let keys: Vec<_> = chosen.iter().map(|slot| (slot.key.to_bytes(), slot.revision)).collect();
        let frames = view.versions(&keys);
        let item = |(slot, frame): (Arc<Slot>, Result<Option<Vec<u8>>, DiskError>)| {
            let missing = || DiskError::Missing(format!("the body of {:?}", slot.key));
            stored(slot.key.clone(), slot.revision, slot.head.clone(), frame?.ok_or_else(missing)?)
        };
        let items = chosen.into_iter().zip(frames).map(item).collect::<Result<_, _>>()?;
        Ok(Page { items: self.door().open_all(items)?, revision, rest })
    }

    /// The past is the present if nothing of the resource changed since: the common case of a continue token.
    fn list_unchanged(
        &self,
        scope: &Scope,
        at: Revision,
        options: &ListOptions<'_>,
    ) -> Result<Option<Page>, ReadError> {
        self.live().check_resource(&scope.resource, at)?;
        if !self.hub().unchanged(&scope.resource, at, at) {
            return Ok(None);
        }
        let page = self.list_now(scope, options)?;
        let still = self.hub().unchanged(&scope.resource, at, page.revision);
        Ok(still.then_some(Page { revision: at, ..page }))
    }

    /// Goes through the versions of the scope, from where the page begins to where it ends: how much has happened since, and to what
    /// else, costs nothing. The first page counts what is left.
    fn list_past(&self, scope: &Scope, at: Revision, options: &ListOptions<'_>) -> Result<Page, ReadError> {
        let db = {
            let live = self.live();
            live.check_resource(&scope.resource, at)?;
            live.db.clone()
        };
        let (prefix, after) = (scope.prefix_bytes(), options.after().map(Key::to_bytes));
        let limit = options.limit.unwrap_or(usize::MAX);
        let (mut items, mut more): (Vec<Stored>, bool) = (Vec::new(), false);
        for version in db.versions_at(&prefix, after.as_deref(), at, <[u8]>::to_vec) {
            let (key, revision, frame) = version?;
            if codec::version_is_deleted(&frame) {
                continue;
            }
            let key = Key::from_bytes(&key).ok_or_else(|| DiskError::Missing(format!("the key in {key:?}")))?;
            let item = decode_stored(key, revision, frame)?;
            if options.filter.is_some_and(|filter| !filter(&item.key, &item.head)) {
                continue;
            }
            more = items.len() >= limit;
            if more {
                break;
            }
            items.push(item);
        }
        let last = items.last().filter(|_| more).map(|last| last.key.clone());
        let left = match (&last, options.filter, options.left()) {
            (None, ..) | (_, Some(_), _) => None,
            (Some(_), None, Some(left)) => Some(left.saturating_sub(items.len() as u64)),
            (Some(last), None, None) => Some(count_past(&db, &prefix, last, at)?),
        };
        // First whether history was dropped meanwhile: that explains what is missing.
        self.live().check_resource(&scope.resource, at)?;
        let rest = last.map(|after| Rest { after, left });
        Ok(Page { items: self.door().open_all(items)?, revision: at, rest })
    }
}

/// How many objects there were behind a key.
fn count_past(db: &StateDb, prefix: &[u8], after: &Key, at: Revision) -> Result<u64, DiskError> {
    let mut count = 0;
    for version in db.versions_at(prefix, Some(&after.to_bytes()), at, codec::version_is_deleted) {
        let (.., is_deleted) = version?;
        count += u64::from(!is_deleted);
    }
    Ok(count)
}

/// The page and what is left, of so many objects in all.
fn paginate(slots: Vec<Arc<Slot>>, all: Option<u64>, options: &ListOptions<'_>) -> (Vec<Arc<Slot>>, Option<Rest>) {
    let limit = options.limit.unwrap_or(usize::MAX);
    let passes = |slot: &Arc<Slot>| options.filter.is_none_or(|filter| filter(&slot.key, &slot.head));
    let mut passing = slots.into_iter().filter(passes);
    let chosen: Vec<_> = passing.by_ref().take(limit).collect();
    let left = all.map(|all| all.saturating_sub(chosen.len() as u64));
    let last = chosen.last().filter(|_| passing.next().is_some());
    let rest = last.map(|last| Rest { after: last.key.clone(), left });
    (chosen, rest)
}
