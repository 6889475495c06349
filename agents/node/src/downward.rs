//! The downward API: fields of a pod and resources of a container as text, for variables and files. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

use crate::quantity;

#[derive(Clone, Copy)]
pub struct Addresses<'a> {
    pub host_ip: &'a str,
    pub pod_ip: &'a str,
}

/// The value of a `fieldRef`.
pub fn field(pod: &Pod, path: &str, addresses: Addresses<'_>) -> Result<String, String> {
    let metadata = &pod.metadata;
    let spec = pod.spec.as_ref();
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    if let Some((list, key)) = subscript(path) {
        return match list {
            "metadata.annotations" => Ok(text(metadata.annotations.as_ref().and_then(|map| map.get(key)))),
            "metadata.labels" => Ok(text(metadata.labels.as_ref().and_then(|map| map.get(key)))),
            _ => Err(format!("fieldPath {path:?} does not support subscript")),
        };
    }
    Ok(match path {
        "metadata.name" => text(metadata.name.as_ref()),
        "metadata.namespace" => text(metadata.namespace.as_ref()),
        "metadata.uid" => text(metadata.uid.as_ref()),
        "metadata.labels" => pairs(metadata.labels.as_ref()),
        "metadata.annotations" => pairs(metadata.annotations.as_ref()),
        "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
        "status.hostIP" | "status.hostIPs" => addresses.host_ip.to_owned(),
        "status.podIP" | "status.podIPs" => addresses.pod_ip.to_owned(),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// `metadata.labels['app']` as (`metadata.labels`, `app`).
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (list, rest) = path.split_once('[')?;
    let key = rest.strip_suffix(']')?;
    let quoted = key.strip_prefix('\'').and_then(|key| key.strip_suffix('\''));
    Some((list, quoted.or_else(|| key.strip_prefix('"')?.strip_suffix('"')).unwrap_or(key)))
}

/// `key="value"` lines, sorted, as Kubernetes writes them.
fn pairs(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}")).collect();
    lines.join("\n")
}

/// The value of a `resourceFieldRef`: the container's, or for a limit it does not have, the node's allocatable.
pub fn resource(
    container: &Container,
    selector: &ResourceFieldSelector,
    allocatable: &BTreeMap<String, String>,
) -> Result<String, String> {
    let (list, name) = selector.resource.split_once('.').ok_or_else(|| unsupported(selector))?;
    if !(matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-")) {
        return Err(unsupported(selector));
    }
    let resources = container.resources.clone().unwrap_or_default();
    let (requests, limits) = (resources.requests.unwrap_or_default(), resources.limits.unwrap_or_default());
    let limit = || limits.get(name).map(|quantity| quantity.0.clone()).or_else(|| allocatable.get(name).cloned());
    let amount = match list {
        "limits" => limit(),
        "requests" => requests.get(name).map(|quantity| quantity.0.clone()).or_else(|| {
            // A request that is not given is the limit, if that is given.
            limits.get(name).map(|quantity| quantity.0.clone())
        }),
        _ => return Err(unsupported(selector)),
    }
    .unwrap_or_else(|| "0".to_owned());
    let divisor = selector.divisor.as_ref().map(|quantity| quantity.0.as_str()).unwrap_or("1");
    let (amount, divisor) = match name {
        "cpu" => (quantity::milli(&amount), quantity::milli(divisor)),
        _ => (quantity::value(&amount), quantity::value(divisor)),
    };
    let divisor = if divisor == 0 { if name == "cpu" { 1000 } else { 1 } } else { divisor };
    Ok((amount.div_euclid(divisor) + i64::from(amount.rem_euclid(divisor) != 0)).to_string())
}

fn unsupported(selector: &ResourceFieldSelector) -> String {
    format!("unsupported container resource : {}", selector.resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_resources() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"b": "2", "a": "1\"x"}},
            "spec": {"nodeName": "here", "containers": [{"name": "c", "resources": {
                "requests": {"cpu": "250m"}, "limits": {"memory": "64Mi"}}}]}
        }))
        .unwrap();
        let addresses = Addresses { host_ip: "10.0.0.1", pod_ip: "10.1.0.2" };
        for (path, expected) in [
            ("metadata.name", Ok("p")),
            ("metadata.labels", Ok("a=\"1\\\"x\"\nb=\"2\"")),
            ("metadata.labels['b']", Ok("2")),
            ("metadata.annotations['none']", Ok("")),
            ("spec.nodeName", Ok("here")),
            ("status.podIP", Ok("10.1.0.2")),
            ("spec.volumes", Err("unsupported fieldPath: spec.volumes")),
        ] {
            assert_eq!(field(&pod, path, addresses), expected.map(str::to_owned).map_err(str::to_owned), "{path}");
        }
        let allocatable = BTreeMap::from([("cpu".to_owned(), "2".to_owned()), ("memory".to_owned(), "1Gi".to_owned())]);
        let container = &pod.spec.as_ref().unwrap().containers[0];
        for (resource_name, divisor, expected) in [
            ("requests.cpu", None, "1"),
            ("requests.cpu", Some("1m"), "250"),
            ("limits.cpu", None, "2"),
            ("limits.memory", Some("1Mi"), "64"),
            ("requests.memory", Some("1Mi"), "64"),
        ] {
            let selector: ResourceFieldSelector =
                serde_json::from_value(serde_json::json!({"resource": resource_name, "divisor": divisor})).unwrap();
            assert_eq!(resource(container, &selector, &allocatable).unwrap(), expected, "{resource_name}");
        }
    }
}
