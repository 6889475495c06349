//! What a claim uses of a quota, and which scopes it lies in.

use kontiki_model::{Quantity, Resources};
use serde_json::Value;

use crate::pod::quantity;
use crate::quota::{Measure, Scope};
use crate::tree::{at, text};
use crate::volumes;

pub static MEASURE: Measure = Measure {
    alias: Some(NUMBER),
    usage: |claim, _| usage(claim),
    is_bounded_by: |name| name == STORAGE || name.split_once(OF_CLASS).is_some_and(|(_, what)| is_measured(what)),
    is_in,
    grows_by: |subresource| matches!(subresource, "" | "status"),
    ..Measure::COUNT
};

const NUMBER: &str = "persistentvolumeclaims";
const STORAGE: &str = "requests.storage";
/// `gold.storageclass.storage.k8s.io/requests.storage`: of one class.
const OF_CLASS: &str = ".storageclass.storage.k8s.io/";

fn is_measured(what: &str) -> bool {
    matches!(what, NUMBER | STORAGE)
}

/// The number and the storage, in all and of the claim's class.
fn usage(claim: &Value) -> Resources {
    let mut usage = Resources::default();
    let class = volumes::class(claim);
    let mut count = |what: &str, amount: Quantity| {
        if !class.is_empty() {
            usage.set(format!("{class}{OF_CLASS}{what}"), amount.clone());
        }
        usage.set(what, amount);
    };
    count(NUMBER, Quantity::from_units(1));
    let amount = |pointer: &str| quantity(at(claim, pointer)).map(|amount| whole_bytes(&amount));
    if let Some(asked) = amount("/spec/resources/requests/storage") {
        // While a volume grows, or fails to, it may be larger than what is asked for by now.
        let allocated = amount("/status/allocatedResources/storage");
        count(STORAGE, allocated.filter(|allocated| *allocated > asked).unwrap_or(asked));
    }
    usage
}

fn whole_bytes(amount: &Quantity) -> Quantity {
    let whole = amount.rounded_to_units();
    if whole == *amount { amount.clone() } else { whole }
}

/// The attributes a claim has, is to have, or is about to get.
fn is_in(claim: &Value, scope: &Scope<'_>) -> bool {
    if scope.name != "VolumeAttributesClass" {
        return false;
    }
    let places = [
        "/spec/volumeAttributesClassName",
        "/status/currentVolumeAttributesClassName",
        "/status/modifyVolumeStatus/targetVolumeAttributesClassName",
    ];
    let mut classes =
        places.into_iter().map(|pointer| text(claim, pointer)).filter(|class| !class.is_empty()).peekable();
    match classes.peek() {
        None => scope.allows(None),
        Some(_) => classes.any(|class| scope.allows(Some(class))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn storage_counts_in_all_and_by_class() {
        let mut claim = json!({"spec": {"resources": {"requests": {"storage": "1.5"}}}});
        assert_eq!(usage(&claim).to_string(), "persistentvolumeclaims=1,requests.storage=2");
        claim["spec"]["storageClassName"] = "gold".into();
        claim["status"] = json!({"allocatedResources": {"storage": "3Gi"}});
        let expected = "gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
                        gold.storageclass.storage.k8s.io/requests.storage=3Gi,persistentvolumeclaims=1,requests.storage=3Gi";
        let usage = usage(&claim);
        assert_eq!(usage.to_string(), expected);
        let bounded = |name: &str| (MEASURE.is_bounded_by)(name) || MEASURE.alias == Some(name);
        assert!(usage.names().all(bounded));
        assert!(!bounded("gold.storageclass.storage.k8s.io/pods") && !bounded("requests.cpu"));
    }

    #[test]
    fn attributes_are_a_scope() {
        let is_in = |claim: Value, operator: &str| {
            let values = ["fast".into()];
            is_in(&claim, &Scope { name: "VolumeAttributesClass", operator, values: &values })
        };
        let asked = json!({"spec": {"volumeAttributesClassName": "fast"}});
        let leaving = json!({
            "spec": {"volumeAttributesClassName": "slow"}, "status": {"currentVolumeAttributesClassName": "fast"},
        });
        assert!(is_in(asked.clone(), "In") && is_in(leaving, "In") && !is_in(json!({}), "In"));
        assert!(is_in(asked.clone(), "Exists") && !is_in(json!({}), "Exists"));
        assert!(!is_in(asked, "NotIn") && is_in(json!({}), "NotIn"));
    }
}
