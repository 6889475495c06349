//! What every controller's loop is made of: clients, informers, and waiting for one's own writes to come back.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt::Debug,
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{StreamExt, stream};
pub use kontiki_informer::reference;
use kontiki_informer::{Change, Clients, Informer, ObjectKey, Queue, Recorder, Subscription, message};
use kube::{Api, Resource, ResourceExt, runtime::watcher};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{ControllerConfig, certificates::Unsigned};

/// How long a reconcile waits to see the last one's writes; past it, it works with what it sees.
const OWN_WRITES_SEEN_MAX: Duration = Duration::from_secs(5);

/// Writes of one reconcile that are under way at once: one that is answered late holds up few others.
const AT_ONCE: usize = 16;

/// Why a reconcile did not finish; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    #[error("{}", message(.0))]
    Api(#[from] kube::Error),
    #[error("an object is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("bad selector: {0}")]
    Selector(String),
    #[error("{0} has no uid: not an object of the API")]
    NoUid(String),
    #[error("{0} is being deleted or gone: it adopts nothing")]
    OwnerGoes(String),
    #[error("the API issued no token for service account {0}")]
    NoToken(String),
    #[error(transparent)]
    Unsigned(#[from] Unsigned),
    #[error("the API serves no kind {1:?} of group {0:?}")]
    UnknownKind(String, String),
    #[error("found no controllers for pod {0:?}")]
    NoController(String),
    #[error("{0} does not implement the scale subresource")]
    NoScale(String),
}

#[derive(Clone)]
pub struct Context {
    pub clients: Clients,
    pub config: Arc<ControllerConfig>,
    pub cancel: CancellationToken,
    /// By kind, those that all controllers share.
    informers: Arc<Mutex<HashMap<TypeId, Box<dyn Any + Send>>>>,
}

impl Context {
    pub fn new(clients: Clients, config: ControllerConfig, cancel: CancellationToken) -> Self {
        Context { clients, config: Arc::new(config), cancel, informers: Arc::default() }
    }

    /// Follows all objects of a kind: one copy of them, and one watch, for all controllers.
    pub fn informer<K>(&self, subscriptions: Vec<Subscription<K>>) -> Informer<K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let mut informers = self.informers.lock().expect("nobody panics while holding this lock");
        let informer = informers.entry(TypeId::of::<K>()).or_insert_with(|| {
            let api = Api::all(self.clients.plain());
            Box::new(Informer::<K>::start(api, watcher::Config::default(), Vec::new(), self.cancel.clone()))
        });
        let informer = informer.downcast_ref::<Informer<K>>().expect("it is there by its kind").clone();
        drop(informers);
        subscriptions.into_iter().for_each(|subscription| informer.subscribe(subscription));
        informer
    }

    /// An API whose writes name the object that caused them.
    pub fn api<K, C>(&self, namespace: &str, cause: &C) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
        C: ResourceExt,
    {
        Api::namespaced(self.clients.caused_by(cause.resource_version().as_deref()), namespace)
    }

    pub fn recorder(&self, component: &'static str) -> Recorder {
        Recorder::new(self.clients.plain(), component, None)
    }
}

/// A subscription that queues whatever changed.
pub fn queued<K: Resource>(queue: &Queue<ObjectKey>) -> Subscription<K> {
    let queue = queue.clone();
    Box::new(move |change: &Change<K>| change.any().into_iter().for_each(|object| queue.add(ObjectKey::of(&**object))))
}

/// The revisions of a controller's last writes, by the object it wrote for.
#[derive(Clone, Default)]
pub struct OwnWrites(Arc<Mutex<HashMap<ObjectKey, u64>>>);

impl OwnWrites {
    /// Notes that work on `key` produced `written`.
    pub fn note<K: ResourceExt>(&self, key: &ObjectKey, written: &K) {
        let Some(revision) = written.resource_version().and_then(|version| version.parse::<u64>().ok()) else { return };
        let mut writes = self.0.lock().expect("nobody panics while holding this lock");
        let last = writes.entry(key.clone()).or_insert(0);
        *last = revision.max(*last);
    }

    /// Waits until `informer` shows what was written for `key`, so that nothing is done twice.
    pub async fn seen<K>(&self, key: &ObjectKey, informer: &Informer<K>)
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let revision = self.0.lock().expect("nobody panics while holding this lock").get(key).copied();
        let Some(revision) = revision else { return };
        if tokio::time::timeout(OWN_WRITES_SEEN_MAX, informer.caught_up(revision)).await.is_err() {
            warn!(?key, revision, "own writes are not back after {OWN_WRITES_SEEN_MAX:?}");
        }
        let mut writes = self.0.lock().expect("nobody panics while holding this lock");
        if writes.get(key) == Some(&revision) {
            writes.remove(key);
        }
    }
}

/// Logs a failed reconcile; the queue brings it back. A conflict or an object that is gone is everyday life.
pub fn settled(controller: &str, key: &ObjectKey, outcome: Result<(), ControllerError>) -> bool {
    match outcome {
        Ok(()) => true,
        Err(ControllerError::Api(kube::Error::Api(status))) if status.code == 409 || status.code == 404 => false,
        // The copy will say so too in a moment.
        Err(ControllerError::OwnerGoes(_)) => false,
        Err(error) => {
            warn!(controller, ?key, %error, "reconcile failed");
            false
        }
    }
}

/// Does all of it, some at a time, whatever fails; gives the first failure.
pub async fn each<F>(works: impl IntoIterator<Item = F>) -> Result<(), ControllerError>
where
    F: Future<Output = Result<(), ControllerError>>,
{
    let works: Vec<F> = works.into_iter().collect();
    let outcomes = stream::iter(works).buffer_unordered(AT_ONCE);
    outcomes.fold(Ok(()), |first: Result<(), _>, outcome| ready(first.and(outcome))).await
}

/// Turns "not found" into success: what should go is gone.
pub fn gone_is_fine<T>(result: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}
