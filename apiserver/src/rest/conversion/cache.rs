//! What webhooks made of stored objects. The key is the bytes: the same object in the same version under the same definition has
//! one other form, whichever revision it is told under.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use kontiki_kinds::Kind;
use kontiki_model::{Head, Revision};
use kontiki_raft::Stored;
use sha2::{Digest as _, Sha256};

use super::super::limits::CONVERTED_BYTES_MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    digest: [u8; 32],
    version: &'static str,
    /// The revision of the definition, which names the webhook.
    since: Revision,
}

/// The forms that were asked for last.
#[derive(Debug, Default)]
pub(crate) struct Conversions {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    forms: HashMap<Key, (Arc<Head>, Bytes)>,
    order: VecDeque<Key>,
    bytes: usize,
}

impl Key {
    fn of(kind: &Kind, stored: &Stored) -> Self {
        let since = kind.custom.as_ref().map_or(0, |custom| custom.since);
        Key { digest: Sha256::digest(&stored.body).into(), version: kind.version, since }
    }
}

impl Conversions {
    pub fn find(&self, kind: &Kind, stored: &Stored) -> Option<Stored> {
        let key = Key::of(kind, stored);
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (head, body) = held.forms.get(&key)?;
        Some(Stored { head: head.clone(), body: body.clone(), ..stored.clone() })
    }

    pub fn keep(&self, kind: &Kind, stored: &Stored, converted: &Stored) {
        let key = Key::of(kind, stored);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.bytes += converted.body.len();
        match held.forms.insert(key, (converted.head.clone(), converted.body.clone())) {
            Some((_, same)) => held.bytes -= same.len(),
            None => held.order.push_back(key),
        }
        while held.bytes > CONVERTED_BYTES_MAX {
            let Some(oldest) = held.order.pop_front() else { break };
            let gone = held.forms.remove(&oldest).map_or(0, |(_, body)| body.len());
            held.bytes -= gone;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn stored(body: &[u8], revision: Revision) -> Stored {
        let key = kontiki_model::Key::new("widgets.example.com", "n", "a");
        Stored { key, revision, head: Arc::default(), body: Bytes::copy_from_slice(body) }
    }

    #[test]
    fn a_form_is_known_by_the_bytes_it_was_made_of_within_bounds() {
        let kind = kontiki_kinds::by_gvk("", "v1", "ConfigMap").unwrap();
        let conversions = Conversions::default();
        conversions.keep(kind, &stored(b"one", 1), &stored(b"other", 1));
        assert_eq!(conversions.find(kind, &stored(b"one", 7)), Some(stored(b"other", 7)));
        assert_eq!(conversions.find(kind, &stored(b"two", 1)), None);
        let large = vec![b' '; CONVERTED_BYTES_MAX / 2];
        for body in [b"two", b"six"] {
            conversions.keep(kind, &stored(body, 1), &stored(&large, 1));
        }
        assert_eq!(conversions.find(kind, &stored(b"one", 1)), None);
        assert!(conversions.find(kind, &stored(b"six", 1)).is_some());
        assert_eq!(conversions.held.lock().unwrap().bytes, 2 * large.len());
    }
}
