//! Bodies that nobody reads without a key. The log's door seals what is proposed and opens what is told; log entries, state,
//! history, snapshots and backups hold what was sealed, and apply never sees a key.
//! Knows how a sealed body begins, and no cipher: that is a [`Seal`]'s, which whoever opens the log may give.

use std::sync::Arc;

use bytes::Bytes;
use kontiki_model::Key;

use crate::limits::UNOPENED_TOLD_MAX;
use crate::{Command, Event, Mutation, Stored};

/// How every sealed body begins, and no other does: those are JSON.
pub const SEALED: &[u8] = b"k8s:enc:";

/// Turns bodies into what is stored, and back. Many threads ask at once; its keys may change at any time.
pub trait Seal: Send + Sync {
    /// What is stored of a body, beginning with [`SEALED`]; `None` where that is the body as it is.
    fn seal(&self, key: &Key, body: &[u8]) -> Result<Option<Vec<u8>>, SealFault>;

    /// The body that was sealed.
    fn open(&self, key: &Key, sealed: &[u8]) -> Result<Vec<u8>, SealFault>;

    /// How what is stored compares with what would be stored today; told from its beginning alone.
    fn standing(&self, key: &Key, stored: &[u8]) -> Standing;

    /// Whether bodies of a resource are sealed today.
    fn covers(&self, resource: &str) -> bool;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As it would be stored today.
    Current,
    /// Sealed with another key, or not, or although it no longer should be.
    Outdated,
    /// Its key is not at hand.
    Unopenable,
}

/// Why a body can be neither sealed nor opened. It never tells of what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SealFault(pub String);

/// Objects that cannot be told, each with the reason; of many, the first few.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Unopened {
    pub objects: Vec<(Key, SealFault)>,
    /// Those that are not named.
    pub more: usize,
}

/// How the live objects whose bodies are sealed, or should be, are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SealCensus {
    pub current: usize,
    pub outdated: usize,
    pub unopenable: Unopened,
}

impl Unopened {
    fn text(&self) -> String {
        let named = self.objects.iter().map(|(key, fault)| {
            let Key { resource, namespace, name } = key;
            format!("{resource} {namespace}/{name} cannot be read: {fault}")
        });
        let mut text = named.collect::<Vec<_>>().join("; ");
        if self.more > 0 {
            text.push_str(&format!("; and {} more", self.more));
        }
        text
    }

    fn one(key: &Key, fault: SealFault) -> Self {
        Unopened { objects: vec![(key.clone(), fault)], more: 0 }
    }

    fn add(&mut self, other: Unopened) {
        for object in other.objects {
            if self.objects.len() < UNOPENED_TOLD_MAX { self.objects.push(object) } else { self.more += 1 }
        }
        self.more += other.more;
    }

    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    pub fn count(&self) -> usize {
        self.objects.len() + self.more
    }
}

impl Stored {
    /// Whether the body could not be opened, and is told as it is stored.
    pub fn is_sealed(&self) -> bool {
        self.body.starts_with(SEALED)
    }
}

/// The one place where bodies are sealed and opened. Without a [`Seal`], what is sealed cannot be told.
#[derive(Clone, Default)]
pub struct Door(Option<Arc<dyn Seal>>);

impl Door {
    pub fn new(seal: Option<Arc<dyn Seal>>) -> Self {
        Door(seal)
    }

    pub fn seal(&self, command: &mut Command) -> Result<(), SealFault> {
        let Some(seal) = &self.0 else { return Ok(()) };
        for mutation in &mut command.mutations {
            let (key, body) = match mutation {
                Mutation::Put { key, body, .. } => (&*key, body),
                Mutation::Delete { key, last: Some((_, body)) } => (&*key, body),
                Mutation::Delete { last: None, .. } => continue,
            };
            if let Some(sealed) = seal.seal(key, body)? {
                assert!(sealed.starts_with(SEALED), "what is sealed can be told from what is not");
                *body = sealed;
            }
        }
        Ok(())
    }

    pub fn open(&self, stored: Stored) -> Result<Stored, Unopened> {
        if !stored.is_sealed() {
            return Ok(stored);
        }
        let opened = match &self.0 {
            Some(seal) => seal.open(&stored.key, &stored.body),
            None => Err(SealFault("it is encrypted, and this server has no encryption configuration".to_owned())),
        };
        match opened {
            Ok(body) => Ok(Stored { body: Bytes::from(body), ..stored }),
            Err(fault) => Err(Unopened::one(&stored.key, fault)),
        }
    }

    /// All of them, or which cannot be opened.
    pub fn open_all(&self, items: Vec<Stored>) -> Result<Vec<Stored>, Unopened> {
        if !items.iter().any(Stored::is_sealed) {
            return Ok(items);
        }
        let mut unopened = Unopened::default();
        let mut opened = Vec::with_capacity(items.len());
        for item in items {
            match self.open(item) {
                Ok(item) => opened.push(item),
                Err(one) => unopened.add(one),
            }
        }
        if unopened.is_empty() { Ok(opened) } else { Err(unopened) }
    }

    /// The same event where nothing in it is sealed.
    pub fn open_event(&self, event: Arc<Event>) -> Result<Arc<Event>, Unopened> {
        let sealed = event.object.is_sealed() || event.previous.as_ref().is_some_and(Stored::is_sealed);
        if !sealed {
            return Ok(event);
        }
        let mut opened = Event::clone(&event);
        opened.object = self.open(opened.object)?;
        opened.previous = opened.previous.map(|previous| self.open(previous)).transpose()?;
        Ok(Arc::new(opened))
    }

    /// What can be opened of an event; the rest stays as it is stored, which [`Stored::is_sealed`] tells.
    pub fn open_what_can_be(&self, event: Arc<Event>) -> Arc<Event> {
        let sealed = event.object.is_sealed() || event.previous.as_ref().is_some_and(Stored::is_sealed);
        if !sealed {
            return event;
        }
        let mut opened = Event::clone(&event);
        for stored in std::iter::once(&mut opened.object).chain(&mut opened.previous) {
            if let Ok(open) = self.open(stored.clone()) {
                *stored = open;
            }
        }
        Arc::new(opened)
    }

    pub fn standing(&self, key: &Key, stored: &[u8]) -> Standing {
        match &self.0 {
            Some(seal) => seal.standing(key, stored),
            None if stored.starts_with(SEALED) => Standing::Unopenable,
            None => Standing::Current,
        }
    }

    pub fn covers(&self, resource: &str) -> bool {
        self.0.as_ref().is_some_and(|seal| seal.covers(resource))
    }

    pub fn seals_nothing(&self) -> bool {
        self.0.is_none()
    }
}

impl SealCensus {
    pub(crate) fn count(&mut self, key: &Key, standing: Standing) {
        match standing {
            Standing::Current => self.current += 1,
            Standing::Outdated => self.outdated += 1,
            Standing::Unopenable => {
                self.unopenable.add(Unopened::one(key, SealFault("its key is not configured".to_owned())));
            }
        }
    }
}
