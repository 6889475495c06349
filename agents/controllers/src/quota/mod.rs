//! ResourceQuotas: takes over the bounds of their spec into the status, and counts what is used of them. The API server charges
//! what is new by itself; what is gone, and what was there before a quota, is counted here, from what the API says there is.
//!
//! A quota is read first, then what it bounds, and the count is written only if the quota is still the one that was read. Whatever
//! is charged in between changes the quota, so a count never hides a charge; what goes in between is counted too high at most, and its
//! going has the quota counted again.

mod follow;
mod subject;

use std::{
    collections::BTreeSet,
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use k8s_openapi::api::core::v1::ResourceQuota;
use kontiki_informer::{Change, Informer, ObjectKey, Queue};
use kontiki_kinds::{
    KINDS,
    quota::{Look, Tally, look},
};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, PostParams},
    core::PartialObjectMeta,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::{
    ControllerError,
    context::{Context, gone_is_fine, settled},
};
use subject::{Subject, custom};

const WORKERS: usize = 2;
/// What goes together is counted once.
const GATHER: Duration = Duration::from_millis(50);
/// How often a quota is counted although nothing was seen to change: a pod that its node does not end, a change that no watch tells.
const ROUND: Duration = Duration::from_secs(300);
/// How often a kind is looked for that a quota names and nobody serves.
const UNSERVED_ROUND: Duration = Duration::from_secs(30);
/// Objects that are read at once.
const PAGE: u32 = 500;

struct Controller {
    context: Context,
    quotas: Informer<ResourceQuota>,
    queue: Queue<ObjectKey>,
    /// What is followed, by a name that bounds its number.
    followed: Arc<Mutex<BTreeSet<String>>>,
    followers: Mutex<JoinSet<()>>,
}

pub async fn run(context: Context) {
    let queue: Queue<ObjectKey> = Queue::default();
    let of_quota = queue.clone();
    let quotas = context.informer::<ResourceQuota>(vec![Box::new(move |change: &Change<ResourceQuota>| {
        if let Some(quota) = change.new.as_ref().filter(|_| is_news(change)) {
            of_quota.add(ObjectKey::of(&**quota));
        }
    })]);
    if !quotas.synced().await {
        return;
    }
    let cancel = context.cancel.clone();
    let (followed, followers) = (Arc::default(), Mutex::default());
    let controller = Arc::new(Controller { context, quotas, queue: queue.clone(), followed, followers });
    let reconciling = controller.clone();
    queue
        .drain(WORKERS, cancel, move |key| {
            let controller = reconciling.clone();
            async move { settled("resourcequota", &key, controller.reconcile(&key).await) }
        })
        .await;
    let mut followers = std::mem::take(&mut *controller.followers.lock().unwrap_or_else(PoisonError::into_inner));
    while followers.join_next().await.is_some() {}
}

/// Whether a change of a quota is one of its bounds, or it has been told to forget what is used. What is charged comes and goes without
/// it; when bounds were just taken over, what came in until then was charged to nobody and is counted again. What was decided before
/// that is not applied after it.
fn is_news(change: &Change<ResourceQuota>) -> bool {
    let bounds = |quota: &ResourceQuota| {
        (quota.spec.clone(), quota.status.as_ref().and_then(|status| status.hard.clone()).unwrap_or_default())
    };
    match (&change.old, &change.new) {
        (Some(old), Some(new)) => bounds(old) != bounds(new) || (is_counted(old) && !is_counted(new)),
        (None, Some(_)) => true,
        (_, None) => false,
    }
}

/// Whether a quota knows what is used of all that it bounds.
fn is_counted(quota: &ResourceQuota) -> bool {
    let Some(status) = &quota.status else { return true };
    let used = |name: &String| status.used.as_ref().is_some_and(|used| used.contains_key(name));
    status.hard.iter().flatten().all(|(name, _)| used(name))
}

