//! A local copy of one resource, kept by its watch stream and shared by all that read it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Debug,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, RwLock},
};

use futures::StreamExt;
use kube::{
    Api, Resource, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::{Outage, failure::interruption};

/// Namespace and name; the namespace is empty for cluster-scoped objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    pub namespace: String,
    pub name: String,
}

impl ObjectKey {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        ObjectKey { namespace: namespace.into(), name: name.into() }
    }

    pub fn of<K: ResourceExt>(object: &K) -> Self {
        ObjectKey { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}

/// One change as a subscriber sees it: what was there and what is.
pub struct Change<K> {
    pub old: Option<Arc<K>>,
    pub new: Option<Arc<K>>,
}

impl<K> Change<K> {
    /// The object after the change or, if it is gone, before.
    pub fn any(&self) -> Option<&Arc<K>> {
        self.new.as_ref().or(self.old.as_ref())
    }
}

/// Called for every change, in order, from the informer's task: it must only note what to do (fill a queue).
pub type Subscription<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;
type Subscriptions<K> = Arc<Mutex<Vec<Subscription<K>>>>;

/// How far the copy has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    /// The highest resource version seen.
    revision: u64,
    /// Lists that were begun, and which of them was the last to be complete: 0 until the first.
    begun: u64,
    listed: u64,
}

struct State<K> {
    objects: BTreeMap<ObjectKey, Arc<K>>,
    /// Keys by the uid of the controller that owns them.
    owned: HashMap<String, BTreeSet<ObjectKey>>,
}

/// A shared, read-only view of a resource. Cheap to clone.
pub struct Informer<K> {
    state: Arc<RwLock<State<K>>>,
    progress: watch::Receiver<Progress>,
    subscriptions: Subscriptions<K>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Informer {
            state: self.state.clone(),
            progress: self.progress.clone(),
            subscriptions: self.subscriptions.clone(),
        }
    }
}

impl<K> Informer<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    /// Follows what `api` and `config` select until `cancel`.
    pub fn start(
        api: Api<K>,
        config: watcher::Config,
        subscriptions: Vec<Subscription<K>>,
        cancel: CancellationToken,
    ) -> Self {
        let state = Arc::new(RwLock::new(State { objects: BTreeMap::new(), owned: HashMap::new() }));
        let (sender, progress) = watch::channel(Progress::default());
        let subscriptions = Arc::new(Mutex::new(subscriptions));
        let informer = Informer { state, progress, subscriptions };
        let follower = informer.follower(sender);
        tokio::spawn(cancel.run_until_cancelled_owned(follower.run(api, config)));
        informer
    }

    fn follower(&self, progress: watch::Sender<Progress>) -> Follower<K> {
        let (state, subscriptions) = (self.state.clone(), self.subscriptions.clone());
        Follower { state, progress, subscriptions, listed: Vec::new() }
    }

    /// Tells one more: first of what is there, as if it was made just now, then of every change.
    pub fn subscribe(&self, subscription: Subscription<K>) {
        // Nothing changes while this is held.
        let mut subscriptions = lock(&self.subscriptions);
        let told = subscriptions.len();
        subscriptions.push(subscription);
        self.list(None).into_iter().for_each(|object| {
            tell(&subscriptions[told..], &Change { old: None, new: Some(object) });
        });
    }

    /// Waits for the first complete list; `false` if the informer ended before.
    pub async fn synced(&self) -> bool {
        self.progress.clone().wait_for(|progress| progress.listed > 0).await.is_ok()
    }

    /// Waits until the copy includes the write that was answered with `resource_version`, or was listed anew since. A list that
    /// is under way may be of a state before the write.
    pub async fn caught_up(&self, resource_version: u64) -> bool {
        let mut progress = self.progress.clone();
        let begun = progress.borrow().begun;
        progress.wait_for(|progress| progress.revision >= resource_version || progress.listed > begun).await.is_ok()
    }

    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.read().objects.get(key).cloned()
    }

    /// All objects, or those of one namespace, ordered by key.
    pub fn list(&self, namespace: Option<&str>) -> Vec<Arc<K>> {
        let state = self.read();
        match namespace {
            None => state.objects.values().cloned().collect(),
            Some(namespace) => {
                let from = ObjectKey::new(namespace, "");
                let here = state.objects.range(from..).take_while(|(key, _)| key.namespace == namespace);
                here.map(|(_, object)| object.clone()).collect()
            }
        }
    }

    /// What the controller with this uid owns.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<K>> {
        let state = self.read();
        let keys = state.owned.get(uid).into_iter().flatten();
        keys.filter_map(|key| state.objects.get(key).cloned()).collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State<K>> {
        self.state.read().expect("nobody panics while holding the informer's lock")
    }
}

