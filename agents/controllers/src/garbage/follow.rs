//! Which resources are followed: all that discovery names, in the version that it names.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use kontiki_informer::{Outage, Queue, interruption, is_unserved};
use kube::{
    Api, ResourceExt,
    api::ApiResource,
    discovery::{Discovery, Scope, verbs},
    runtime::{WatchStreamExt, watcher},
};
use tokio::{
    sync::{Notify, RwLock, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    Metadata,
    graph::{Graph, Identity},
};
use crate::context::Context;

/// How often resources are looked for that no object here tells of: what the server of an aggregated API changes.
const DISCOVERY_ROUND: Duration = Duration::from_secs(300);
const DISCOVERY_RETRY: Duration = Duration::from_millis(500);

/// Group and resource of what says which resources there are.
const DEFINING: &[(&str, &str)] =
    &[("apiextensions.k8s.io", "customresourcedefinitions"), ("apiregistration.k8s.io", "apiservices")];

/// Objects of these are many, short-lived and own nothing.
const IGNORED: &[&str] = &["events"];

/// Resources that were found and not listed yet; `None` before the first discovery.
pub type Unlisted = Option<usize>;

/// Group and plural.
type Name = (String, String);

/// How a resource is followed: its version is part of it.
#[derive(Clone, Debug, PartialEq)]
struct Form {
    resource: Arc<ApiResource>,
    scope: Scope,
}

struct Follower {
    form: Form,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Follower {
    async fn end(self) {
        self.cancel.cancel();
        if let Err(error) = self.task.await {
            warn!(resource = self.form.resource.plural, %error, "following a resource ended by panic");
        }
    }
}

/// Keeps one follower for each resource, those that appear later too: a change of what defines resources is followed by a look.
pub struct Followers {
    context: Context,
    graph: Arc<RwLock<Graph>>,
    queue: Queue<String>,
    unlisted: watch::Sender<Unlisted>,
    redefined: Arc<Notify>,
    running: BTreeMap<Name, Follower>,
}

impl Followers {
    pub fn new(
        context: Context,
        graph: Arc<RwLock<Graph>>,
        queue: Queue<String>,
        unlisted: watch::Sender<Unlisted>,
    ) -> Self {
        Followers { context, graph, queue, unlisted, redefined: Arc::default(), running: BTreeMap::new() }
    }

    pub async fn run(mut self) {
        loop {
            let mut pause = DISCOVERY_ROUND;
            match Discovery::new(self.context.clients.plain()).run_aggregated().await {
                Ok(discovery) => self.adapt(&discovery).await,
                Err(error) => {
                    warn!(%error, "discovery failed");
                    pause = DISCOVERY_RETRY;
                }
            }
            tokio::select! {
                () = self.context.cancel.cancelled() => break,
                () = self.redefined.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        for (_, follower) in self.running {
            follower.end().await;
        }
    }

    async fn adapt(&mut self, discovery: &Discovery) {
        let served = discovery.groups().flat_map(|group| group.resources_by_stability());
        let kinds = served.map(|(resource, of)| (Arc::new(resource), of.scope == Scope::Namespaced));
        self.graph.write().await.learn(kinds);
        let wanted = deletable(discovery);
        self.running.retain(|_, follower| !follower.task.is_finished());
        let followed: BTreeMap<Name, Form> =
            self.running.iter().map(|(name, follower)| (name.clone(), follower.form.clone())).collect();
        let turn = turn(&followed, &wanted);
        for name in turn.ended {
            // The next one begins only when this one is over: what it still does would mix into the other's list.
            if let Some(follower) = self.running.remove(&name) {
                follower.end().await;
            }
            if !wanted.contains_key(&name) {
                let wake = self.graph.write().await.retain(&name.0, &name.1, &BTreeSet::new());
                wake.into_iter().for_each(|uid| self.queue.add(uid));
            }
        }
        self.unlisted.send_modify(|left| *left = Some(left.unwrap_or(0) + turn.begun.len()));
        for (name, form) in turn.begun {
            let cancel = self.context.cancel.child_token();
            let following = Following {
                context: self.context.clone(),
                form: form.clone(),
                graph: self.graph.clone(),
                queue: self.queue.clone(),
                first: Some(FirstList(self.unlisted.clone())),
                redefined: self.redefined.clone(),
                cancel: cancel.clone(),
            };
            self.running.insert(name, Follower { form, cancel, task: tokio::spawn(following.run()) });
        }
    }
}

fn deletable(discovery: &Discovery) -> BTreeMap<Name, Form> {
    let all = discovery.groups().flat_map(|group| group.resources_by_stability());
    all.filter(|(resource, capabilities)| {
        capabilities.supports_operation(verbs::DELETE)
            && capabilities.supports_operation(verbs::WATCH)
            && !IGNORED.contains(&resource.plural.as_str())
    })
    .map(|(resource, capabilities)| {
        let name = (resource.group.clone(), resource.plural.clone());
        (name, Form { resource: Arc::new(resource), scope: capabilities.scope })
    })
    .collect()
}

/// Which followers end and which begin.
#[derive(Debug, PartialEq)]
struct Turn {
    ended: Vec<Name>,
    begun: Vec<(Name, Form)>,
}

/// `(what is followed, what is served) → who ends and who begins`: a resource in another version or scope gets a new follower.
fn turn(followed: &BTreeMap<Name, Form>, served: &BTreeMap<Name, Form>) -> Turn {
    let ended = followed.iter().filter(|(name, form)| served.get(*name) != Some(form));
    let begun = served.iter().filter(|(name, form)| followed.get(*name) != Some(form));
    Turn {
        ended: ended.map(|(name, _)| name.clone()).collect(),
        begun: begun.map(|(name, form)| (name.clone(), form.clone())).collect(),
    }
}

/// A resource whose first list is awaited. Dropped when it is there, or when there will be none.
struct FirstList(watch::Sender<Unlisted>);

impl Drop for FirstList {
    fn drop(&mut self) {
        self.0.send_modify(|left| *left = left.map(|left| left - 1));
    }
}

/// What follows one resource.
struct Following {
    context: Context,
    form: Form,
    graph: Arc<RwLock<Graph>>,
    queue: Queue<String>,
    first: Option<FirstList>,
    /// Told of each change of what defines resources.
    redefined: Arc<Notify>,
    cancel: CancellationToken,
}

impl Following {
    async fn run(mut self) {
        let resource = self.form.resource.clone();
        let defines = DEFINING.contains(&(resource.group.as_str(), resource.plural.as_str()));
        let api: Api<Metadata> = Api::all_with(self.context.clients.plain(), &*resource);
        let mut stream = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
        let mut outage = Outage::new("watch interrupted", &resource.plural);
        let mut listed: Option<BTreeSet<String>> = None;
        loop {
            let event = tokio::select! {
                () = self.cancel.cancelled() => return,
                event = stream.next() => event,
            };
            let Some(event) = event else { return };
            let mut graph = self.graph.write().await;
            let wake = match event {
                Ok(watcher::Event::Init) => {
                    listed = Some(BTreeSet::new());
                    continue;
                }
                Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                    if let (Some(listed), Some(uid)) = (&mut listed, object.uid()) {
                        listed.insert(uid);
                    }
                    graph.put(self.form.identity(&object), &object.metadata)
                }
                Ok(watcher::Event::InitDone) => {
                    self.first = None;
                    let kept = listed.take().unwrap_or_default();
                    graph.retain(&resource.group, &resource.plural, &kept)
                }
                Ok(watcher::Event::Delete(object)) => {
                    graph.remove(&object.uid().unwrap_or_default(), object.resource_version())
                }
                Err(error) => {
                    drop(graph);
                    match is_unserved(&error) {
                        // Its definition was deleted; the next look at what is served ends this.
                        true => debug!(resource = resource.plural, "nobody serves it"),
                        false => outage.failed(&interruption(&error)),
                    }
                    continue;
                }
            };
            outage.over();
            drop(graph);
            if defines && listed.is_none() {
                self.redefined.notify_one();
            }
            wake.into_iter().for_each(|uid| self.queue.add(uid));
        }
    }
}

impl Form {
    fn identity(&self, object: &Metadata) -> Identity {
        Identity {
            resource: self.resource.clone(),
            namespace: if self.scope == Scope::Namespaced { object.namespace() } else { None },
            name: object.name_any(),
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::GroupVersionKind;

    use super::*;

    fn form(version: &str, kind: &str, scope: Scope) -> (Name, Form) {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", version, kind));
        let name = (resource.group.clone(), resource.plural.clone());
        (name, Form { resource: Arc::new(resource), scope })
    }

    #[test]
    fn another_version_or_scope_gets_another_follower() {
        let of = |forms: &[(Name, Form)]| forms.iter().cloned().collect::<BTreeMap<_, _>>();
        let begun = |forms: &[(Name, Form)]| Turn { ended: Vec::new(), begun: forms.to_vec() };
        let replaced = |by: &(Name, Form)| Turn { ended: vec![by.0.clone()], begun: vec![by.clone()] };
        let old = form("v1beta1", "Widget", Scope::Namespaced);
        let new = form("v1", "Widget", Scope::Namespaced);
        let global = form("v1", "Widget", Scope::Cluster);
        let gadget = form("v1", "Gadget", Scope::Namespaced);
        let one = std::slice::from_ref;
        assert_eq!(turn(&of(&[]), &of(one(&old))), begun(one(&old)));
        assert_eq!(turn(&of(one(&old)), &of(&[old.clone(), gadget.clone()])), begun(one(&gadget)));
        assert_eq!(turn(&of(one(&old)), &of(one(&new))), replaced(&new));
        assert_eq!(turn(&of(one(&new)), &of(one(&global))), replaced(&global));
        assert_eq!(turn(&of(one(&new)), &of(&[])), Turn { ended: vec![new.0.clone()], begun: Vec::new() });
    }
}
