//! ConfigMaps and Secrets that pods of this node refer to: each watched by its own name, for as long as a pod needs it.
//! So the node sees what its pods see and nothing else, and a change arrives at once.

use std::{
    collections::{HashMap, HashSet},
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ConfigMap, Secret},
};
use kontiki_informer::{Change, Informer, ObjectKey, Subscription};
use kube::{Api, Client, Resource, runtime::watcher};
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{env::Objects, volumes::References};

/// Changes a receiver may fall behind; then it looks at everything.
const CHANGES_MAX: usize = 256;

/// Shared by all pods of the node.
pub struct ObjectCache {
    client: Client,
    config_maps: Watched<ConfigMap>,
    secrets: Watched<Secret>,
    changes: broadcast::Sender<ObjectKey>,
}

impl ObjectCache {
    pub fn new(client: Client) -> ObjectCache {
        ObjectCache {
            client,
            config_maps: Watched::default(),
            secrets: Watched::default(),
            changes: broadcast::Sender::new(CHANGES_MAX),
        }
    }

    /// Keys of ConfigMaps and Secrets that have changed.
    pub fn changes(&self) -> broadcast::Receiver<ObjectKey> {
        self.changes.subscribe()
    }

    /// Watches what the pod refers to, and no longer what it does not.
    pub fn hold(&self, uid: &str, namespace: &str, references: &References) {
        let keys = |names: &std::collections::BTreeSet<String>| {
            names.iter().map(|name| ObjectKey::new(namespace, name)).collect::<HashSet<_>>()
        };
        self.config_maps.hold(uid, &keys(&references.config_maps), &self.client, &self.changes);
        self.secrets.hold(uid, &keys(&references.secrets), &self.client, &self.changes);
    }

    pub fn release(&self, uid: &str) {
        self.hold(uid, "", &References::default());
    }

    /// Waits until all that `uid` holds was read once.
    pub async fn synced(&self, uid: &str) {
        self.config_maps.synced(uid).await;
        self.secrets.synced(uid).await;
    }

    pub fn in_namespace(&self, namespace: &str) -> NamespaceObjects<'_> {
        NamespaceObjects { cache: self, namespace: namespace.to_owned() }
    }
}

/// The objects of one namespace that some pod holds.
pub struct NamespaceObjects<'a> {
    cache: &'a ObjectCache,
    namespace: String,
}

impl Objects for NamespaceObjects<'_> {
    fn config_map(&self, name: &str) -> Option<ConfigMap> {
        self.cache.config_maps.get(&ObjectKey::new(&self.namespace, name))
    }

    fn secret(&self, name: &str) -> Option<Secret> {
        self.cache.secrets.get(&ObjectKey::new(&self.namespace, name))
    }
}

struct Watched<K>(Mutex<HashMap<ObjectKey, Entry<K>>>);

struct Entry<K> {
    informer: Informer<K>,
    holders: HashSet<String>,
    _watching: DropGuard,
}

impl<K> Default for Watched<K> {
    fn default() -> Self {
        Watched(Mutex::default())
    }
}

impl<K> Watched<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    fn entries(&self) -> MutexGuard<'_, HashMap<ObjectKey, Entry<K>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, uid: &str, keys: &HashSet<ObjectKey>, client: &Client, changes: &broadcast::Sender<ObjectKey>) {
        let mut entries = self.entries();
        for key in keys {
            let entry = entries.entry(key.clone()).or_insert_with(|| watch(key, client, changes.clone()));
            entry.holders.insert(uid.to_owned());
        }
        entries.retain(|key, entry| {
            if !keys.contains(key) {
                entry.holders.remove(uid);
            }
            !entry.holders.is_empty()
        });
    }

    async fn synced(&self, uid: &str) {
        let informers: Vec<Informer<K>> = {
            let entries = self.entries();
            entries.values().filter(|entry| entry.holders.contains(uid)).map(|entry| entry.informer.clone()).collect()
        };
        for informer in informers {
            informer.synced().await;
        }
    }

    fn get(&self, key: &ObjectKey) -> Option<K> {
        let informer = self.entries().get(key)?.informer.clone();
        informer.get(key).map(Arc::unwrap_or_clone)
    }
}

fn watch<K>(key: &ObjectKey, client: &Client, changes: broadcast::Sender<ObjectKey>) -> Entry<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + Sync
        + 'static,
{
    let cancel = CancellationToken::new();
    let api = Api::namespaced(client.clone(), &key.namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={}", key.name));
    let named = key.clone();
    let tell: Subscription<K> = Box::new(move |_: &Change<K>| {
        // Nobody listening is nobody to tell.
        let _ = changes.send(named.clone());
    });
    let informer = Informer::start(api, config, vec![tell], cancel.clone());
    Entry { informer, holders: HashSet::new(), _watching: cancel.drop_guard() }
}
