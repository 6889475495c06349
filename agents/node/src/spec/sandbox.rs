//! The surroundings that the containers of a pod share.

use std::{collections::BTreeMap, net::Ipv4Addr};

use k8s_openapi::api::core::v1::Pod;
use kontiki_runtime::spec::{SandboxNetwork, SandboxSpec};

use super::resources;
use crate::pod::{self, PodId};

pub const LABEL_NAMESPACE: &str = "namespace";
pub const LABEL_NAME: &str = "name";
/// What a sandbox whose pod is unknown gets to end in.
pub const LABEL_GRACE_S: &str = "grace-seconds";

/// Longest name that the kernel takes for a host.
const HOSTNAME_MAX: usize = 63;
/// As the kernel takes it with its domain.
const FQDN_MAX: usize = 64;

/// What the node adds to the pod's own words.
pub struct SandboxNeeds {
    /// Not used by a pod on the host's network.
    pub address: Option<Ipv4Addr>,
    pub node_name: String,
    pub cluster_domain: String,
}

pub fn sandbox_spec(pod: &Pod, needs: &SandboxNeeds) -> SandboxSpec {
    let spec = pod::spec(pod);
    let id = PodId::of(pod);
    let network = match needs.address {
        Some(address) if !pod::on_host_network(&spec) => SandboxNetwork::Pod { address },
        Some(_) | None => SandboxNetwork::Host,
    };
    let sysctls = spec.security_context.as_ref().and_then(|context| context.sysctls.as_ref());
    let grace = spec.termination_grace_period_seconds.unwrap_or(crate::limits::GRACE_DEFAULT_S);
    SandboxSpec {
        hostname: hostname(pod, &needs.node_name, &needs.cluster_domain).0,
        network,
        resources: resources::of_pod(&spec),
        sysctls: sysctls.into_iter().flatten().map(|s| (s.name.clone(), s.value.clone())).collect(),
        host_pid: spec.host_pid == Some(true),
        host_ipc: spec.host_ipc == Some(true),
        share_pid: spec.share_process_namespace == Some(true),
        labels: BTreeMap::from([
            (LABEL_NAMESPACE.to_owned(), id.namespace),
            (LABEL_NAME.to_owned(), id.name),
            (LABEL_GRACE_S.to_owned(), grace.to_string()),
        ]),
        id: id.uid,
    }
}

/// Why a pod cannot have the host name it asks for, in the kubelet's words.
pub fn refuse_hostname(hostname: &str) -> Result<(), String> {
    let asked = hostname.len();
    if asked <= FQDN_MAX {
        return Ok(());
    }
    let problem =
        format!("FQDN {hostname} is too long ({FQDN_MAX} characters is the max, {asked} characters requested)");
    Err(format!("Failed to construct FQDN from Pod hostname and cluster domain, {problem}"))
}

/// Host name, and the domain it is in, if any.
pub fn hostname(pod: &Pod, node_name: &str, cluster_domain: &str) -> (String, Option<String>) {
    let spec = pod::spec(pod);
    let name = pod.metadata.name.clone().unwrap_or_default();
    if pod::on_host_network(&spec) {
        return (node_name.to_owned(), None);
    }
    if let Some(whole) = spec.hostname_override.filter(|name| !name.is_empty()) {
        return (whole, None);
    }
    let mut host = spec.hostname.filter(|name| !name.is_empty()).unwrap_or(name);
    host.truncate(HOSTNAME_MAX);
    let host = host.trim_end_matches(['-', '.']).to_owned();
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let domain = spec.subdomain.filter(|name| !name.is_empty());
    let domain = domain.map(|subdomain| format!("{subdomain}.{namespace}.svc.{cluster_domain}"));
    match (&domain, spec.set_hostname_as_fqdn) {
        (Some(domain_name), Some(true)) => (format!("{host}.{domain_name}"), domain),
        (Some(_), Some(false) | None) | (None, _) => (host, domain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_name_is_the_pods_unless_it_says_otherwise() {
        for (spec, expected) in [
            (serde_json::json!({}), ("web-0", None)),
            (serde_json::json!({"hostname": "db"}), ("db", None)),
            (serde_json::json!({"subdomain": "web"}), ("web-0", Some("web.shop.svc.cluster.local"))),
            (serde_json::json!({"hostNetwork": true}), ("machine", None)),
        ] {
            let mut spec = spec;
            spec["containers"] = serde_json::json!([]);
            let pod: Pod = serde_json::from_value(
                serde_json::json!({"metadata": {"name": "web-0", "namespace": "shop"}, "spec": spec}),
            )
            .unwrap();
            let (host, domain) = hostname(&pod, "machine", "cluster.local");
            assert_eq!((host.as_str(), domain.as_deref()), expected);
        }
    }

    #[test]
    fn a_name_with_its_domain_that_the_kernel_does_not_take_is_refused_with_its_length() {
        assert_eq!(refuse_hostname(&"a".repeat(64)), Ok(()));
        let refused = refuse_hostname(&"a".repeat(65)).unwrap_err();
        assert!(refused.ends_with("a is too long (64 characters is the max, 65 characters requested)"), "{refused}");
    }
}