struct Follower<K> {
    state: Arc<RwLock<State<K>>>,
    progress: watch::Sender<Progress>,
    /// Held while something changes, and while that is told.
    subscriptions: Subscriptions<K>,
    /// Keys seen since a list began.
    listed: Vec<ObjectKey>,
}

impl<K> Drop for Follower<K> {
    /// Subscriptions hold informers, and these their subscriptions.
    fn drop(&mut self) {
        let subscriptions = std::mem::take(&mut *lock(&self.subscriptions));
        drop(subscriptions);
    }
}

impl<K> Follower<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    async fn run(mut self, api: Api<K>, config: watcher::Config) {
        let mut stream = std::pin::pin!(watcher(api, config).default_backoff());
        let mut outage = Outage::new("watch interrupted", std::any::type_name::<K>());
        while let Some(event) = stream.next().await {
            match event {
                // Every attempt begins with this, also one that fails.
                Ok(event @ watcher::Event::Init) => self.follow(event),
                Ok(event) => {
                    outage.over();
                    self.follow(event);
                }
                Err(error) => outage.failed(&interruption(&error)),
            }
        }
    }

    fn follow(&mut self, event: watcher::Event<K>) {
        match event {
            watcher::Event::Init => {
                self.listed.clear();
                self.progress.send_modify(|progress| progress.begun += 1);
            }
            watcher::Event::InitApply(object) => {
                self.listed.push(ObjectKey::of(&object));
                self.put(object);
            }
            watcher::Event::InitDone => {
                let kept: BTreeSet<ObjectKey> = self.listed.drain(..).collect();
                let state = self.state.read().expect("nobody panics while holding the informer's lock");
                let gone: Vec<ObjectKey> = state.objects.keys().filter(|key| !kept.contains(key)).cloned().collect();
                drop(state);
                gone.iter().for_each(|key| self.remove(key));
                self.progress.send_modify(|progress| progress.listed = progress.begun);
            }
            watcher::Event::Apply(object) => self.put(object),
            watcher::Event::Delete(object) => {
                self.remove(&ObjectKey::of(&object));
                self.seen(&object);
            }
        }
    }

    fn put(&mut self, object: K) {
        let key = ObjectKey::of(&object);
        let object = Arc::new(object);
        let subscriptions = lock(&self.subscriptions);
        let mut state = self.state.write().expect("nobody panics while holding the informer's lock");
        let old = state.objects.insert(key.clone(), object.clone());
        if let Some(uid) = old.as_deref().and_then(controller_uid) {
            forget(&mut state.owned, &uid, &key);
        }
        if let Some(uid) = controller_uid(&*object) {
            state.owned.entry(uid).or_default().insert(key);
        }
        drop(state);
        // A list repeats what is known: unchanged objects are no change.
        if old.as_ref().is_none_or(|old| old.resource_version() != object.resource_version()) {
            tell(&subscriptions, &Change { old, new: Some(object.clone()) });
        }
        drop(subscriptions);
        self.seen(&*object);
    }

    fn remove(&mut self, key: &ObjectKey) {
        let subscriptions = lock(&self.subscriptions);
        let mut state = self.state.write().expect("nobody panics while holding the informer's lock");
        let old = state.objects.remove(key);
        if let Some(uid) = old.as_deref().and_then(controller_uid) {
            forget(&mut state.owned, &uid, key);
        }
        drop(state);
        if old.is_some() {
            tell(&subscriptions, &Change { old, new: None });
        }
    }

    fn seen(&self, object: &K) {
        let Some(revision) = object.resource_version().and_then(|version| version.parse::<u64>().ok()) else { return };
        self.progress.send_if_modified(|progress| {
            let newer = revision > progress.revision;
            progress.revision = progress.revision.max(revision);
            newer
        });
    }
}

fn lock<K>(subscriptions: &Mutex<Vec<Subscription<K>>>) -> MutexGuard<'_, Vec<Subscription<K>>> {
    subscriptions.lock().expect("nobody panics while holding the subscriptions' lock")
}

/// One that panics costs itself this change, and nobody else the copy.
fn tell<K: Resource>(subscriptions: &[Subscription<K>], change: &Change<K>) {
    for subscription in subscriptions {
        if catch_unwind(AssertUnwindSafe(|| subscription(change))).is_err() {
            let key = change.any().map(|object| ObjectKey::of(&**object));
            error!(kind = std::any::type_name::<K>(), ?key, "following this change panicked");
        }
    }
}

