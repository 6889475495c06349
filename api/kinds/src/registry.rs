//! The kinds there are at one moment: the built-in ones, and those that CustomResourceDefinitions define.

use std::ops::Deref;
use std::sync::Arc;

use crate::{KINDS, Kind};

/// A kind that lives as long as anybody needs it: built-in ones for ever, custom ones until their definition changes and the
/// last request under the old one is answered.
#[derive(Clone)]
pub enum KindRef {
    Builtin(&'static Kind),
    Custom(Arc<Kind>),
}

impl Deref for KindRef {
    type Target = Kind;

    fn deref(&self) -> &Kind {
        match self {
            KindRef::Builtin(kind) => kind,
            KindRef::Custom(kind) => kind,
        }
    }
}

impl From<&'static Kind> for KindRef {
    fn from(kind: &'static Kind) -> Self {
        KindRef::Builtin(kind)
    }
}

impl std::fmt::Debug for KindRef {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?}", self.gvr())
    }
}

/// All kinds that are served, as one value: whoever takes it sees no change half done. Cheap to clone.
#[derive(Clone, Default)]
pub struct Kinds {
    /// In the order of `(group, resource, version)`.
    custom: Arc<[Arc<Kind>]>,
}

impl Kinds {
    /// The built-in kinds and these.
    pub fn with(mut custom: Vec<Arc<Kind>>) -> Self {
        custom.sort_by_key(|kind| (kind.group, kind.resource, kind.version));
        Kinds { custom: custom.into() }
    }

    /// The built-in kinds, then the custom ones.
    pub fn iter(&self) -> impl Iterator<Item = KindRef> + '_ {
        let custom = self.custom.iter().map(|kind| KindRef::Custom(kind.clone()));
        KINDS.iter().map(|kind| KindRef::Builtin(kind)).chain(custom)
    }

    /// The custom kinds alone.
    pub fn custom(&self) -> &[Arc<Kind>] {
        &self.custom
    }

    /// The kind served below `/apis/<group>/<version>/…/<resource>` (the core group is the empty string).
    pub fn by_resource(&self, group: &str, version: &str, resource: &str) -> Option<KindRef> {
        let custom = || {
            let place = (group, resource, version);
            let found =
                self.custom.binary_search_by_key(&place, |kind| (kind.group, kind.resource, kind.version)).ok()?;
            Some(KindRef::Custom(self.custom[found].clone()))
        };
        crate::by_resource(group, version, resource).map(KindRef::Builtin).or_else(custom)
    }

    /// The kind that objects with this `apiVersion` and `kind` are of.
    pub fn by_gvk(&self, group: &str, version: &str, kind: &str) -> Option<KindRef> {
        let is = |one: &&Arc<Kind>| one.group == group && one.version == version && one.kind == kind;
        let custom = || self.custom.iter().find(is).cloned().map(KindRef::Custom);
        crate::by_gvk(group, version, kind).map(KindRef::Builtin).or_else(custom)
    }

    /// The other kinds whose objects are this one's, in another group or version.
    pub fn stored_alike(&self, kind: &Kind) -> Vec<KindRef> {
        let place = |kind: &Kind| (kind.stored().group, kind.stored().resource);
        let alike = |one: &Kind| place(one) == place(kind) && one.gvr() != kind.gvr();
        let builtin = KINDS.iter().filter(|one| alike(one)).map(|one| KindRef::Builtin(one));
        let custom = self.custom.iter().filter(|one| alike(one)).map(|one| KindRef::Custom(one.clone()));
        builtin.chain(custom).collect()
    }

    /// The kind stored under this resource, as [`Kind::storage_resource`] names it.
    pub fn by_storage_resource(&self, stored: &str) -> Option<KindRef> {
        let custom = || {
            let (resource, group) = stored.split_once('.')?;
            let first = self.custom.partition_point(|kind| (kind.group, kind.resource) < (group, resource));
            let found = self.custom.get(first).filter(|kind| (kind.group, kind.resource) == (group, resource))?;
            Some(KindRef::Custom(found.clone()))
        };
        crate::by_storage_resource(stored).map(KindRef::Builtin).or_else(custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custom(version: &'static str) -> Arc<Kind> {
        let (group, kind, resource) = ("example.com", "Widget", "widgets");
        Arc::new(Kind { group, version, kind, resource, ..Kind::BASE })
    }

    #[test]
    fn what_is_stored_as_the_same_is_known() {
        let kinds = Kinds::with(vec![custom("v2"), custom("v1")]);
        let alike = |kind: Option<KindRef>| -> Vec<_> {
            kinds.stored_alike(&kind.unwrap()).iter().map(|kind| (kind.group, kind.version)).collect()
        };
        assert_eq!(alike(kinds.by_resource("example.com", "v1", "widgets")), [("example.com", "v2")]);
        assert_eq!(alike(kinds.by_resource("", "v1", "events")), [("events.k8s.io", "v1")]);
        assert_eq!(alike(kinds.by_resource("", "v1", "pods")), []);
    }

    #[test]
    fn built_in_and_custom_kinds_are_found_alike() {
        let kinds = Kinds::with(vec![custom("v2"), custom("v1")]);
        let gvr = |found: Option<KindRef>| found.map(|kind| kind.gvr());
        assert_eq!(gvr(kinds.by_resource("", "v1", "pods")), Some(("", "v1", "pods")));
        for version in ["v1", "v2"] {
            let expected = Some(("example.com", version, "widgets"));
            assert_eq!(gvr(kinds.by_resource("example.com", version, "widgets")), expected);
            assert_eq!(gvr(kinds.by_gvk("example.com", version, "Widget")), expected);
        }
        assert_eq!(gvr(kinds.by_storage_resource("widgets.example.com")), Some(("example.com", "v1", "widgets")));
        assert_eq!(gvr(kinds.by_storage_resource("gadgets.example.com")), None);
        assert_eq!(gvr(kinds.by_resource("example.com", "v3", "widgets")), None);
        assert_eq!(kinds.iter().count(), KINDS.len() + 2);
    }
}
