//! What a LimitRange does to objects of its namespace: fills in what containers do not say, and finds what is out of bounds.
//! The words are Kubernetes' own.

use kontiki_model::{Quantity, Resources};
use serde_json::{Value, json};

use crate::Limited;
use crate::pod::{Side, container_resources};
use crate::tree::{at, list, list_mut, object, text};

/// How ranges bound pods.
pub static PODS: Limited =
    Limited { fill: fill_pod, check: check_pod, on_update: |subresource| subresource == "resize" };
/// How ranges bound claims.
pub static CLAIMS: Limited = Limited { fill: |_, _| (), check: check_claim, on_update: str::is_empty };

const CONTAINER: &str = "Container";
const POD: &str = "Pod";
const CLAIM: &str = "PersistentVolumeClaim";
/// Tells what was filled in.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// The limits of a range for one type.
fn limits<'a>(range: &'a Value, of: &'static str) -> impl Iterator<Item = &'a Value> {
    list(range, "/spec/limits").iter().filter(move |limit| text(limit, "/type") == of)
}

fn amounts(limit: &Value, list: &str) -> Resources {
    Resources::from_json(at(limit, &format!("/{list}")))
}

fn fill_pod(pod: &mut Value, range: &Value) {
    let mut filled = Vec::new();
    for (member, words) in [("containers", "container"), ("initContainers", "init container")] {
        for container in list_mut(object(pod, "spec"), &format!("/{member}")) {
            for (list, from) in [("requests", "defaultRequest"), ("limits", "default")] {
                let names = fill_container(container, range, list, from);
                if !names.is_empty() {
                    let what = list.trim_end_matches('s');
                    filled.push(format!("{} {what} for {words} {}", names.join(", "), text(container, "/name")));
                }
            }
        }
    }
    if !filled.is_empty() {
        let told = format!("LimitRanger plugin set: {}", filled.join("; "));
        object(object(pod, "metadata"), "annotations")[ANNOTATION] = told.into();
    }
}

/// The names of what was filled in, in order.
fn fill_container(container: &mut Value, range: &Value, list: &str, from: &str) -> Vec<String> {
    let mut defaults = Resources::default();
    for limit in limits(range, CONTAINER) {
        amounts(limit, from).iter().for_each(|(name, amount)| defaults.set(name, amount.clone()));
    }
    let said = at(container, &format!("/resources/{list}"));
    let missing = defaults.only(|name| said.get(name).is_none());
    for (name, amount) in missing.iter() {
        object(object(container, "resources"), list)[name] = json!(amount.to_string());
    }
    missing.names().map(str::to_owned).collect()
}

fn check_pod(pod: &Value, range: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    for limit in list(range, "/spec/limits") {
        match text(limit, "/type") {
            CONTAINER => {
                let containers = list(pod, "/spec/containers").iter().chain(list(pod, "/spec/initContainers"));
                for container in containers {
                    let side = |list: &str| Resources::from_json(at(container, &format!("/resources/{list}")));
                    check(limit, CONTAINER, &side("requests"), &side("limits"), &mut faults);
                }
            }
            POD => {
                let (requests, limits) =
                    (container_resources(pod, Side::Requests), container_resources(pod, Side::Limits));
                check(limit, POD, &requests, &limits, &mut faults);
            }
            _ => {}
        }
    }
    faults
}

fn check_claim(claim: &Value, range: &Value) -> Vec<String> {
    let requests = Resources::from_json(at(claim, "/spec/resources/requests"));
    let mut faults = Vec::new();
    for limit in limits(range, CLAIM) {
        for (name, bound) in amounts(limit, "min").iter() {
            faults.extend(below(CLAIM, name, bound, requests.get(name), None));
        }
        for (name, bound) in amounts(limit, "max").iter() {
            let words = format!("maximum {name} usage per {CLAIM} is {bound}");
            match requests.get(name) {
                None => faults.push(format!("{words}.  No request is specified")),
                Some(request) if request > bound => faults.push(format!("{words}, but request is {request}")),
                Some(_) => {}
            }
        }
    }
    faults
}

fn check(limit: &Value, of: &str, requests: &Resources, limits: &Resources, faults: &mut Vec<String>) {
    for (name, bound) in amounts(limit, "min").iter() {
        faults.extend(below(of, name, bound, requests.get(name), limits.get(name)));
    }
    for (name, bound) in amounts(limit, "max").iter() {
        faults.extend(above(of, name, bound, requests.get(name), limits.get(name)));
    }
    for (name, bound) in amounts(limit, "maxLimitRequestRatio").iter() {
        faults.extend(stretched(of, name, bound, requests.get(name), limits.get(name)));
    }
}

type Amount<'a> = Option<&'a Quantity>;

fn below(of: &str, name: &str, bound: &Quantity, request: Amount<'_>, limit: Amount<'_>) -> Option<String> {
    let words = format!("minimum {name} usage per {of} is {bound}");
    match (request, limit) {
        (None, _) => Some(format!("{words}.  No request is specified")),
        (Some(request), _) if request < bound => Some(format!("{words}, but request is {request}")),
        (_, Some(limit)) if limit < bound => Some(format!("{words}, but limit is {limit}")),
        (Some(_), _) => None,
    }
}

fn above(of: &str, name: &str, bound: &Quantity, request: Amount<'_>, limit: Amount<'_>) -> Option<String> {
    let words = format!("maximum {name} usage per {of} is {bound}");
    match (request, limit) {
        (_, None) => Some(format!("{words}.  No limit is specified")),
        (_, Some(limit)) if limit > bound => Some(format!("{words}, but limit is {limit}")),
        (Some(request), _) if request > bound => Some(format!("{words}, but request is {request}")),
        (_, Some(_)) => None,
    }
}

