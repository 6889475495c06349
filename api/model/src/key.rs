//! Where an object lives: resource, namespace, name.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// The address of one object in the store.
///
/// `resource` is Kubernetes' group-resource form: `pods`, `deployments.apps`. `namespace` is empty for cluster-scoped objects.
/// Keys order as LIST does: resource, then namespace, then name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct Key {
    pub resource: String,
    pub namespace: String,
    pub name: String,
}

/// A set of keys that one LIST or WATCH covers: a resource, in one namespace or in all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    pub resource: String,
    /// `None` covers every namespace and cluster-scoped objects.
    pub namespace: Option<String>,
}

impl Key {
    pub fn new(resource: impl Into<String>, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Key { resource: resource.into(), namespace: namespace.into(), name: name.into() }
    }

    /// Bytes that sort as the key does: the three parts, each ended by a zero byte (which no part can contain).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.resource.len() + self.namespace.len() + self.name.len() + 3);
        for part in [&self.resource, &self.namespace, &self.name] {
            debug_assert!(!part.as_bytes().contains(&0), "a key part holds no zero byte");
            out.extend_from_slice(part.as_bytes());
            out.push(0);
        }
        out
    }

    /// The inverse of [`Key::to_bytes`]; `None` if the bytes are not a key.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\0')?;
        let mut parts = text.split('\0');
        let key = Key::new(parts.next()?, parts.next()?, parts.next()?);
        parts.next().is_none().then_some(key)
    }
}

impl Scope {
    pub fn contains(&self, key: &Key) -> bool {
        key.resource == self.resource && self.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
    }

    /// The common prefix of the encoded keys in this scope.
    pub fn prefix_bytes(&self) -> Vec<u8> {
        let mut out = self.resource.clone().into_bytes();
        out.push(0);
        if let Some(namespace) = &self.namespace {
            out.extend_from_slice(namespace.as_bytes());
            out.push(0);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_sort_as_keys_and_round_trip() {
        let mut keys = vec![
            Key::new("pods", "b", "a"),
            Key::new("pods", "a-b", "a"),
            Key::new("pods", "a", "z"),
            Key::new("deployments.apps", "a", "z"),
            Key::new("nodes", "", "n"),
        ];
        let mut encoded: Vec<_> = keys.iter().map(Key::to_bytes).collect();
        keys.sort();
        encoded.sort();
        let decoded: Vec<_> = encoded.iter().map(|bytes| Key::from_bytes(bytes).expect("round trip")).collect();
        assert_eq!(decoded, keys);
        assert_eq!(Key::from_bytes(b"pods\0a"), None);
    }
}
