//! Many objects at one revision, page by page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kontiki_model::{Head, Key, Revision, Scope};

use super::read::{decode_stored, stored};
use super::{Live, Store};
use crate::codec::{self, EventRecord, Tag};
use crate::disk::{DiskError, StateDb};
use crate::state::Slot;
use crate::{ReadError, Stored};

/// Whether an object is of interest, by its key and head.
pub type Filter<'a> = &'a (dyn Fn(&Key, &Head) -> bool + 'a);

/// What a list leaves out.
#[derive(Clone, Default)]
pub struct ListOptions<'a> {
    /// Start behind this key.
    pub after: Option<Key>,
    pub limit: Option<usize>,
    /// The past state at this revision, while it is retained.
    pub at: Option<Revision>,
    pub filter: Option<Filter<'a>>,
}

/// Objects in key order.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    pub items: Vec<Stored>,
    /// The revision that all of them were read at: `at` for the following pages.
    pub revision: Revision,
    /// `after` for the next page, if there is one.
    pub next: Option<Key>,
    /// Objects behind this page that pass the filter.
    pub remaining: u64,
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

    /// How many objects a scope has, counted up to a bound.
    pub fn count(&self, scope: &Scope, most: usize) -> usize {
        self.live().index.range(scope, None).take(most).count()
    }

    fn list_now(&self, scope: &Scope, options: &ListOptions<'_>) -> Result<Page, ReadError> {
        let live = self.live();
        let db = live.db.clone();
        // Taken under the lock: what compaction drops from now on stays visible in it.
        let view = db.view();
        let (slots, revision) = (slots(&live, scope, options), live.index.revision());
        drop(live);
        let (chosen, next, remaining) = paginate(slots, options);
        let keys: Vec<_> = chosen.iter().map(|slot| (slot.key.to_bytes(), slot.revision)).collect();
        let frames = view.versions(&keys);
        let item = |(slot, frame): (Arc<Slot>, Result<Option<Vec<u8>>, DiskError>)| {
            let missing = || DiskError::Missing(format!("the body of {:?}", slot.key));
            stored(slot.key.clone(), slot.revision, slot.head.clone(), frame?.ok_or_else(missing)?)
        };
        let items = chosen.into_iter().zip(frames).map(item).collect::<Result<_, _>>()?;
        Ok(Page { items: self.door().open_all(items)?, revision, next, remaining })
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

    /// The live objects that have not changed since, and the old versions of those that have.
    fn list_past(&self, scope: &Scope, at: Revision, options: &ListOptions<'_>) -> Result<Page, ReadError> {
        let live = self.live();
        live.check_resource(&scope.resource, at)?;
        let (db, now) = (live.db.clone(), live.index.revision());
        let unchanged = slots(&live, scope, options).into_iter().filter(|slot| slot.revision <= at);
        drop(live);
        let mut objects: BTreeMap<Vec<u8>, Arc<Slot>> = unchanged.map(|slot| (slot.key.to_bytes(), slot)).collect();
        let after = options.after.as_ref().map(Key::to_bytes);
        for key in changed(&db, scope, at, now)? {
            let bytes = key.to_bytes();
            if after.as_ref().is_some_and(|after| bytes <= *after) {
                continue;
            }
            if let Some((revision, frame)) = db.version_at(&bytes, at)?
                && !codec::version_is_deleted(&frame)
            {
                let Stored { head, .. } = decode_stored(key.clone(), revision, frame)?;
                objects.insert(bytes, Arc::new(Slot { key, revision, head }));
            }
        }
        let (chosen, next, remaining) = paginate(objects.into_values().collect(), options);
        let bodies = chosen.into_iter().map(|slot| {
            let missing = || DiskError::Missing(format!("the body of {:?} at {}", slot.key, slot.revision));
            let frame = db.version(&slot.key.to_bytes(), slot.revision)?.ok_or_else(missing)?;
            stored(slot.key.clone(), slot.revision, slot.head.clone(), frame)
        });
        let items: Result<Vec<_>, DiskError> = bodies.collect();
        // First whether history was dropped meanwhile: that explains what is missing.
        self.live().check_resource(&scope.resource, at)?;
        Ok(Page { items: self.door().open_all(items?)?, revision: at, next, remaining })
    }
}

fn slots(live: &Live, scope: &Scope, options: &ListOptions<'_>) -> Vec<Arc<Slot>> {
    live.index.range(scope, options.after.as_ref()).cloned().collect()
}

/// The keys of a scope that had events in `(after, until]`.
fn changed(db: &StateDb, scope: &Scope, after: Revision, until: Revision) -> Result<BTreeSet<Key>, DiskError> {
    let mut keys = BTreeSet::new();
    for item in db.events_after(after) {
        let (revision, frame) = item?;
        if revision > until {
            break;
        }
        let record: EventRecord = codec::decode(Tag::Event, &frame)
            .map_err(DiskError::record(format!("the event of revision {revision}")))?;
        if scope.contains(&record.key) {
            keys.insert(record.key);
        }
    }
    Ok(keys)
}

/// The page, where the next begins, and how many objects are left for it.
fn paginate(slots: Vec<Arc<Slot>>, options: &ListOptions<'_>) -> (Vec<Arc<Slot>>, Option<Key>, u64) {
    let limit = options.limit.unwrap_or(usize::MAX);
    let passes = |slot: &Arc<Slot>| options.filter.is_none_or(|filter| filter(&slot.key, &slot.head));
    let mut passing = slots.into_iter().filter(passes);
    let chosen: Vec<_> = passing.by_ref().take(limit).collect();
    let remaining = passing.count() as u64;
    let next = chosen.last().filter(|_| remaining > 0).map(|slot| slot.key.clone());
    (chosen, next, remaining)
}
