//! `apiserver.config.k8s.io/v1` EncryptionConfiguration: read, checked as Kubernetes checks it, and made into keys. What is
//! wrong is told with the field; the material of a key never is.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    Provider,
    cipher::{Scheme, SealingKey},
};
use crate::document;

/// Why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigurationError {
    /// It is no such document.
    #[error("{0}")]
    Form(String),
    #[error("{field}: {reason}")]
    Field { field: String, reason: String },
}

/// Resources that a rule is for: `secrets`, `*.apps`, `*.*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mask {
    pub resource: String,
    pub group: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EncryptionConfiguration {
    #[serde(default)]
    resources: Vec<ResourceConfiguration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResourceConfiguration {
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    providers: Vec<ProviderConfiguration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderConfiguration {
    aescbc: Option<KeyList>,
    aesgcm: Option<KeyList>,
    secretbox: Option<KeyList>,
    identity: Option<Map<String, Value>>,
    kms: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyList {
    #[serde(default)]
    keys: Vec<NamedKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedKey {
    #[serde(default)]
    name: String,
    #[serde(default)]
    secret: String,
}

const API_VERSION: &str = "apiserver.config.k8s.io/v1";
const KIND: &str = "EncryptionConfiguration";
/// What Kubernetes keeps beside objects, under names that look like resources.
const NO_OBJECTS: [&str; 3] = ["apiserveripinfo", "serviceipallocations", "servicenodeportallocations"];

impl Mask {
    pub fn of(text: &str) -> Self {
        let (resource, group) = text.split_once('.').unwrap_or((text, ""));
        Mask { resource: resource.to_owned(), group: group.to_owned() }
    }

    /// Itself, then what is wider.
    pub fn widening(self) -> [Mask; 3] {
        let group = Mask { resource: "*".to_owned(), group: self.group.clone() };
        [self, group, Mask::of("*.*")]
    }

    /// Whether two of one list make one of them pointless.
    fn overlaps(&self, other: &Mask) -> bool {
        let everything = |mask: &Mask| mask.resource == "*" && mask.group == "*";
        let group = self.group == other.group && (self.resource == "*" || other.resource == "*");
        everything(self) || everything(other) || group
    }
}

/// The providers of each mask. A mask of several entries has those of all of them, in their order.
pub fn read(text: &str) -> Result<HashMap<Mask, Vec<Provider>>, ConfigurationError> {
    let read = document::read(text, KIND, &[API_VERSION]).map_err(ConfigurationError::Form)?;
    let EncryptionConfiguration { resources } = read;
    if resources.is_empty() {
        return Err(fault("resources", "at least one resources is required"));
    }
    let mut rules: HashMap<Mask, Vec<Provider>> = HashMap::new();
    for (index, entry) in resources.into_iter().enumerate() {
        let field = format!("resources[{index}]");
        let masks = masks(&entry.resources, &format!("{field}.resources"))?;
        if entry.providers.is_empty() {
            return Err(fault(&format!("{field}.providers"), "at least one provider is required"));
        }
        for (index, configured) in entry.providers.iter().enumerate() {
            for mask in &masks {
                let provider = provider(configured, &format!("{field}.providers[{index}]"))?;
                rules.entry(mask.clone()).or_default().push(provider);
            }
        }
    }
    Ok(rules)
}

fn fault(field: &str, reason: impl Into<String>) -> ConfigurationError {
    ConfigurationError::Field { field: field.to_owned(), reason: reason.into() }
}

fn masks(names: &[String], field: &str) -> Result<Vec<Mask>, ConfigurationError> {
    if names.is_empty() {
        return Err(fault(field, "at least one resource is required"));
    }
    let mut masks: Vec<Mask> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let mask = Mask::of(name);
        if let Some(why) = refused(name, &mask) {
            return Err(fault(&format!("{field}[{index}]"), format!("{name:?}: {why}")));
        }
        if masks.contains(&mask) {
            return Err(fault(field, "the same resource cannot be specified multiple times"));
        }
        if masks.iter().any(|other| other.overlaps(&mask)) {
            let why = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as \
                       they will be masked";
            return Err(fault(field, why));
        }
        masks.push(mask);
    }
    Ok(masks)
}

fn refused(name: &str, mask: &Mask) -> Option<&'static str> {
    if name.to_lowercase() != name {
        return Some("resource name should not contain capital letters");
    }
    if name == "*" {
        return Some("use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources");
    }
    if name.is_empty() || mask.resource.is_empty() {
        return Some("it names no resource");
    }
    if NO_OBJECTS.contains(&name) {
        return Some("resources which do not have REST API/s cannot be encrypted");
    }
    match mask.group.as_str() {
        "events.k8s.io" => Some(
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config \
             file",
        ),
        "extensions" => Some("'extensions' group has been removed and cannot be used for encryption"),
        "*" if mask.resource != "*" => Some("encrypting the same resource across groups is not supported"),
        _ => None,
    }
}

fn provider(configured: &ProviderConfiguration, field: &str) -> Result<Provider, ConfigurationError> {
    let ProviderConfiguration { aescbc, aesgcm, secretbox, identity, kms } = configured;
    if kms.is_some() {
        let why = "this server calls no key management services: use aescbc, aesgcm or secretbox";
        return Err(fault(&format!("{field}.kms"), why));
    }
    let listed = [(Scheme::AesCbc, aescbc), (Scheme::AesGcm, aesgcm), (Scheme::Secretbox, secretbox)];
    let mut listed = listed.into_iter().filter_map(|(scheme, list)| Some((scheme, list.as_ref()?)));
    match (listed.next(), identity) {
        (None, Some(_)) => Ok(Provider::Identity),
        (Some((scheme, list)), None) if listed.next().is_none() => {
            Ok(Provider::Keys(keys(scheme, &list.keys, &format!("{field}.{}.keys", scheme.name()))?))
        }
        (None, None) => Err(fault(
            field,
            "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity",
        )),
        _ => Err(fault(
            field,
            "more than one provider specified in a single element, should split into different list elements",
        )),
    }
}

fn keys(scheme: Scheme, named: &[NamedKey], field: &str) -> Result<Vec<SealingKey>, ConfigurationError> {
    if named.is_empty() {
        return Err(fault(field, "at least one keys is required"));
    }
    let key = |(index, NamedKey { name, secret }): (usize, &NamedKey)| {
        let field = format!("{field}[{index}]");
        let of_secret = |why: String| fault(&format!("{field}.secret"), why);
        if name.is_empty() {
            return Err(fault(&format!("{field}.name"), "name is a mandatory field for a key"));
        }
        if secret.is_empty() {
            return Err(of_secret("secret is a mandatory field for a key".to_owned()));
        }
        let bytes = STANDARD.decode(secret).map_err(|_| of_secret("secrets must be base64 encoded".to_owned()))?;
        SealingKey::new(scheme, name, &bytes).ok_or_else(|| {
            let (length, wanted) = (bytes.len(), scheme.key_bytes());
            of_secret(format!("secret is not of the expected length, got {length}, expected one of {wanted:?}"))
        })
    };
    named.iter().enumerate().map(key).collect()
}
