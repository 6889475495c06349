use serde_json::{Value, json};

use super::*;

fn now() -> Timestamp {
    "2026-01-01T00:10:00Z".parse().unwrap()
}

fn budget(spec: Value, status: Value) -> PodDisruptionBudget {
    let budget = json!({"metadata": {"name": "b", "namespace": "a", "generation": 2}, "spec": spec, "status": status});
    serde_json::from_value(budget).unwrap()
}

fn pod(name: &str, ready: bool, deleting: bool) -> Arc<Pod> {
    let deleted = deleting.then_some("2026-01-01T00:09:59Z");
    let pod = json!({
        "metadata": {"name": name, "namespace": "a", "deletionTimestamp": deleted},
        "status": {"conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]},
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn told(status: &PodDisruptionBudgetStatus) -> Value {
    serde_json::to_value(status).unwrap()
}

#[test]
fn numbers_and_shares_of_what_is_wanted() {
    let table = [
        (json!({}), false, 3, (0, 0)),
        (json!({"minAvailable": 2}), false, 3, (3, 2)),
        (json!({"minAvailable": 5}), false, 3, (3, 5)),
        (json!({"minAvailable": "50%"}), true, 3, (3, 2)),
        (json!({"minAvailable": "100%"}), true, 3, (3, 3)),
        (json!({"minAvailable": "0%"}), true, 3, (3, 0)),
        (json!({"maxUnavailable": 1}), true, 3, (3, 2)),
        (json!({"maxUnavailable": 5}), true, 3, (3, 0)),
        (json!({"maxUnavailable": "30%"}), true, 10, (10, 7)),
        (json!({"maxUnavailable": "30%"}), true, 3, (3, 2)),
        (json!({"maxUnavailable": 1}), true, 0, (0, 0)),
    ];
    for (spec, scaled, count, (expected, healthy)) in table {
        let parsed = serde_json::from_value(spec.clone()).unwrap();
        assert_eq!((counts_scale(&parsed), wanted(&parsed, count)), (scaled, Wanted { expected, healthy }), "{spec}");
    }
}

#[test]
fn what_is_healthy_beyond_need_may_go() {
    let (ready, unready, going) =
        (|name| pod(name, true, false), |name| pod(name, false, false), |name| pod(name, true, true));
    let table = [
        (vec![ready("a"), ready("b"), ready("c")], 3, 3, 1),
        (vec![ready("a"), ready("b"), unready("c")], 3, 2, 0),
        (vec![ready("a"), ready("b"), going("c")], 3, 2, 0),
        (vec![ready("a")], 3, 1, 0),
        // A controller that is scaled to nothing: what is there is not counted on.
        (vec![ready("a"), ready("b"), ready("c")], 0, 3, 0),
        (vec![], 0, 0, 0),
    ];
    for (pods, expected, healthy, allowed) in table {
        let status = decide(&budget(json!({}), json!(null)), &pods, Wanted { expected, healthy: 2 }, now()).status;
        let (now_allowed, reason) =
            if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
        let all = json!({
            "currentHealthy": healthy, "desiredHealthy": 2, "expectedPods": expected, "disruptionsAllowed": allowed,
            "observedGeneration": 2,
            "conditions": [{"type": "DisruptionAllowed", "status": now_allowed, "reason": reason, "message": "",
                            "observedGeneration": 2, "lastTransitionTime": "2026-01-01T00:10:00Z"}],
        });
        assert_eq!(told(&status), all);
    }
}

#[test]
fn an_evicted_pod_counts_as_gone_for_two_minutes() {
    let disrupted = json!({"disruptedPods": {
        "long": "2026-01-01T00:08:00Z", "just": "2026-01-01T00:09:30Z", "before": "2026-01-01T00:08:01Z",
        "going": "2026-01-01T00:09:59Z", "gone": "2026-01-01T00:09:59Z",
    }});
    let pods = [
        pod("long", true, false),
        pod("just", true, false),
        pod("before", true, false),
        pod("going", true, true),
        pod("other", true, false),
    ];
    let decision = decide(&budget(json!({}), disrupted), &pods, Wanted { expected: 4, healthy: 1 }, now());
    let status = told(&decision.status);
    let left = json!({"before": "2026-01-01T00:08:01Z", "just": "2026-01-01T00:09:30Z"});
    assert_eq!((&status["disruptedPods"], &status["currentHealthy"]), (&left, &json!(2)));
    assert_eq!((decision.stayed, decision.again_in_s), (vec![pods[0].clone()], Some(1)));
}

#[test]
fn a_status_that_is_right_stays_as_it_is() {
    let pods = [pod("a", true, false), pod("b", true, false)];
    let wanted = Wanted { expected: 2, healthy: 1 };
    let first = decide(&budget(json!({}), json!(null)), &pods, wanted, now()).status;
    let known = budget(json!({}), told(&first));
    let later = now() + std::time::Duration::from_secs(60);
    assert_eq!(decide(&known, &pods, wanted, later).status, first);
    let fewer = decide(&known, &pods[..1], wanted, later).status;
    assert_eq!(told(&fewer)["conditions"][0]["lastTransitionTime"], "2026-01-01T00:11:00Z");
}

#[test]
fn what_cannot_be_counted_lets_nothing_go() {
    let pods = [pod("a", true, false), pod("b", true, false)];
    let wanted = Wanted { expected: 2, healthy: 1 };
    let mut known = budget(json!({}), told(&decide(&budget(json!({}), json!(null)), &pods, wanted, now()).status));
    known.metadata.generation = Some(3);
    let status = failed(&known, "found no controllers for pod \"a\"", now());
    let condition = json!([{"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "observedGeneration": 2,
                            "message": "found no controllers for pod \"a\"", "lastTransitionTime": "2026-01-01T00:10:00Z"}]);
    let told_all = json!({"currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2, "disruptionsAllowed": 0,
                          "observedGeneration": 2, "conditions": condition});
    assert_eq!(told(&status), told_all);
    known.status = Some(status);
    let again = told(&decide(&known, &pods, wanted, now()).status);
    let counted = (&again["conditions"][0]["reason"], &again["conditions"][0]["message"], &again["observedGeneration"]);
    assert_eq!(counted, (&json!("SufficientPods"), &json!(""), &json!(3)));
}
