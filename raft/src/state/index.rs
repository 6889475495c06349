//! The live heads, in memory, in LIST order.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use kontiki_model::{Head, Key, Revision, Scope};

/// A live object without its body.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    pub key: Key,
    pub revision: Revision,
    pub head: Arc<Head>,
}

/// All live objects at one revision: per resource, by namespace and name (each ended by a zero byte, as keys are encoded).
#[derive(Debug, Default)]
pub struct Index {
    resources: HashMap<String, BTreeMap<Vec<u8>, Arc<Slot>>>,
    revision: Revision,
    len: usize,
}

impl Index {
    pub fn new(revision: Revision) -> Self {
        Index { revision, ..Index::default() }
    }

    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Live objects.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn set_revision(&mut self, revision: Revision) {
        assert!(revision >= self.revision, "revisions never go back");
        self.revision = revision;
    }

    pub fn put(&mut self, slot: Slot) {
        let place = place(&slot.key.namespace, &slot.key.name);
        let objects = match self.resources.get_mut(&slot.key.resource) {
            Some(objects) => objects,
            None => self.resources.entry(slot.key.resource.clone()).or_default(),
        };
        if objects.insert(place, Arc::new(slot)).is_none() {
            self.len += 1;
        }
    }

    pub fn remove(&mut self, key: &Key) {
        let Some(objects) = self.resources.get_mut(&key.resource) else { return };
        if objects.remove(&place(&key.namespace, &key.name)).is_some() {
            self.len -= 1;
        }
        if objects.is_empty() {
            self.resources.remove(&key.resource);
        }
    }

    pub fn get(&self, key: &Key) -> Option<&Arc<Slot>> {
        self.resources.get(&key.resource)?.get(&place(&key.namespace, &key.name))
    }

    /// All objects, those of one resource together.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.resources.values().flat_map(BTreeMap::values)
    }

    /// The objects of a scope after a key (exclusive), in order.
    pub fn range(&self, scope: &Scope, after: Option<&Key>) -> impl Iterator<Item = &Arc<Slot>> {
        let bounds = bounds(scope, after);
        self.resources
            .get(&scope.resource)
            .into_iter()
            .flat_map(move |objects| objects.range(bounds.clone()))
            .map(value)
    }

    /// How many they are.
    pub fn count(&self, scope: &Scope, after: Option<&Key>) -> usize {
        match (self.resources.get(&scope.resource), &scope.namespace, after) {
            (None, ..) => 0,
            (Some(objects), None, None) => objects.len(),
            (Some(objects), ..) => objects.range(bounds(scope, after)).count(),
        }
    }

    /// How many they are, counted up to a bound. Of a whole resource it is known.
    pub fn count_to(&self, scope: &Scope, most: usize) -> usize {
        match scope.namespace {
            None => self.count(scope, None).min(most),
            Some(_) => self.range(scope, None).take(most).count(),
        }
    }
}

fn value<'a>((_, slot): (&Vec<u8>, &'a Arc<Slot>)) -> &'a Arc<Slot> {
    slot
}

type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

fn bounds(scope: &Scope, after: Option<&Key>) -> Bounds {
    let after = after.map(|key| place(&key.namespace, &key.name));
    let namespace = scope.namespace.as_ref().map(|namespace| (ended(namespace, 0), ended(namespace, 1)));
    match (after, namespace) {
        (None, None) => (Bound::Unbounded, Bound::Unbounded),
        (Some(after), None) => (Bound::Excluded(after), Bound::Unbounded),
        (None, Some((first, end))) => (Bound::Included(first), Bound::Excluded(end)),
        // A token from elsewhere may name a key outside of the scope: from its start, or nothing.
        (Some(after), Some((first, end))) if after < first => (Bound::Included(first), Bound::Excluded(end)),
        (Some(after), Some((_, end))) => (Bound::Excluded(after.min(end.clone())), Bound::Included(end)),
    }
}

/// Names end with a zero byte: one is where those of a namespace begin, and the next number where they have ended.
fn ended(namespace: &str, by: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(namespace.len() + 1);
    out.extend_from_slice(namespace.as_bytes());
    out.push(by);
    out
}

fn place(namespace: &str, name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(namespace.len() + name.len() + 2);
    for part in [namespace, name] {
        out.extend_from_slice(part.as_bytes());
        out.push(0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(index: &Index, namespace: Option<&str>, after: Option<(&str, &str)>) -> Vec<String> {
        let scope = Scope { resource: "pods".into(), namespace: namespace.map(str::to_owned) };
        let after = after.map(|(namespace, name)| Key::new("pods", namespace, name));
        let range = index.range(&scope, after.as_ref());
        let names: Vec<_> = range.map(|slot| format!("{}/{}", slot.key.namespace, slot.key.name)).collect();
        assert_eq!(index.count(&scope, after.as_ref()), names.len());
        if after.is_none() {
            assert_eq!([1, 99].map(|most| index.count_to(&scope, most)), [1, 99].map(|most| most.min(names.len())));
        }
        names
    }

    #[test]
    fn ranges_follow_list_order_within_their_scope() {
        let mut index = Index::new(7);
        for (namespace, name) in [("b", "x"), ("a", "y"), ("a", "x"), ("a-b", "x"), ("", "cluster")] {
            let key = Key::new("pods", namespace, name);
            index.put(Slot { key, revision: 1, head: Arc::default() });
        }
        index.put(Slot { key: Key::new("nodes", "", "n"), revision: 1, head: Arc::default() });
        index.remove(&Key::new("pods", "a", "gone"));
        assert_eq!(index.len(), 6);
        assert_eq!(names(&index, None, None), ["/cluster", "a/x", "a/y", "a-b/x", "b/x"]);
        assert_eq!(names(&index, Some("a"), None), ["a/x", "a/y"]);
        assert_eq!(names(&index, Some("a"), Some(("a", "x"))), ["a/y"]);
        assert_eq!(names(&index, None, Some(("a", "y"))), ["a-b/x", "b/x"]);
        assert_eq!(names(&index, Some("b"), Some(("a", "x"))), ["b/x"]);
        assert_eq!(names(&index, Some("c"), None), [""; 0]);
        assert_eq!(names(&index, Some("a"), Some(("b", "x"))), [""; 0]);
        index.remove(&Key::new("pods", "a", "x"));
        assert_eq!((names(&index, Some("a"), None), index.len()), (vec!["a/y".to_owned()], 5));
    }
}
