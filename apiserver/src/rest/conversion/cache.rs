//! What webhooks made of stored objects. The key is the bytes: the same object in the same version under the same definition has
//! one other form, whichever revision it is told under.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use bytes::Bytes;
use kontiki_kinds::Kind;
use kontiki_model::{Head, Revision, Status};
use kontiki_raft::Stored;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use super::super::limits::CONVERTED_BYTES_MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    digest: [u8; 32],
    version: &'static str,
    /// The revision of the definition, which names the webhook.
    since: Revision,
}

/// Head and bytes.
type Form = (Arc<Head>, Bytes);
/// What becomes of one conversion. If whoever makes it goes away, the next who waits does.
type Making = OnceCell<Result<Form, Status>>;

/// The forms that were asked for last.
#[derive(Debug, Default)]
pub(crate) struct Conversions {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    forms: HashMap<Key, Form>,
    /// Being made, for all who ask meanwhile; gone with the last of them.
    making: HashMap<Key, Weak<Making>>,
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
        let form = self.lock().forms.get(&Key::of(kind, stored)).cloned();
        form.map(|form| formed(stored, form))
    }

    pub fn keep(&self, kind: &Kind, stored: &Stored, converted: &Stored) {
        self.lock().keep(Key::of(kind, stored), (converted.head.clone(), converted.body.clone()));
    }

    /// What `convert` makes of an object, unless it is known or being made already: whoever asks at the same time shares one
    /// conversion, and its failure.
    pub async fn once(
        &self,
        kind: &Kind,
        stored: &Stored,
        convert: impl Future<Output = Result<Stored, Status>>,
    ) -> Result<Stored, Status> {
        let key = Key::of(kind, stored);
        let making = match self.lock().known(key) {
            Known::Form(form) => return Ok(formed(stored, form)),
            Known::Making(making) => making,
        };
        let convert = async {
            let converted = convert.await?;
            let form = (converted.head, converted.body);
            self.lock().keep(key, form.clone());
            Ok(form)
        };
        making.get_or_init(|| convert).await.clone().map(|form| formed(stored, form))
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn formed(stored: &Stored, (head, body): Form) -> Stored {
    Stored { head, body, ..stored.clone() }
}

enum Known {
    Form(Form),
    Making(Arc<Making>),
}

impl Held {
    fn known(&mut self, key: Key) -> Known {
        if let Some(form) = self.forms.get(&key) {
            return Known::Form(form.clone());
        }
        if let Some(making) = self.making.get(&key).and_then(Weak::upgrade) {
            return Known::Making(making);
        }
        self.making.retain(|_, making| making.strong_count() > 0);
        let making = Arc::new(Making::new());
        self.making.insert(key, Arc::downgrade(&making));
        Known::Making(making)
    }

    fn keep(&mut self, key: Key, form: Form) {
        self.bytes += form.1.len();
        match self.forms.insert(key, form) {
            Some((_, same)) => self.bytes -= same.len(),
            None => self.order.push_back(key),
        }
        while self.bytes > CONVERTED_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            let gone = self.forms.remove(&oldest).map_or(0, |(_, body)| body.len());
            self.bytes -= gone;
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

    #[tokio::test]
    async fn whoever_asks_at_the_same_time_shares_one_conversion() {
        let kind = kontiki_kinds::by_gvk("", "v1", "ConfigMap").unwrap();
        let (conversions, made) = (Conversions::default(), std::cell::Cell::new(0));
        let asked = stored(b"one", 1);
        let convert = |answer: Result<Stored, Status>| {
            let made = &made;
            conversions.once(kind, &asked, async move {
                made.set(made.get() + 1);
                tokio::task::yield_now().await;
                answer
            })
        };
        let failure = crate::failure::internal("out of order");
        let failed = futures::join!(convert(Err(failure.clone())), convert(Err(failure.clone())));
        assert_eq!((failed, made.get()), ((Err(failure.clone()), Err(failure.clone())), 1));
        // Whoever makes it may go away.
        let mut left = Box::pin(convert(Err(failure)));
        assert!(futures::poll!(&mut left).is_pending());
        let mut waiting = Box::pin(convert(Ok(stored(b"other", 1))));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(left);
        assert_eq!(waiting.await, Ok(stored(b"other", 1)));
        assert_eq!(convert(Ok(stored(b"late", 1))).await, Ok(stored(b"other", 1)));
        assert_eq!(made.get(), 3);
        assert_eq!(conversions.held.lock().unwrap().making.len(), 1);
    }
}
