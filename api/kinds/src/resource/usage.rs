//! What a ResourceClaim uses of a quota: devices, by the class they are asked for.

use kontiki_model::{Quantity, Resources};
use serde_json::Value;

use crate::quota::Measure;
use crate::tree::{at, int, list, text};

pub static MEASURE: Measure =
    Measure { usage: |claim, _| usage(claim), is_bounded_by: |name| name.ends_with(DEVICES), ..Measure::COUNT };

/// `gpus.deviceclass.resource.k8s.io/devices`
const DEVICES: &str = ".deviceclass.resource.k8s.io/devices";
/// "All" devices are at most as many as an allocation can name.
const ALLOCATION_DEVICES_MAX: i64 = 32;

fn usage(claim: &Value) -> Resources {
    let mut usage = Resources::default();
    for request in list(claim, "/spec/devices/requests") {
        let mut most = Resources::default();
        let alternatives = list(request, "/firstAvailable");
        // Of alternatives only one will be, and nobody knows which.
        for one in alternatives.iter().chain(Some(at(request, "/exactly")).filter(|one| !one.is_null())) {
            most.raise_to(&devices(one));
        }
        usage.add(&most);
    }
    usage
}

fn devices(request: &Value) -> Resources {
    let number = match text(request, "/allocationMode") {
        "ExactCount" => int(request, "/count"),
        "All" => ALLOCATION_DEVICES_MAX,
        _ => 0,
    };
    let name = format!("{}{DEVICES}", text(request, "/deviceClassName"));
    [(name.as_str(), Quantity::from_units(number))].into_iter().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn devices_count_by_class_and_alternatives_by_the_worst() {
        let exactly =
            |class: &str, count: i64| json!({"deviceClassName": class, "allocationMode": "ExactCount", "count": count});
        let requests = json!([
            {"exactly": exactly("a", 2)},
            {"exactly": {"deviceClassName": "b", "allocationMode": "All"}},
            {"firstAvailable": [exactly("a", 1), exactly("a", 4), exactly("c", 1)]},
        ]);
        let usage = usage(&json!({"spec": {"devices": {"requests": requests}}}));
        assert_eq!(
            usage.to_string(),
            "a.deviceclass.resource.k8s.io/devices=6,b.deviceclass.resource.k8s.io/devices=32,\
             c.deviceclass.resource.k8s.io/devices=1"
        );
    }
}
