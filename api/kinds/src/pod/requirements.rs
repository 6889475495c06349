//! Which requests and limits are valid (`validateResourceRequirements`): of a container, of a whole pod, of a sandbox.

use std::collections::BTreeSet;

use kontiki_model::{Faults, Quantity};
use serde_json::{Value, json};

use super::claims;
use super::resources::{overcommits, quantity, validate_container_resource, validate_quantity, validate_resource};
use super::usage::{self, Side, is_of_whole_pods};
use crate::tree::{at, list, members, missing};

/// What the name of a resource must be where it stands.
type NameRule = fn(&str, &str, &mut Faults);

/// `resources` of a container; `claims` are the names of the pod's resource claims.
pub fn container(resources: &Value, claims: &BTreeSet<&str>, path: &str, faults: &mut Faults) {
    amounts(resources, validate_container_resource, path, faults);
    claims::validate_references(list(resources, "/claims"), claims, &format!("{path}.claims"), faults);
}

/// What a sandbox takes beside its containers.
pub fn overhead(overhead: &Value, path: &str, faults: &mut Faults) {
    amounts(&json!({"limits": overhead}), validate_container_resource, path, faults);
}

/// `resources` of a pod, whose spec is at `spec`: for all its containers, which stay within.
pub fn whole_pod(pod: &Value, spec: &str, faults: &mut Faults) {
    let path = format!("{spec}.resources");
    let resources = at(pod, "/spec/resources");
    if resources.is_null() {
        return;
    }
    if !missing(resources, "/claims") {
        faults.forbidden(format!("{path}.claims"), "claims cannot be set for Resources at pod-level");
    }
    amounts(resources, pod_resource, &path, faults);
    let asked = usage::of_containers(pod, Side::Requests);
    for (name, asked) in asked.iter() {
        let Some(given) = at(resources, "/requests").get(name).and_then(quantity) else { continue };
        if *asked > given {
            let detail = format!("must be greater than or equal to aggregate container requests of {asked}");
            faults.invalid(format!("{path}.requests[{name}]"), given.to_string(), detail);
        }
    }
    for (index, container) in list(pod, "/spec/containers").iter().enumerate() {
        for (name, limit) in members(container, "/resources/limits") {
            let (limit, most) = (quantity(limit), at(resources, "/limits").get(name).and_then(quantity));
            if let (Some(limit), Some(most)) = (limit, most)
                && limit > most
            {
                let path = format!("{spec}.containers[{index}].resources.limits[{name}]");
                faults.invalid(path, limit.to_string(), format!("must be less than or equal to pod limits of {most}"));
            }
        }
    }
}

fn pod_resource(name: &str, path: &str, faults: &mut Faults) {
    let mut wrong = Faults::default();
    validate_resource(name, path, &mut wrong);
    if wrong.is_empty() && !is_of_whole_pods(name) {
        faults.not_supported(path, name, &["cpu", "hugepages-", "memory"]);
    }
    faults.extend(wrong);
}

fn amounts(resources: &Value, name_rule: NameRule, path: &str, faults: &mut Faults) {
    for (name, limit) in members(resources, "/limits") {
        amount(name, limit, name_rule, &format!("{path}.limits[{name}]"), faults);
    }
    for (name, request) in members(resources, "/requests") {
        amount(name, request, name_rule, &format!("{path}.requests[{name}]"), faults);
        within_limit(name, request, at(resources, "/limits").get(name), path, faults);
    }
    let names = || members(resources, "/limits").chain(members(resources, "/requests")).map(|(name, _)| name.as_str());
    if names().any(|name| page_size(name).is_some()) && !names().any(|name| matches!(name, "cpu" | "memory")) {
        faults.forbidden(path, "HugePages require cpu or memory");
    }
}

fn amount(name: &str, amount: &Value, name_rule: NameRule, path: &str, faults: &mut Faults) {
    name_rule(name, path, faults);
    validate_quantity(name, amount, path, faults);
    if let (Some(size), Some(amount)) = (page_size(name), quantity(amount))
        && !is_whole_pages(&amount, size)
    {
        faults.invalid(path, amount.to_string(), format!("{amount} is not positive integer multiple of {name}"));
    }
}

