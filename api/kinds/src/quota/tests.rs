use serde_json::json;

use super::*;
use crate::{by_gvk, by_resource};

fn kind(resource: &str) -> &'static Kind {
    by_resource("", "v1", resource).or(by_resource("apps", "v1", resource)).unwrap()
}

fn quota(hard: Value, used: Value) -> Value {
    json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}})
}

fn pod(cpu: &str) -> Value {
    json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
}

/// What each quota's usage becomes.
fn charged(quotas: &[Value], resource: &str, new: &Value, old: Option<&Value>) -> Result<Vec<Option<Value>>, String> {
    let now = DateTime::UNIX_EPOCH;
    let statuses = charge(quotas, &Charge { kind: kind(resource), new, old, is_fact: false, now })?;
    Ok(statuses.into_iter().map(|status| Some(status?["used"].clone())).collect())
}

#[test]
fn a_write_is_charged_to_every_quota_that_bounds_it() {
    let quotas = [
        quota(json!({"pods": "2", "requests.cpu": "1"}), json!({"pods": "1", "requests.cpu": "200m"})),
        quota(json!({"count/pods": "5"}), json!({"count/pods": "1"})),
        quota(json!({"configmaps": "0"}), json!({"configmaps": "0"})),
    ];
    let charged = charged(&quotas, "pods", &pod("800m"), None);
    let expected = vec![Some(json!({"pods": "2", "requests.cpu": "1"})), Some(json!({"count/pods": "2"})), None];
    assert_eq!(charged, Ok(expected));
}

#[test]
fn refusals_name_the_quota_and_the_amounts() {
    let quotas = [quota(json!({"requests.cpu": "1", "pods": "2"}), json!({"requests.cpu": "200m", "pods": "2"}))];
    let refused = |pod: &Value| charged(&quotas, "pods", pod, None).unwrap_err();
    assert_eq!(refused(&pod("800m")), "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2");
    assert_eq!(
        refused(&pod("900m")),
        "exceeded quota: q, requested: pods=1,requests.cpu=900m, used: pods=2,requests.cpu=200m, limited: \
         pods=2,requests.cpu=1"
    );
    assert_eq!(
        refused(&json!({"spec": {"containers": [{"name": "c"}]}})),
        "failed quota: q: must specify requests.cpu for: c"
    );
}

