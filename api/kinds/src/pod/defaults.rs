//! What Kubernetes fills into a pod spec (`pkg/apis/core/v1` defaults). Complete in itself and idempotent.

use kontiki_model::Resources;
use serde_json::{Value, json};

use super::resources::{overcommits, round};
use super::usage::{self, Side, is_of_whole_pods};
use crate::tree::{
    at, count, fill, fill_int, fill_text, flag, int, list_mut, missing, object, object_mut, remove, set,
    single_and_list, text,
};

/// Mode of volume files that say nothing: `0644`.
const FILE_MODE: i64 = 420;

/// A whole Pod: the spec, what only a Pod (not a template) gets, and the two forms of its addresses.
pub fn pod(pod: &mut Value) {
    let pod_spec = object(pod, "spec");
    spec(pod_spec);
    fill(pod_spec, "enableServiceLinks", true);
    let host_network = flag(pod_spec, "/hostNetwork");
    for list_name in ["containers", "initContainers"] {
        for container in list_mut(pod_spec, &format!("/{list_name}")) {
            requests_from_limits(container);
            if host_network {
                host_ports(container);
            }
        }
    }
    whole_pod(pod);
    let status = object(pod, "status");
    fill_text(status, "phase", "Pending");
    single_and_list(status, "podIP", "podIPs", Some("ip"));
    single_and_list(status, "hostIP", "hostIPs", Some("ip"));
}

