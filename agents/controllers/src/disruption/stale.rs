//! Pods that were to be disrupted and are still there: they say so for two minutes. Pure.

use std::time::Duration;

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::pods;

const CONDITION: &str = "DisruptionTarget";
/// What a node agent writes of a pod that it ends, which may take long.
const BY_NODE: &str = "TerminationByKubelet";
const STALE_AFTER_S: i64 = 120;

/// When the pod's condition is to be taken back, if it is to be.
pub fn due_in(pod: &Pod, now: Timestamp) -> Option<Duration> {
    if !pods::is_active(pod) {
        return None;
    }
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let target = conditions.iter().find(|condition| condition.type_ == CONDITION)?;
    if target.status != "True" || target.reason.as_deref() == Some(BY_NODE) {
        return None;
    }
    let since = target.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let left_s = STALE_AFTER_S - (now.as_second() - since.as_second());
    Some(Duration::from_secs(u64::try_from(left_s).unwrap_or(0)))
}

/// The strategic merge patch that takes it back, of this very pod as it is known.
pub fn taken_back(pod: &Pod, now: Timestamp) -> Value {
    json!({
        "metadata": {"uid": pod.uid(), "resourceVersion": pod.resource_version()},
        "status": {"conditions": [{
            "type": CONDITION, "status": "False", "observedGeneration": pod.metadata.generation,
            "lastTransitionTime": Time(now), "reason": null, "message": null,
        }]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_stays_is_no_target_after_two_minutes() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let table = [
            ("Running", "True", "EvictionByEvictionAPI", "00:09:30", false, Some(90)),
            ("Running", "True", "PreemptionByScheduler", "00:08:00", false, Some(0)),
            ("Pending", "True", "DeletionByTaintManager", "00:01:00", false, Some(0)),
            ("Running", "True", "TerminationByKubelet", "00:01:00", false, None),
            ("Running", "False", "", "00:01:00", false, None),
            ("Running", "True", "EvictionByEvictionAPI", "00:01:00", true, None),
            ("Failed", "True", "DeletionByPodGC", "00:01:00", false, None),
        ];
        for (phase, status, reason, since, deleting, expected) in table {
            let condition = json!({"type": "DisruptionTarget", "status": status, "reason": reason,
                                   "lastTransitionTime": format!("2026-01-01T{since}Z")});
            let pod = json!({
                "metadata": {"name": "p", "deletionTimestamp": deleting.then_some("2026-01-01T00:09:00Z")},
                "status": {"phase": phase, "conditions": [condition]},
            });
            let pod: Pod = serde_json::from_value(pod).unwrap();
            assert_eq!(due_in(&pod, now).map(|left| left.as_secs()), expected, "{phase} {status} {reason} {deleting}");
        }
    }
}