fn within_limit(name: &str, request: &Value, limit: Option<&Value>, path: &str, faults: &mut Faults) {
    let Some(request) = quantity(request) else { return };
    match limit.and_then(quantity) {
        Some(limit) if !overcommits(name) && request != limit => {
            let detail = format!("must be equal to {name} limit of {limit}");
            faults.invalid(format!("{path}.requests"), request.to_string(), detail);
        }
        Some(limit) if request > limit => {
            let detail = format!("must be less than or equal to {name} limit of {limit}");
            faults.invalid(format!("{path}.requests"), request.to_string(), detail);
        }
        Some(_) => {}
        None if !overcommits(name) => {
            faults.required(format!("{path}.limits"), "Limit must be set for non overcommitable resources");
        }
        None => {}
    }
}

/// `2Mi` of `hugepages-2Mi`.
fn page_size(name: &str) -> Option<&str> {
    name.strip_prefix("hugepages-")
}

fn is_whole_pages(amount: &Quantity, size: &str) -> bool {
    let size = Quantity::from_json(&size.into()).filter(|size| !size.is_negative() && size.milli_value() % 1000 == 0);
    size.map(|size| size.value()).filter(|size| *size > 0).is_some_and(|size| amount.value() % size == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(resources: Value) -> Vec<String> {
        let mut faults = Faults::default();
        container(&resources, &BTreeSet::from(["gpu"]), "r", &mut faults);
        faults.iter().map(|one| format!("{}: {}", one.field, one.message())).collect()
    }

    #[test]
    fn requests_stay_within_limits() {
        let cases: &[(Value, &[&str])] = &[
            (json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}), &[]),
            (
                json!({"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}),
                &["r.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"],
            ),
            (
                json!({"limits": {"cpu": "-1"}}),
                &["r.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"],
            ),
            (json!({"requests": {"kubernetes.io/batteries": "1"}}), &[]),
            (
                json!({"requests": {"example.com/x": "1"}}),
                &["r.limits: Required value: Limit must be set for non overcommitable resources"],
            ),
            (
                json!({"requests": {"gpus": "1"}}),
                &[
                    "r.requests[gpus]: Invalid value: \"gpus\": must be a standard resource type or fully qualified",
                    "r.requests[gpus]: Invalid value: \"gpus\": must be a standard resource for containers",
                ],
            ),
        ];
        for (resources, expected) in cases {
            assert_eq!(check(resources.clone()), *expected, "{resources}");
        }
    }

    #[test]
    fn huge_pages_are_whole_and_come_with_others() {
        let pages = |amount: &str, others: Value| {
            let mut limits = json!({"hugepages-2Mi": amount});
            limits.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
            json!({"limits": limits.clone(), "requests": limits})
        };
        let cases: &[(Value, &[&str])] = &[
            (pages("4Mi", json!({"memory": "1Gi"})), &[]),
            (pages("4Mi", json!({})), &["r: Forbidden: HugePages require cpu or memory"]),
            (
                json!({"limits": {"hugepages-2Mi": "3Mi", "cpu": "1"}}),
                &[
                    "r.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                ],
            ),
            (
                json!({"limits": {"hugepages-x": "2Mi", "cpu": "1"}}),
                &["r.limits[hugepages-x]: Invalid value: \"2Mi\": 2Mi is not positive integer multiple of hugepages-x"],
            ),
        ];
        for (resources, expected) in cases {
            assert_eq!(check(resources.clone()), *expected, "{resources}");
        }
    }

    #[test]
    fn claims_are_the_pods_and_asked_for_once() {
        let named = |name: &str, request: &str| json!({"name": name, "request": request});
        let cases: &[(Value, &[&str])] = &[
            (json!([named("gpu", "a"), named("gpu", "b")]), &[]),
            (json!([named("", "")]), &["r.claims[0]: Required value"]),
            (json!([named("gpu", ""), named("gpu", "a")]), &["r.claims[1]: Duplicate value: \"gpu\""]),
            (json!([named("gpu", "a"), named("gpu", "a")]), &["r.claims[1]: Duplicate value: \"gpu/a\""]),
            (json!([named("gpu", "a"), named("gpu", "")]), &["r.claims[1]: Duplicate value: \"gpu\""]),
            (
                json!([named("tpu", "")]),
                &["r.claims[0]: Not found: \"tpu\": must be one of the names in pod.spec.resourceClaims: gpu"],
            ),
        ];
        for (claims, expected) in cases {
            assert_eq!(check(json!({"claims": claims})), *expected, "{claims}");
        }
    }
}
