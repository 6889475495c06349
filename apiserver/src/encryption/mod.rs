//! Encryption at rest, as an EncryptionConfiguration asks for it: which bodies are sealed, with which key, and how they are
//! opened again. Sealed bodies look as Kubernetes': `k8s:enc:<provider>:v1:<key>:`, then what the provider makes.
//! Knows configuration and ciphers; where bodies go is the log's affair, and reading the file the binary's.
mod cipher;
mod configuration;
mod gcm;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use kontiki_model::Key;
use kontiki_raft::{SEALED, Seal, SealFault, Standing};
use sha2::{Digest as _, Sha256};

pub use self::configuration::ConfigurationError;
use self::{cipher::SealingKey, configuration::Mask};

/// Seals and opens bodies by a configuration, which may be replaced while it is in use.
pub struct Encryption {
    current: RwLock<Arc<Providers>>,
}

/// What one configuration comes to.
struct Providers {
    rules: HashMap<Mask, Vec<Provider>>,
    /// SHA-256 of the configuration's text: tells whether two are the same, and nothing of what is in them.
    digest: [u8; 32],
}

/// One entry of a list of providers: the first seals, each opens.
enum Provider {
    /// Bodies stay as they are.
    Identity,
    /// The first key seals.
    Keys(Vec<SealingKey>),
}

impl Encryption {
    /// `text` is an EncryptionConfiguration in YAML or JSON.
    pub fn new(text: &str) -> Result<Arc<Self>, ConfigurationError> {
        Ok(Arc::new(Encryption { current: RwLock::new(Arc::new(Providers::read(text)?)) }))
    }

    /// From now on another configuration counts; says whether it is another. One that is not sound changes nothing.
    pub fn replace(&self, text: &str) -> Result<bool, ConfigurationError> {
        let new = Providers::read(text)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.digest == new.digest {
            return Ok(false);
        }
        *current = Arc::new(new);
        Ok(true)
    }

    fn current(&self) -> Arc<Providers> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Providers {
    fn read(text: &str) -> Result<Self, ConfigurationError> {
        Ok(Providers { rules: configuration::read(text)?, digest: Sha256::digest(text.as_bytes()).into() })
    }

    /// The providers of a resource: a rule that names it counts before one for its group, and that before one for all.
    fn of(&self, resource: &str) -> &[Provider] {
        let masks = Mask::of(resource).widening();
        masks.iter().find_map(|mask| self.rules.get(mask)).map(Vec::as_slice).unwrap_or_default()
    }

    /// The key that seals a resource's bodies; `None` where they stay as they are.
    fn sealing(&self, resource: &str) -> Option<&SealingKey> {
        match self.of(resource).first()? {
            Provider::Identity => None,
            Provider::Keys(keys) => keys.first(),
        }
    }

    /// The keys that may have sealed a body. Two providers may call different keys by one name.
    fn opening<'a>(&'a self, resource: &str, sealed: &'a [u8]) -> impl Iterator<Item = &'a SealingKey> {
        let keys = self.of(resource).iter().filter_map(|provider| match provider {
            Provider::Identity => None,
            Provider::Keys(keys) => Some(keys),
        });
        keys.flatten().filter(move |key| key.has_sealed(sealed))
    }

    fn missing(&self, resource: &str, sealed: &[u8]) -> SealFault {
        let named = sealer(sealed);
        SealFault(match self.of(resource) {
            [] => format!(
                "it is encrypted with {named}, and the encryption configuration has no providers for {resource}"
            ),
            _ => {
                format!("it is encrypted with {named}, which the encryption configuration does not have for {resource}")
            }
        })
    }
}

impl Seal for Encryption {
    fn seal(&self, key: &Key, body: &[u8]) -> Result<Option<Vec<u8>>, SealFault> {
        // What is no object has nothing to hide: values that only one object may hold.
        if !is_object(body) {
            return Ok(None);
        }
        let providers = self.current();
        providers.sealing(&key.resource).map(|sealing| sealing.seal(&path(key), body)).transpose()
    }

    fn open(&self, key: &Key, sealed: &[u8]) -> Result<Vec<u8>, SealFault> {
        let providers = self.current();
        let mut fault = None;
        for one in providers.opening(&key.resource, sealed) {
            match one.open(&path(key), sealed) {
                // Not every provider notices that a key is another one of the same name.
                Ok(body) if is_object(&body) => return Ok(body),
                Ok(_) => fault = Some(SealFault(format!("{} opens it to what is no object", sealer(sealed)))),
                Err(refused) => fault = Some(refused),
            }
        }
        Err(fault.unwrap_or_else(|| providers.missing(&key.resource, sealed)))
    }

    fn standing(&self, key: &Key, stored: &[u8]) -> Standing {
        let providers = self.current();
        let sealing = providers.sealing(&key.resource).filter(|_| stored.starts_with(SEALED) || is_object(stored));
        match sealing {
            Some(sealing) if sealing.has_sealed(stored) => Standing::Current,
            None if !stored.starts_with(SEALED) => Standing::Current,
            _ if stored.starts_with(SEALED) && providers.opening(&key.resource, stored).next().is_none() => {
                Standing::Unopenable
            }
            _ => Standing::Outdated,
        }
    }

    fn covers(&self, resource: &str) -> bool {
        !self.current().of(resource).is_empty()
    }
}

fn is_object(body: &[u8]) -> bool {
    body.first() == Some(&b'{')
}

/// Where an object lies, as Kubernetes' store spells it: what an authenticating provider binds a body to.
pub fn path(key: &Key) -> String {
    let Key { resource, namespace, name } = key;
    match namespace.as_str() {
        "" => format!("/registry/{resource}/{name}"),
        namespace => format!("/registry/{resource}/{namespace}/{name}"),
    }
}

/// What a body says of who sealed it.
fn sealer(sealed: &[u8]) -> String {
    let begins = String::from_utf8_lossy(&sealed[..sealed.len().min(NAMED_BYTES_MAX)]).into_owned();
    let mut parts = begins.split(':').skip(2);
    let (provider, _version) = (parts.next().unwrap_or_default(), parts.next());
    match parts.next() {
        Some(name) => format!("key {name:?} of {provider}"),
        None => "a key without a name".to_owned(),
    }
}

/// So far the name of a key is looked for.
const NAMED_BYTES_MAX: usize = 512;