impl Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<(), ControllerError> {
        if self.quotas.get(key).is_none() {
            return Ok(());
        }
        let resource = ApiResource::erase::<ResourceQuota>(&());
        let plain = self.context.clients.plain();
        let api: Api<DynamicObject> = Api::namespaced_with(plain, &key.namespace, &resource);
        let Some(mut quota) = api.get_opt(&key.name).await? else { return Ok(()) };
        let (status, unserved) = self.count(&key.namespace, &serde_json::to_value(&quota)?).await?;
        if let Some(status) = status {
            let cause = quota.resource_version();
            let client = self.context.clients.caused_by(cause.as_deref());
            quota.data["status"] = status;
            let api: Api<DynamicObject> = Api::namespaced_with(client, &key.namespace, &resource);
            gone_is_fine(api.replace_status(&key.name, &PostParams::default(), &quota).await)?;
        }
        self.queue.add_after(key.clone(), if unserved { UNSERVED_ROUND } else { ROUND });
        Ok(())
    }

    /// The quota's status, if it is to be another one, and whether it names a kind that nobody serves.
    async fn count(&self, namespace: &str, quota: &Value) -> Result<(Option<Value>, bool), ControllerError> {
        let mut tally = Tally::new(quota, SystemTime::now().into());
        for kind in KINDS.iter().copied().filter(|kind| kind.namespaced && kind.spelling.is_none()) {
            let Some(look) = look(kind, quota) else { continue };
            let subject = Subject::builtin(kind);
            self.follow(&subject);
            match look {
                Look::Number => tally.count(kind, self.number(namespace, &subject.resource).await?),
                Look::Objects => tally.measure(kind, &self.objects(namespace, &subject.resource).await?),
            }
        }
        let mut unserved = false;
        let names = quota.pointer("/spec/hard").and_then(Value::as_object).into_iter().flatten();
        for (name, _) in names.filter(|(name, _)| !KINDS.iter().any(|kind| kind.is_bounded_by(name))) {
            match custom(&self.context.clients.plain(), name).await? {
                Some(subject) => {
                    self.follow(&subject);
                    tally.count_named(name, self.number(namespace, &subject.resource).await?);
                }
                None => unserved |= name.starts_with(subject::COUNT),
            }
        }
        Ok((tally.finish(), unserved))
    }

    /// Has quotas counted again when objects of the subject go, or change what they use.
    fn follow(&self, subject: &Subject) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if !followed.insert(subject.counted_as.clone()) {
            return;
        }
        let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        while followers.try_join_next().is_some() {}
        for selector in subject.selectors() {
            let (quotas, queue, of) = (self.quotas.clone(), self.queue.clone(), subject.clone());
            let touched = move |namespace: Option<&str>| {
                for quota in quotas.list(namespace).iter().filter(|quota| of.is_bounded_by(quota)) {
                    queue.add_after(ObjectKey::of(&**quota), GATHER);
                }
            };
            let (context, subject, followed) = (self.context.clone(), subject.clone(), self.followed.clone());
            followers.spawn(async move {
                follow::follow(context, subject.clone(), selector, &touched).await;
                // The next count follows it again, if it is served then.
                followed.lock().unwrap_or_else(PoisonError::into_inner).remove(&subject.counted_as);
            });
        }
    }

    async fn number(&self, namespace: &str, resource: &ApiResource) -> Result<usize, ControllerError> {
        let client = self.context.clients.plain();
        let api: Api<PartialObjectMeta<DynamicObject>> = Api::namespaced_with(client, namespace, resource);
        let mut number = 0;
        each(&api, |_| {
            number += 1;
            Ok(())
        })
        .await?;
        Ok(number)
    }

    async fn objects(&self, namespace: &str, resource: &ApiResource) -> Result<Vec<Value>, ControllerError> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.context.clients.plain(), namespace, resource);
        let mut objects = Vec::new();
        each(&api, |object| {
            objects.push(serde_json::to_value(object)?);
            Ok(())
        })
        .await?;
        Ok(objects)
    }
}

/// Everything an API lists, at one moment.
async fn each<K>(
    api: &Api<K>,
    mut take: impl FnMut(K) -> Result<(), ControllerError> + Send,
) -> Result<(), ControllerError>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = api.list(&page).await?;
        list.items.into_iter().try_for_each(&mut take)?;
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn only_bounds_are_news() {
        let quota = |spec: &str, hard: &str, used: &str| {
            let quota = json!({
                "metadata": {"name": "q"}, "spec": {"hard": {"pods": spec}},
                "status": {"hard": {"pods": hard}, "used": {"pods": used}},
            });
            Some(Arc::new(serde_json::from_value(quota).unwrap()))
        };
        let news = |old, new| is_news(&Change { old, new });
        assert!(news(None, quota("1", "1", "0")));
        assert!(news(quota("1", "1", "0"), quota("2", "1", "0")));
        assert!(news(quota("2", "1", "0"), quota("2", "2", "0")));
        assert!(!news(quota("1", "1", "0"), quota("1", "1", "1")));
        assert!(!news(quota("1", "1", "0"), None));
        let forgetful = json!({
            "metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}, "status": {"hard": {"pods": "1"}},
        });
        let forgetful = Some(Arc::new(serde_json::from_value(forgetful).unwrap()));
        assert!(news(quota("1", "1", "1"), forgetful.clone()));
        assert!(!news(forgetful.clone(), forgetful));
    }
}
