//! What a ReplicaSet says of itself: counts, and whether its pods cannot be made or removed. Pure.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use kube::ResourceExt;

use crate::pods;

const FAILURE: &str = "ReplicaFailure";

/// The numbers; conditions are left open.
pub fn counts(set: &ReplicaSet, pods: &[&Arc<Pod>], min_ready: i32, now: Timestamp) -> ReplicaSetStatus {
    let number = |pods: usize| i32::try_from(pods).expect("fewer pods than two billion");
    let active = |pod: &&&Arc<Pod>| pods::is_active(pod);
    let count = |holds: &dyn Fn(&Pod) -> bool| number(pods.iter().filter(active).filter(|pod| holds(pod)).count());
    let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    let template_labels = template.and_then(|template| template.metadata.as_ref()?.labels.clone()).unwrap_or_default();
    ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: Some(count(&|pod| {
            template_labels.iter().all(|(key, value)| pod.labels().get(key) == Some(value))
        })),
        ready_replicas: Some(count(&pods::is_ready)),
        available_replicas: Some(count(&|pod| pods::available_in(pod, min_ready, now) == Some(0))),
        observed_generation: set.metadata.generation,
        conditions: None,
        terminating_replicas: Some(number(pods.iter().filter(|pod| pods::is_terminating(pod)).count())),
    }
}

/// The conditions after an attempt that failed with this reason and message, or with none. A set that is failing already
/// keeps what it says: a refusal names the pod that it refused, which is another one each time, and a status that changes
/// with every attempt would wake the next at once.
pub fn conditions(
    old: Option<&ReplicaSetStatus>,
    failure: Option<(&str, String)>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let mut conditions = old.and_then(|old| old.conditions.clone()).unwrap_or_default();
    match failure {
        None => conditions.retain(|condition| condition.type_ != FAILURE),
        Some(_) if conditions.iter().any(|condition| condition.type_ == FAILURE) => {}
        Some((reason, message)) => conditions.push(ReplicaSetCondition {
            type_: FAILURE.into(),
            status: "True".into(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(Time(now)),
        }),
    }
    (!conditions.is_empty()).then_some(conditions)
}

/// Whether two statuses tell the same, absent numbers being zero.
pub fn same(old: &ReplicaSetStatus, new: &ReplicaSetStatus) -> bool {
    let numbers = |status: &ReplicaSetStatus| {
        let optional = [
            status.fully_labeled_replicas,
            status.ready_replicas,
            status.available_replicas,
            status.terminating_replicas,
        ];
        (status.replicas, optional.map(Option::unwrap_or_default), status.observed_generation)
    };
    numbers(old) == numbers(new) && old.conditions.iter().flatten().eq(new.conditions.iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(message: &str) -> Option<(&'static str, String)> {
        Some(("FailedCreate", message.to_owned()))
    }

    #[test]
    fn a_refusal_that_names_another_pod_each_time_is_no_change() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let first = ReplicaSetStatus {
            conditions: conditions(None, failing("pods \"web-x7k2p\" is forbidden"), at(0)),
            ..ReplicaSetStatus::default()
        };
        let second = ReplicaSetStatus {
            conditions: conditions(Some(&first), failing("pods \"web-9qq4d\" is forbidden"), at(60)),
            ..ReplicaSetStatus::default()
        };
        assert!(first.conditions.is_some());
        assert!(same(&first, &second));
        let healed =
            ReplicaSetStatus { conditions: conditions(Some(&second), None, at(90)), ..ReplicaSetStatus::default() };
        assert_eq!(healed.conditions, None);
        assert!(!same(&second, &healed));
    }

    #[test]
    fn the_conditions_of_others_stay() {
        let theirs = ReplicaSetCondition { type_: "example.com/Seen".into(), ..ReplicaSetCondition::default() };
        let old = ReplicaSetStatus { conditions: Some(vec![theirs.clone()]), ..ReplicaSetStatus::default() };
        assert_eq!(conditions(Some(&old), failing("x"), Timestamp::UNIX_EPOCH).map(|all| all.len()), Some(2));
        assert_eq!(conditions(Some(&old), None, Timestamp::UNIX_EPOCH), Some(vec![theirs]));
    }
}