fn controller_uid<K: Resource>(object: &K) -> Option<String> {
    let owners = object.meta().owner_references.as_ref()?;
    owners.iter().find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone())
}

fn forget(owned: &mut HashMap<String, BTreeSet<ObjectKey>>, uid: &str, key: &ObjectKey) {
    if let Some(keys) = owned.get_mut(uid) {
        keys.remove(key);
        if keys.is_empty() {
            owned.remove(uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::ObjectMeta;

    use super::*;

    fn object(revision: u64) -> ConfigMap {
        let (name, resource_version) = (Some("a".to_owned()), Some(revision.to_string()));
        ConfigMap { metadata: ObjectMeta { name, resource_version, ..ObjectMeta::default() }, ..ConfigMap::default() }
    }

    fn idle() -> (Informer<ConfigMap>, Follower<ConfigMap>) {
        let state = Arc::new(RwLock::new(State { objects: BTreeMap::new(), owned: HashMap::new() }));
        let (sender, progress) = watch::channel(Progress::default());
        let informer = Informer { state, progress, subscriptions: Subscriptions::default() };
        let follower = informer.follower(sender);
        (informer, follower)
    }

    #[test]
    fn who_comes_late_is_told_what_is_there_and_then_as_the_others() {
        let (informer, mut follower) = idle();
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let subscribe = |name: &'static str| {
            let (told, held) = (told.clone(), informer.clone());
            informer.subscribe(Box::new(move |change| {
                let revision = |object: &Option<Arc<ConfigMap>>| object.as_ref().and_then(|one| one.resource_version());
                let there = held.list(None).len();
                let line = format!("{name} {:?} {:?} of {there}", revision(&change.old), revision(&change.new));
                told.lock().unwrap().push(line.replace("Some(", "").replace([')', '"'], ""));
            }));
        };
        let said = || std::mem::take(&mut *told.lock().unwrap());
        subscribe("first");
        follower.follow(watcher::Event::Apply(object(1)));
        assert_eq!(said(), ["first None 1 of 1"]);
        subscribe("late");
        assert_eq!(said(), ["late None 1 of 1"]);
        follower.follow(watcher::Event::Apply(object(2)));
        follower.follow(watcher::Event::Delete(object(3)));
        let expected = ["first 1 2 of 1", "late 1 2 of 1", "first 2 None of 0", "late 2 None of 0"];
        assert_eq!(said(), expected);
        drop(follower);
        assert_eq!(Arc::strong_count(&told), 1, "nobody holds on to it, nor to the informer that it holds");
    }

    #[test]
    fn one_that_panics_costs_nobody_else_the_copy() {
        let (informer, mut follower) = idle();
        let told: Arc<Mutex<usize>> = Arc::default();
        follower.follow(watcher::Event::Apply(object(1)));
        informer.subscribe(Box::new(|_| panic!("a mistake in following")));
        let count = told.clone();
        informer.subscribe(Box::new(move |_| *count.lock().unwrap() += 1));
        follower.follow(watcher::Event::Apply(object(2)));
        follower.follow(watcher::Event::Delete(object(3)));
        assert_eq!((*told.lock().unwrap(), informer.list(None).len()), (3, 0));
    }

    #[test]
    fn a_list_that_was_under_way_has_not_seen_a_write() {
        let (informer, mut follower) = idle();
        let list = |follower: &mut Follower<ConfigMap>, revision: u64| {
            follower.follow(watcher::Event::InitApply(object(revision)));
            follower.follow(watcher::Event::InitDone);
        };
        follower.follow(watcher::Event::Init);
        assert_eq!(informer.synced().now_or_never(), None);
        let mut written = Box::pin(informer.caught_up(8));
        assert_eq!((&mut written).now_or_never(), None);
        list(&mut follower, 7);
        assert_eq!(informer.synced().now_or_never(), Some(true));
        assert_eq!((&mut written).now_or_never(), None, "it may be of a state before the write");
        follower.follow(watcher::Event::Init);
        assert_eq!((&mut written).now_or_never(), None);
        list(&mut follower, 7);
        assert_eq!((&mut written).now_or_never(), Some(true), "what was written is gone again");
        follower.follow(watcher::Event::Apply(object(9)));
        assert_eq!(informer.caught_up(9).now_or_never(), Some(true));
    }
}