/// A pod spec, in a Pod or a template.
pub fn spec(spec: &mut Value) {
    fill_text(spec, "dnsPolicy", "ClusterFirst");
    fill_text(spec, "restartPolicy", "Always");
    fill(spec, "securityContext", json!({}));
    fill(spec, "terminationGracePeriodSeconds", 30);
    fill_text(spec, "schedulerName", "default-scheduler");
    service_account_names(spec);
    for list_name in ["containers", "initContainers", "ephemeralContainers"] {
        for one in list_mut(spec, &format!("/{list_name}")) {
            container(one);
        }
    }
    for volume in list_mut(spec, "/volumes") {
        self::volume(volume);
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are written.
fn service_account_names(spec: &mut Value) {
    let name = match text(spec, "/serviceAccountName") {
        "" => text(spec, "/serviceAccount").to_owned(),
        name => name.to_owned(),
    };
    for member in ["serviceAccountName", "serviceAccount"] {
        if name.is_empty() {
            remove(spec, member);
        } else {
            spec[member] = name.as_str().into();
        }
    }
}

fn container(container: &mut Value) {
    fill(container, "resources", json!({}));
    for list_name in ["limits", "requests"] {
        round(container, &format!("/resources/{list_name}"));
    }
    let policy = pull_policy(text(container, "/image"));
    fill_text(container, "imagePullPolicy", policy);
    fill_text(container, "terminationMessagePath", "/dev/termination-log");
    fill_text(container, "terminationMessagePolicy", "File");
    for port in list_mut(container, "/ports") {
        fill_text(port, "protocol", "TCP");
    }
    for variable in list_mut(container, "/env") {
        environment(variable);
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container[probe].is_object() {
            self::probe(&mut container[probe]);
        } else {
            remove(container, probe);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(hook) = object_mut(container, &format!("/lifecycle/{hook}")) {
            http_get(hook);
        }
    }
    if !missing(container, "/securityContext") && missing(container, "/securityContext/procMount") {
        remove(&mut container["securityContext"], "procMount");
    }
}

/// `Always` for `:latest` and images without a tag, so that a moving tag is seen to move.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, ""), |(name, digest)| (name, digest));
    let last = name.rsplit('/').next().unwrap_or(name);
    let tag = last.split_once(':').map_or("", |(_, tag)| tag);
    match (tag, digest) {
        ("latest", _) | ("", "") => "Always",
        _ => "IfNotPresent",
    }
}

/// On the host's network a container port is a host port.
fn host_ports(container: &mut Value) {
    for port in list_mut(container, "/ports") {
        let number = int(port, "/containerPort");
        fill_int(port, "hostPort", number);
    }
}

fn environment(variable: &mut Value) {
    if let Some(field) = object_mut(variable, "/valueFrom/fieldRef") {
        fill_text(field, "apiVersion", "v1");
    }
    if !missing(variable, "/valueFrom/fileKeyRef") {
        fill(&mut variable["valueFrom"]["fileKeyRef"], "optional", false);
    }
}

fn probe(probe: &mut Value) {
    http_get(probe);
    if let Some(grpc) = object_mut(probe, "/grpc") {
        fill(grpc, "service", "");
    }
    fill_int(probe, "timeoutSeconds", 1);
    fill_int(probe, "periodSeconds", 10);
    fill_int(probe, "successThreshold", 1);
    fill_int(probe, "failureThreshold", 3);
}

fn http_get(handler: &mut Value) {
    if let Some(get) = object_mut(handler, "/httpGet") {
        fill_text(get, "path", "/");
        fill_text(get, "scheme", "HTTP");
    }
}

fn volume(volume: &mut Value) {
    let members = volume.as_object().into_iter().flatten();
    if members.filter(|(name, source)| *name != "name" && !source.is_null()).count() == 0 {
        volume["emptyDir"] = json!({});
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if volume[source].is_object() {
            fill(&mut volume[source], "defaultMode", FILE_MODE);
        } else {
            remove(volume, source);
        }
    }
    if let Some(image) = object_mut(volume, "/image") {
        let policy = pull_policy(text(image, "/reference"));
        fill_text(image, "pullPolicy", policy);
    }
    downward_items(volume);
    for source in list_mut(volume, "/projected/sources") {
        if !missing(source, "/serviceAccountToken") {
            fill(&mut source["serviceAccountToken"], "expirationSeconds", 3600);
        }
        downward_items(source);
    }
    volume_source(volume);
    claim_template(volume);
}

/// What a source of storage is filled with, in the object that holds it: a volume of a pod, the spec of a PersistentVolume.
pub fn volume_source(holder: &mut Value) {
    for (source, member, value) in PLAIN.iter() {
        if let Some(source) = object_mut(holder, &format!("/{source}")) {
            fill(source, member, value.clone());
        }
    }
}

fn downward_items(holder: &mut Value) {
    for item in list_mut(holder, "/downwardAPI/items") {
        if let Some(field) = object_mut(item, "/fieldRef") {
            fill_text(field, "apiVersion", "v1");
        }
    }
}

/// `(volume source, member, value)` of sources whose defaults depend on nothing.
static PLAIN: std::sync::LazyLock<Vec<(&str, &str, Value)>> = std::sync::LazyLock::new(|| {
    vec![
        ("hostPath", "type", json!("")),
        ("iscsi", "iscsiInterface", json!("default")),
        ("rbd", "pool", json!("rbd")),
        ("rbd", "user", json!("admin")),
        ("rbd", "keyring", json!("/etc/ceph/keyring")),
        ("azureDisk", "cachingMode", json!("ReadWrite")),
        ("azureDisk", "fsType", json!("ext4")),
        ("azureDisk", "readOnly", json!(false)),
        ("azureDisk", "kind", json!("Shared")),
        ("scaleIO", "storageMode", json!("ThinProvisioned")),
        ("scaleIO", "fsType", json!("xfs")),
    ]
});

fn claim_template(volume: &mut Value) {
    if let Some(template) = object_mut(volume, "/ephemeral/volumeClaimTemplate") {
        object(template, "metadata");
        fill_text(object(template, "spec"), "volumeMode", "Filesystem");
    }
}

/// A pod that says something of its containers together says what they come to where it does not say more: requests, and
/// limits of huge pages. What none of them asks for is asked for as it is limited.
fn whole_pod(pod: &mut Value) {
    let said = |side: &str| count(pod, &format!("/spec/resources/{side}")) != 0;
    if !said("requests") && !said("limits") {
        return;
    }
    let limits = usage::of_containers(pod, Side::Limits).only(|name| name.starts_with("hugepages-"));
    fill_amounts(pod, "limits", &limits);
    let requests = usage::of_containers(pod, Side::Requests).only(|name| is_of_whole_pods(name) && overcommits(name));
    fill_amounts(pod, "requests", &requests);
    let limits = Resources::from_json(at(pod, "/spec/resources/limits")).only(is_of_whole_pods);
    fill_amounts(pod, "requests", &limits);
}

fn fill_amounts(pod: &mut Value, side: &str, amounts: &Resources) {
    if !amounts.is_empty() {
        let held = object(&mut pod["spec"]["resources"], side);
        amounts.iter().for_each(|(name, amount)| fill(held, name, amount.to_string()));
    }
}

/// A limit without a request requests as much.
fn requests_from_limits(holder: &mut Value) {
    let Some(limits) = at(holder, "/resources/limits").as_object().cloned() else { return };
    for (name, limit) in limits {
        let pointer = "/resources/requests";
        if missing(holder, pointer) {
            set(holder, pointer, json!({}));
        }
        fill(&mut holder["resources"]["requests"], &name, limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_policy_follows_the_tag() {
        let cases = [
            ("app", "Always"),
            ("app:latest", "Always"),
            ("app:1", "IfNotPresent"),
            ("host:5000/app", "Always"),
            ("host:5000/app:1", "IfNotPresent"),
            ("app@sha256:00", "IfNotPresent"),
            ("app:latest@sha256:00", "Always"),
        ];
        for (image, policy) in cases {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
