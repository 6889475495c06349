//! When what last changed a Service's endpoints happened: an annotation by which others measure how long the news took.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::{
    api::core::v1::{Pod, Service},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kontiki_informer::ObjectKey;
use kube::{ResourceExt, core::ObjectMeta};

const ANNOTATION: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// What was seen at each Service's last look.
#[derive(Default)]
pub struct Triggers(Mutex<HashMap<ObjectKey, Seen>>);

#[derive(Default)]
struct Seen {
    service: Option<Time>,
    pods: BTreeMap<String, Time>,
}

impl Triggers {
    /// The earliest that has happened since the last look; `None` if nothing did that tells when. Of a Service that is new
    /// here, when it was made.
    pub fn since_last_look(&self, key: &ObjectKey, service: &Service, pods: &[Arc<Pod>]) -> Option<Time> {
        let readiness = pods.iter().filter_map(|pod| Some((pod.name_any(), readiness(pod)?)));
        let now = Seen { service: service.creation_timestamp(), pods: readiness.collect() };
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(before) = seen.get(key) else {
            seen.insert(key.clone(), now);
            return service.creation_timestamp();
        };
        let changed = now.pods.iter().filter(|(name, time)| before.pods.get(*name).is_none_or(|known| known < time));
        let made = now.service.iter().filter(|time| before.service.as_ref().is_none_or(|known| known < *time));
        let earliest = changed.map(|(_, time)| time).chain(made).min().cloned();
        seen.insert(key.clone(), now);
        earliest
    }

    pub fn forget(&self, key: &ObjectKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// Tells it of an object that is written, and takes away what was told of an earlier change.
pub fn note(metadata: &mut ObjectMeta, time: Option<&Time>) {
    let annotations = metadata.annotations.get_or_insert_default();
    match time {
        Some(time) => drop(annotations.insert(ANNOTATION.to_owned(), time.0.to_string())),
        None => drop(annotations.remove(ANNOTATION)),
    }
    if annotations.is_empty() {
        metadata.annotations = None;
    }
}

/// When the pod became ready, or ceased to be.
fn readiness(pod: &Pod) -> Option<Time> {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.find(|condition| condition.type_ == "Ready")?.last_transition_time.clone()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: u8) -> String {
        format!("2026-01-01T00:00:{second:02}Z")
    }

    fn pod(name: &str, second: u8) -> Arc<Pod> {
        let condition = json!({"type": "Ready", "status": "True", "lastTransitionTime": at(second)});
        let pod = json!({"metadata": {"name": name}, "status": {"conditions": [condition]}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn the_earliest_change_since_the_last_look_is_told() {
        let service = |second| -> Service {
            serde_json::from_value(json!({"metadata": {"name": "s", "creationTimestamp": at(second)}})).unwrap()
        };
        let (triggers, key) = (Triggers::default(), ObjectKey::new("a", "s"));
        let look = |service: &Service, pods: &[Arc<Pod>]| {
            triggers.since_last_look(&key, service, pods).map(|time| time.0.to_string())
        };
        let first = service(1);
        assert_eq!(look(&first, &[pod("a", 5)]), Some(at(1)), "a new Service tells when it was made");
        assert_eq!(look(&first, &[pod("a", 5)]), None);
        assert_eq!(look(&first, &[pod("a", 9), pod("b", 7)]), Some(at(7)));
        assert_eq!(look(&first, &[pod("b", 7)]), None, "nobody tells when a pod went");
        assert_eq!(look(&service(20), &[pod("b", 30)]), Some(at(20)));
    }

    #[test]
    fn what_was_told_of_an_earlier_change_goes() {
        let mut metadata = ObjectMeta::default();
        let time: Time = serde_json::from_value(json!(at(3))).unwrap();
        note(&mut metadata, Some(&time));
        assert_eq!(metadata.annotations.as_ref().unwrap()[ANNOTATION], at(3));
        note(&mut metadata, None);
        assert_eq!(metadata.annotations, None);
    }
}
