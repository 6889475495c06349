//! Whether a pod may be evicted, by the budgets of its namespace. Pure; Kubernetes' eviction subresource.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::selector;
use crate::tree::{at, count, int, list, missing, object, text};

/// What an eviction does.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The pod goes, and no budget is charged for it.
    Free,
    /// The pod goes, and this budget, which has one disruption less, changes with it.
    Charged(Value),
    Refused(Objection),
}

/// Why a pod stays.
#[derive(Clone, Debug, PartialEq)]
pub enum Objection {
    /// More than one budget speaks of the pod.
    Several,
    /// The budget has not looked at its pods yet, or not since it was changed.
    Unobserved { budget: String },
    /// No disruption is left.
    Exhausted { budget: String, needed: i64, healthy: i64 },
    /// The budget is out of order.
    Broken { budget: String, why: &'static str },
}

/// Evictions that no controller has confirmed yet, for one budget.
const UNCONFIRMED_MAX: usize = 2000;

/// Decides about a pod; `budgets` are those of its namespace.
pub fn judge(pod: &Value, budgets: &[Value], now: DateTime<Utc>) -> Verdict {
    // What does not run, or is going already, is no disruption.
    let idle = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed" | "Pending");
    if idle || !missing(pod, "/metadata/deletionTimestamp") {
        return Verdict::Free;
    }
    let labels = at(pod, "/metadata/labels");
    let mut speaking = budgets.iter().filter(|budget| speaks_of(budget, labels));
    match (speaking.next(), speaking.next()) {
        (None, _) => Verdict::Free,
        (Some(_), Some(_)) => Verdict::Refused(Objection::Several),
        (Some(budget), None) if !is_ready(pod) && is_unharmed(budget) => Verdict::Free,
        (Some(budget), None) => charge(pod, budget, now),
    }
}

/// No selector at all selects nothing.
fn speaks_of(budget: &Value, labels: &Value) -> bool {
    let chosen = at(budget, "/spec/selector");
    !chosen.is_null() && selector::matches(chosen, labels)
}

fn is_ready(pod: &Value) -> bool {
    let ready = list(pod, "/status/conditions").iter().find(|one| text(one, "/type") == "Ready");
    ready.is_some_and(|condition| text(condition, "/status") == "True")
}

/// A pod that is not ready counts for nothing, so the budget suffers no harm if it goes.
fn is_unharmed(budget: &Value) -> bool {
    let (healthy, needed) = (int(budget, "/status/currentHealthy"), int(budget, "/status/desiredHealthy"));
    text(budget, "/spec/unhealthyPodEvictionPolicy") == "AlwaysAllow" || healthy >= needed && needed > 0
}

fn charge(pod: &Value, budget: &Value, now: DateTime<Utc>) -> Verdict {
    let name = || text(budget, "/metadata/name").to_owned();
    let allowed = int(budget, "/status/disruptionsAllowed");
    if int(budget, "/status/observedGeneration") < int(budget, "/metadata/generation") {
        return Verdict::Refused(Objection::Unobserved { budget: name() });
    }
    if allowed < 0 {
        return Verdict::Refused(Objection::Broken { budget: name(), why: "pdb disruptions allowed is negative" });
    }
    if count(budget, "/status/disruptedPods") > UNCONFIRMED_MAX {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Verdict::Refused(Objection::Broken { budget: name(), why });
    }
    if allowed == 0 {
        let (needed, healthy) = (int(budget, "/status/desiredHealthy"), int(budget, "/status/currentHealthy"));
        return Verdict::Refused(Objection::Exhausted { budget: name(), needed, healthy });
    }
    let mut charged = budget.clone();
    let now = now.to_rfc3339_opts(SecondsFormat::Secs, true);
    let status = object(&mut charged, "status");
    status["disruptionsAllowed"] = (allowed - 1).into();
    object(status, "disruptedPods")[text(pod, "/metadata/name")] = now.as_str().into();
    if allowed == 1 {
        not_allowed(&mut charged, &now);
    }
    Verdict::Charged(charged)
}

/// The condition that says so.
fn not_allowed(budget: &mut Value, now: &str) {
    const TYPE: &str = "DisruptionAllowed";
    let mut conditions = list(budget, "/status/conditions").to_vec();
    let mut condition = json!({
        "type": TYPE, "status": "False", "observedGeneration": int(budget, "/status/observedGeneration"),
        "lastTransitionTime": now, "reason": "InsufficientPods", "message": "",
    });
    match conditions.iter_mut().find(|one| text(one, "/type") == TYPE) {
        Some(known) => {
            if text(known, "/status") == "False" {
                condition["lastTransitionTime"] = at(known, "/lastTransitionTime").clone();
            }
            *known = condition;
        }
        None => conditions.push(condition),
    }
    object(budget, "status")["conditions"] = conditions.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(phase: &str, ready: &str) -> Value {
        json!({
            "metadata": {"name": "p", "labels": {"app": "a"}},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
        })
    }

    fn budget(status: Value, policy: &str) -> Value {
        json!({
            "metadata": {"name": "b", "generation": 1}, "status": status,
            "spec": {"selector": {"matchLabels": {"app": "a"}}, "unhealthyPodEvictionPolicy": policy},
        })
    }

    fn verdict(pod: &Value, budgets: &[Value]) -> Verdict {
        judge(pod, budgets, DateTime::UNIX_EPOCH)
    }

    #[test]
    fn budgets_object_to_evictions() {
        let status = |allowed: i64| json!({"observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 2});
        let (running, name) = (pod("Running", "True"), || "b".to_owned());
        let exhausted = Verdict::Refused(Objection::Exhausted { budget: name(), needed: 2, healthy: 1 });
        let spent = budget(status(0), "");
        let cases = [
            (running.clone(), vec![], Verdict::Free),
            (running.clone(), vec![spent.clone()], exhausted.clone()),
            (running.clone(), vec![spent.clone(), spent.clone()], Verdict::Refused(Objection::Several)),
            (
                running.clone(),
                vec![budget(json!({"disruptionsAllowed": 1}), "")],
                Verdict::Refused(Objection::Unobserved { budget: name() }),
            ),
            (pod("Pending", "False"), vec![spent.clone()], Verdict::Free),
            (pod("Running", "False"), vec![spent.clone()], exhausted),
            (pod("Running", "False"), vec![budget(status(0), "AlwaysAllow")], Verdict::Free),
        ];
        for (pod, budgets, expected) in cases {
            assert_eq!(verdict(&pod, &budgets), expected, "{pod} {budgets:?}");
        }
    }

    #[test]
    fn an_eviction_is_charged_to_its_budget() {
        let status =
            json!({"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 3, "desiredHealthy": 2});
        let Verdict::Charged(charged) = verdict(&pod("Running", "True"), &[budget(status, "")]) else {
            panic!("not charged")
        };
        assert_eq!(charged["status"]["disruptionsAllowed"], 0);
        assert_eq!(charged["status"]["disruptedPods"], json!({"p": "1970-01-01T00:00:00Z"}));
        assert_eq!(charged["status"]["conditions"][0]["reason"], "InsufficientPods");
    }
}