fn stretched(of: &str, name: &str, bound: &Quantity, request: Amount<'_>, limit: Amount<'_>) -> Option<String> {
    let words = format!("{name} max limit to request ratio per {of} is {bound}, but");
    let Some(request) = request.filter(|request| !request.is_zero()) else {
        return Some(format!("{words} no request is specified or request is 0"));
    };
    let Some(limit) = limit.filter(|limit| !limit.is_zero()) else {
        return Some(format!("{words} no limit is specified or limit is 0"));
    };
    let ratio = limit.as_f64() / request.as_f64();
    (ratio > bound.as_f64()).then(|| format!("{words} provided ratio is {ratio:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(limits: Value) -> Value {
        json!({"spec": {"limits": limits}})
    }

    fn pod(containers: Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"containers": containers}})
    }

    #[test]
    fn containers_get_what_they_do_not_say() {
        let range = range(json!([
            {"type": "Container", "default": {"cpu": "200m", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}},
            {"type": "Pod", "max": {"cpu": "1"}},
        ]));
        let mut pod = json!({"spec": {
            "containers": [{"name": "a", "resources": {}}, {"name": "b", "resources": {"requests": {"cpu": "1"}}}],
            "initContainers": [{"name": "i", "resources": {"limits": {"cpu": "1", "memory": "1"}}}],
        }});
        fill_pod(&mut pod, &range);
        let resources = |pointer: &str| at(&pod, &format!("{pointer}/resources")).clone();
        let limits = json!({"cpu": "200m", "memory": "1Gi"});
        assert_eq!(resources("/spec/containers/0"), json!({"requests": {"cpu": "100m"}, "limits": limits}));
        assert_eq!(resources("/spec/containers/1"), json!({"requests": {"cpu": "1"}, "limits": limits}));
        assert_eq!(resources("/spec/initContainers/0")["requests"], json!({"cpu": "100m"}));
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container a; cpu, memory limit for container a; cpu, memory limit \
             for container b; cpu request for init container i"
        );
    }

    #[test]
    fn what_is_filled_already_is_left_alone() {
        let mut pod = pod(json!([{"name": "a", "resources": {}}]));
        let before = pod.clone();
        fill_pod(&mut pod, &range(json!([{"type": "Container", "max": {"cpu": "1"}}])));
        assert_eq!(pod, before);
    }

    #[test]
    fn faults_are_told_in_kubernetes_words() {
        let resources = |requests: Value, limits: Value| {
            pod(json!([{"name": "c", "resources": {"requests": requests, "limits": limits}}]))
        };
        let container = |limit: Value| {
            let mut limit = limit;
            limit["type"] = CONTAINER.into();
            range(json!([limit]))
        };
        let min = container(json!({"min": {"cpu": "50m"}}));
        let max = container(json!({"max": {"cpu": "1"}}));
        let ratio = container(json!({"maxLimitRequestRatio": {"cpu": "4"}}));
        let cases = [
            (&min, json!({}), json!({}), "minimum cpu usage per Container is 50m.  No request is specified"),
            (&min, json!({"cpu": "10m"}), json!({}), "minimum cpu usage per Container is 50m, but request is 10m"),
            (
                &min,
                json!({"cpu": "1"}),
                json!({"cpu": "1m"}),
                "minimum cpu usage per Container is 50m, but limit is 1m",
            ),
            (&max, json!({}), json!({}), "maximum cpu usage per Container is 1.  No limit is specified"),
            (&max, json!({}), json!({"cpu": "2"}), "maximum cpu usage per Container is 1, but limit is 2"),
            (&max, json!({"cpu": "2"}), json!({"cpu": "1"}), "maximum cpu usage per Container is 1, but request is 2"),
            (
                &ratio,
                json!({"cpu": "10m"}),
                json!({"cpu": "500m"}),
                "cpu max limit to request ratio per Container is 4, but provided ratio is 50.000000",
            ),
            (
                &ratio,
                json!({}),
                json!({"cpu": "1"}),
                "cpu max limit to request ratio per Container is 4, but no request is specified or request is 0",
            ),
            (
                &ratio,
                json!({"cpu": "1"}),
                json!({"cpu": "0"}),
                "cpu max limit to request ratio per Container is 4, but no limit is specified or limit is 0",
            ),
        ];
        for (range, requests, limits, expected) in cases {
            assert_eq!(check_pod(&resources(requests, limits), range), [expected]);
        }
        assert!(check_pod(&resources(json!({"cpu": "250m"}), json!({"cpu": "1"})), &ratio).is_empty());
    }

    #[test]
    fn pods_are_bounded_by_what_their_containers_come_to() {
        let range = range(json!([{"type": "Pod", "max": {"cpu": "1500m"}}]));
        let one = json!({"resources": {"limits": {"cpu": "1"}}});
        assert_eq!(check_pod(&pod(json!([one, one])), &range), ["maximum cpu usage per Pod is 1500m, but limit is 2"]);
        assert!(check_pod(&pod(json!([one])), &range).is_empty());
    }

    #[test]
    fn claims_are_bounded_by_what_they_ask_for() {
        let range = range(json!([{"type": CLAIM, "min": {"storage": "1Gi"}, "max": {"storage": "5Gi"}}]));
        let check =
            |storage: &str| check_claim(&json!({"spec": {"resources": {"requests": {"storage": storage}}}}), &range);
        assert_eq!(check("6Gi"), ["maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 6Gi"]);
        assert_eq!(check("1"), ["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1"]);
        assert!(check("5Gi").is_empty());
    }
}