#[test]
fn a_quota_whose_usage_is_not_known_lets_pass_until_it_bounds() {
    let new = json!({"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "0"}}, "status": {}});
    let object = json!({});
    assert_eq!(charged(std::slice::from_ref(&new), "configmaps", &object, None), Ok(vec![None]));
    assert!(concerns(&new, kind("configmaps")) && !concerns(&new, kind("pods")));
    let half = quota(json!({"configmaps": "2", "count/configmaps": "2"}), json!({"configmaps": "0"}));
    assert_eq!(
        charged(&[half], "configmaps", &object, None).unwrap_err(),
        "status unknown for quota: q, resources: configmaps,count/configmaps"
    );
}

#[test]
fn a_change_is_charged_what_it_uses_more() {
    let quotas = [quota(
        json!({"services": "1", "services.nodeports": "2", "services.loadbalancers": "0"}),
        json!({"services": "1", "services.nodeports": "1", "services.loadbalancers": "0"}),
    )];
    let service = |of: &str, ports: usize| json!({"spec": {"type": of, "ports": vec![json!({"port": 1}); ports]}});
    let (one, two) = (service("NodePort", 1), service("NodePort", 2));
    let more = json!({"services": "1", "services.nodeports": "2", "services.loadbalancers": "0"});
    assert_eq!(charged(&quotas, "services", &two, Some(&one)), Ok(vec![Some(more)]));
    assert_eq!(charged(&quotas, "services", &one, Some(&two)), Ok(vec![None]));
    assert_eq!(
        charged(&quotas, "services", &service("LoadBalancer", 1), Some(&one)).unwrap_err(),
        "exceeded quota: q, requested: services.loadbalancers=1, used: services.loadbalancers=0, limited: \
         services.loadbalancers=0"
    );
}

#[test]
fn what_comes_into_a_scope_is_new_there() {
    let mut quota = quota(json!({"persistentvolumeclaims": "1"}), json!({"persistentvolumeclaims": "0"}));
    quota["spec"]["scopeSelector"] = json!({"matchExpressions": [
        {"scopeName": "VolumeAttributesClass", "operator": "In", "values": ["fast"]},
    ]});
    let claim = |class: &str| json!({"spec": {"volumeAttributesClassName": class}});
    let charged = |new: &str, old: &str| {
        charged(std::slice::from_ref(&quota), "persistentvolumeclaims", &claim(new), Some(&claim(old)))
    };
    assert_eq!(charged("fast", "slow"), Ok(vec![Some(json!({"persistentvolumeclaims": "1"}))]));
    assert_eq!(charged("fast", "fast"), Ok(vec![None]));
    assert_eq!(charged("slow", "fast"), Ok(vec![None]));
}

#[test]
fn facts_are_noted_beyond_the_bounds() {
    let quotas = [quota(json!({"requests.storage": "1Gi"}), json!({"requests.storage": "1Gi"}))];
    let claim = |allocated: Value| json!({"spec": {"resources": {"requests": {"storage": "1Gi"}}}, "status": {"allocatedResources": allocated}});
    let (new, old) = (claim(json!({"storage": "2Gi"})), claim(json!({})));
    let write = Charge {
        kind: kind("persistentvolumeclaims"),
        new: &new,
        old: Some(&old),
        is_fact: true,
        now: DateTime::UNIX_EPOCH,
    };
    let status = charge(&quotas, &write).unwrap().remove(0).unwrap();
    assert_eq!(status["used"], json!({"requests.storage": "2Gi"}));
    assert!(charge(&quotas, &Charge { is_fact: false, ..write }).is_err());
}

#[test]
fn every_kind_is_counted_by_its_group() {
    let names = |resource: &str, name: &str| kind(resource).is_bounded_by(name);
    assert!(names("configmaps", "configmaps") && names("configmaps", "count/configmaps"));
    assert!(names("deployments", "count/deployments.apps"));
    assert!(!names("deployments", "deployments.apps") && !names("deployments", "count/deployments"));
    let events = by_gvk("", "v1", "Event").unwrap();
    assert!(!events.is_bounded_by("count/events"));
}

#[test]
fn usage_is_the_sum_of_what_lies_in_the_scopes() {
    let mut quota = quota(json!({"pods": "9", "requests.cpu": "9", "configmaps": "1"}), json!({}));
    let pods = [pod("1"), pod("500m"), json!({"spec": {"containers": [{}]}})];
    let used = |quota: &Value| {
        let mut tally = Tally::new(quota, DateTime::UNIX_EPOCH);
        tally.measure(kind("pods"), &pods);
        tally.finish().unwrap()["used"].clone()
    };
    assert_eq!(used(&quota), json!({"pods": "3", "requests.cpu": "1500m"}));
    quota["spec"]["scopes"] = json!(["BestEffort"]);
    assert_eq!(used(&quota), json!({"pods": "1", "requests.cpu": "0"}));
}

#[test]
fn a_tally_keeps_what_nobody_counts_and_drops_what_nobody_bounds() {
    let mut quota = quota(json!({"configmaps": "5", "count/widgets.example.com": "3"}), json!({}));
    quota["status"] = json!({
        "hard": {"configmaps": "4", "secrets": "1"}, "used": {"count/widgets.example.com": "2", "secrets": "1"},
    });
    let mut tally = Tally::new(&quota, DateTime::UNIX_EPOCH);
    tally.count(kind("configmaps"), 2);
    let status = tally.finish().unwrap();
    let expected = json!({
        "hard": {"configmaps": "5", "count/widgets.example.com": "3"},
        "used": {"configmaps": "2", "count/widgets.example.com": "2"},
    });
    assert_eq!(status, expected);
    quota["status"] = status;
    let mut again = Tally::new(&quota, DateTime::UNIX_EPOCH);
    again.count(kind("configmaps"), 2);
    again.count_named("count/widgets.example.com", 2);
    assert_eq!(again.finish(), None);
}

#[test]
fn objects_are_looked_at_only_where_their_number_does_not_tell() {
    let quota = |hard: Value| quota(hard, json!({}));
    let cases = [
        ("configmaps", quota(json!({"configmaps": "1", "count/configmaps": "1"})), Some(Look::Number)),
        ("pods", quota(json!({"count/pods": "1"})), Some(Look::Number)),
        ("pods", quota(json!({"pods": "1"})), Some(Look::Objects)),
        ("services", quota(json!({"services": "1"})), Some(Look::Number)),
        ("services", quota(json!({"services": "1", "services.nodeports": "1"})), Some(Look::Objects)),
        ("secrets", quota(json!({"configmaps": "1"})), None),
    ];
    for (resource, quota, expected) in cases {
        assert_eq!(look(kind(resource), &quota), expected, "{resource} {quota}");
    }
}
