//! Whether a pod has written more to the node's disk than it may, judged as the kubelet does. Pure: what was written is
//! measured elsewhere.

use k8s_openapi::{
    api::core::v1::{Container, Pod, Volume},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::{
    disk::{Written, is_on_disk},
    limits::GRACE_MIN_S,
    machine::Rejection,
    pod, quantity,
    spec::resources,
};

/// Reason of the event and of the pod's status.
pub const EVICTED: &str = "Evicted";
const STORAGE: &str = "ephemeral-storage";

/// Nothing need be measured of a pod that is not bounded.
pub fn is_bounded(pod: &Pod) -> bool {
    let spec = pod::spec(pod);
    pod::containers(&spec).any(|container| limit(container).is_some())
        || spec.volumes.iter().flatten().any(|volume| size_limit(volume).is_some())
}

/// Why the pod has to go, if it has.
pub fn over_limit(pod: &Pod, written: &Written) -> Option<Rejection> {
    let spec = pod::spec(pod);
    let volumes = || {
        spec.volumes.iter().flatten().find_map(|volume| {
            let (limit, used) = (size_limit(volume)?, *written.volumes.get(&volume.name)?);
            let over = exceeds(used, limit);
            over.then(|| format!("Usage of EmptyDir volume {:?} exceeds the limit {:?}. ", volume.name, limit.0))
        })
    };
    let whole = || {
        let text = pod::containers(&spec).find_map(limit)?;
        let sum = resources::pod_sum(&spec, |container| limit(container).map(|limit| quantity::value(&limit.0)));
        let limit = quantity::text(sum, &text.0);
        let over = written.sum() > sum.unsigned_abs();
        over.then(|| format!("Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "))
    };
    let containers = || {
        spec.containers.iter().find_map(|container| {
            let (name, limit) = (&container.name, limit(container)?);
            let over = exceeds(written.containers.get(name)?.sum(), limit);
            over.then(|| format!("Container {name} exceeded its local ephemeral storage limit {:?}. ", limit.0))
        })
    };
    let message = volumes().or_else(whole).or_else(containers)?;
    Some(Rejection { grace_ms: Some(GRACE_MIN_S * 1000), ..Rejection::new(EVICTED, message) })
}

fn limit(container: &Container) -> Option<&Quantity> {
    let limit = container.resources.as_ref()?.limits.as_ref()?.get(STORAGE)?;
    (quantity::value(&limit.0) > 0).then_some(limit)
}

fn size_limit(volume: &Volume) -> Option<&Quantity> {
    let limit = volume.empty_dir.as_ref().filter(|_| is_on_disk(volume))?.size_limit.as_ref()?;
    (quantity::value(&limit.0) > 0).then_some(limit)
}

fn exceeds(used: u64, limit: &Quantity) -> bool {
    used > quantity::value(&limit.0).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::disk::ContainerBytes;

    fn pod(limits: [Option<&str>; 2], volume: Value) -> Pod {
        let container = |name: &str, limit: Option<&str>| match limit {
            Some(limit) => json!({"name": name, "resources": {"limits": {"ephemeral-storage": limit}}}),
            None => json!({"name": name}),
        };
        let containers = [container("a", limits[0]), container("b", limits[1])];
        let volumes = [json!({"name": "v", "emptyDir": volume})];
        serde_json::from_value(json!({"spec": {"containers": containers, "volumes": volumes}})).unwrap()
    }

    #[test]
    fn who_writes_more_than_he_may_is_told_in_the_kubelets_words() {
        const MI: u64 = 1 << 20;
        let table = [
            ([None, None], json!({"sizeLimit": "1Mi"}), (MI, 0, 0), None),
            (
                [None, None],
                json!({"sizeLimit": "1Mi"}),
                (MI + 1, 0, 0),
                Some("Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". "),
            ),
            ([None, None], json!({"sizeLimit": "1Mi", "medium": "Memory"}), (MI + 1, 0, 0), None),
            ([None, None], json!({}), (90 * MI, 90 * MI, 0), None),
            (
                [Some("1Mi"), Some("2Mi")],
                json!({}),
                (0, MI + 1, 0),
                Some("Container a exceeded its local ephemeral storage limit \"1Mi\". "),
            ),
            (
                [Some("1Mi"), Some("2Mi")],
                json!({}),
                (2 * MI, MI, 1),
                Some("Pod ephemeral local storage usage exceeds the total limit of containers 3Mi. "),
            ),
            (
                [Some("1500k"), Some("500k")],
                json!({}),
                (2_000_001, 0, 0),
                Some("Pod ephemeral local storage usage exceeds the total limit of containers 2M. "),
            ),
            ([Some("1Mi"), Some("2Mi")], json!({}), (0, MI, 2 * MI), None),
        ];
        for (limits, volume, (of_volume, of_a, of_b), expected) in table {
            let pod = pod(limits, volume);
            let written = Written {
                volumes: [("v".to_owned(), of_volume)].into(),
                containers: [("a", of_a), ("b", of_b)]
                    .map(|(name, root)| (name.to_owned(), ContainerBytes { root, logs: 0 }))
                    .into(),
                host_files: 0,
            };
            let evicted = over_limit(&pod, &written);
            assert_eq!(evicted.as_ref().map(|evicted| evicted.message.as_str()), expected);
            assert!(evicted.is_none_or(|evicted| evicted.reason == EVICTED && evicted.grace_ms == Some(1000)));
        }
    }

    #[test]
    fn only_bounded_pods_are_measured() {
        for (limits, volume, expected) in [
            ([None, None], json!({}), false),
            ([None, Some("1Mi")], json!({}), true),
            ([None, None], json!({"sizeLimit": "1Mi"}), true),
            ([None, None], json!({"sizeLimit": "1Mi", "medium": "Memory"}), false),
        ] {
            assert_eq!(is_bounded(&pod(limits, volume.clone())), expected, "{limits:?} {volume}");
        }
    }
}
