//! Which PersistentVolumes are valid, and what of one may change.

use kontiki_model::Faults;
use kontiki_schema::ids;
use serde_json::Value;

use crate::pod;
use crate::tree::{at, members, missing, text};
use crate::volumes::rules;
use crate::volumes::source::{self, Source};
use crate::{fields, metadata, volumes};

/// In Kubernetes' order.
const SOURCES: &[Source] = &[
    Source::new("hostPath", rules::host_path),
    Source::new("gcePersistentDisk", rules::gce_persistent_disk).told_at("persistentDisk"),
    Source::new("awsElasticBlockStore", rules::aws_elastic_block_store),
    Source::new("glusterfs", rules::glusterfs_of_cluster),
    Source::new("flocker", rules::flocker),
    Source::new("nfs", rules::nfs),
    Source::new("rbd", rules::rbd),
    Source::new("quobyte", rules::quobyte),
    Source::new("cephfs", rules::cephfs).second_at(Some("cephFS")),
    Source::new("iscsi", rules::iscsi_of_cluster),
    Source::new("cinder", rules::cinder_of_cluster),
    Source::new("fc", rules::fibre_channel),
    Source::new("flexVolume", rules::flex).second_at(None),
    Source::new("azureFile", rules::azure_file_of_cluster),
    Source::new("vsphereVolume", rules::vsphere),
    Source::new("photonPersistentDisk", rules::photon),
    Source::new("portworxVolume", rules::portworx),
    Source::new("azureDisk", rules::azure_disk),
    Source::new("scaleIO", rules::scale_io),
    Source::new("local", rules::local),
    Source::new("storageos", rules::storage_os_of_cluster),
    Source::new("csi", rules::csi_of_cluster),
];

pub fn validate(volume: &Value, faults: &mut Faults) {
    let spec = at(volume, "/spec");
    volumes::validate_access_modes(spec, "", "spec", faults);
    validate_capacity(at(spec, "/capacity"), faults);
    let policy = text(spec, "/persistentVolumeReclaimPolicy");
    if !policy.is_empty() {
        let field = (ids::CORE_V1_PERSISTENTVOLUMESPEC, "persistentVolumeReclaimPolicy");
        fields::known(policy, field, "spec.persistentVolumeReclaimPolicy", faults);
    }
    validate_affinity(at(spec, "/nodeAffinity"), faults);
    let source = source::validate(spec, SOURCES, "spec", faults);
    if source == Some("local") && missing(spec, "/nodeAffinity") {
        faults.required("spec.nodeAffinity", "Local volume requires node affinity");
    }
    validate_initiator(volume, faults);
    if policy == "Recycle" && text(spec, "/hostPath/path").trim_matches('/').is_empty() && !missing(spec, "/hostPath") {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        faults.forbidden("spec.persistentVolumeReclaimPolicy", detail);
    }
    volumes::validate_class(spec, "storageClassName", "spec", faults);
    volumes::validate_mode(spec, "spec", faults);
    match at(spec, "/volumeAttributesClassName").as_str() {
        None => {}
        Some("") => faults.required("spec.volumeAttributesClassName", "an empty string is disallowed"),
        Some(_) => {
            volumes::validate_class(spec, "volumeAttributesClassName", "spec", faults);
            if missing(spec, "/csi") {
                faults.required("spec.csi", "has to be specified when using volumeAttributesClassName");
            }
        }
    }
}

/// The spec of a volume that no PersistentVolume stands for: a driver and how it mounts, nothing of claims and classes.
pub fn validate_inline(spec: &Value, path: &str, faults: &mut Faults) {
    for member in ["claimRef", "capacity"] {
        forbidden_inline(spec, member, path, faults);
    }
    if missing(spec, "/csi") {
        faults.required(format!("{path}.csi"), "has to be specified in the context of inline volumes");
    }
    volumes::validate_access_modes(spec, "", path, faults);
    for member in ["persistentVolumeReclaimPolicy", "nodeAffinity"] {
        forbidden_inline(spec, member, path, faults);
    }
    source::validate(spec, SOURCES, path, faults);
    forbidden_inline(spec, "storageClassName", path, faults);
    if !matches!(text(spec, "/volumeMode"), "" | "Filesystem") {
        let detail = "may not specify volumeMode other than Filesystem in the context of inline volumes";
        faults.forbidden(format!("{path}.volumeMode"), detail);
    }
}

fn forbidden_inline(spec: &Value, member: &str, path: &str, faults: &mut Faults) {
    let value = at(spec, &format!("/{member}"));
    if !value.is_null() && value != "" && !value.as_object().is_some_and(serde_json::Map::is_empty) {
        faults.forbidden(format!("{path}.{member}"), "may not be specified in the context of inline volumes");
    }
}

fn validate_capacity(capacity: &Value, faults: &mut Faults) {
    const PATH: &str = "spec.capacity";
    let all = capacity.as_object().map_or(0, serde_json::Map::len);
    if all == 0 {
        faults.required(PATH, "");
    }
    if capacity.get("storage").is_none() || all > 1 {
        faults.not_supported(PATH, capacity.clone(), &["storage"]);
    }
    for (name, amount) in members(capacity, "") {
        volumes::validate_positive(amount, &format!("{PATH}[{name}]"), faults);
    }
}

fn validate_affinity(affinity: &Value, faults: &mut Faults) {
    const PATH: &str = "spec.nodeAffinity";
    if affinity.is_null() {
        return;
    }
    let required = at(affinity, "/required");
    if required.is_null() {
        faults.required(format!("{PATH}.required"), "must specify required node constraints");
        return;
    }
    pod::validate_node_selector(required, &format!("{PATH}.required"), faults);
}

/// A node that logs in under a name given here names the session after the volume and the portal.
fn validate_initiator(volume: &Value, faults: &mut Faults) {
    const LENGTH_MAX: usize = 64;
    let portal = text(volume, "/spec/iscsi/targetPortal");
    let session = format!("{}:{portal}", text(volume, "/metadata/name"));
    if !missing(volume, "/spec/iscsi/initiatorName") && session.len() > LENGTH_MAX {
        let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if \
                      iscsi.initiatorName is specified.";
        faults.invalid("spec.iscsi.targetportal", portal, detail);
    }
}

pub fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    let (is, was) = (at(new, "/spec"), at(old, "/spec"));
    if source_of(is, was) != source_of(was, was) {
        let detail = "spec.persistentvolumesource is immutable after creation";
        faults.forbidden("spec.persistentvolumesource", detail);
    }
    if at(is, "/volumeMode") != at(was, "/volumeMode") {
        faults.invalid("volumeMode", at(is, "/volumeMode").clone(), "field is immutable");
    }
    if !missing(was, "/nodeAffinity") && !same_nodes(at(is, "/nodeAffinity"), at(was, "/nodeAffinity")) {
        let detail = "field is immutable, except for updating from beta label to GA";
        faults.invalid("nodeAffinity", at(is, "/nodeAffinity").clone(), detail);
    }
    if missing(is, "/volumeAttributesClassName") && !missing(was, "/volumeAttributesClassName") {
        let detail = "update from non-nil value to nil is forbidden";
        faults.forbidden("spec.volumeAttributesClassName", detail);
    }
}

/// Labels of nodes, and what they are called since.
const RENAMED: [(&str, &str); 5] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
];

/// The same nodes, whose labels may be called as they are now.
fn same_nodes(is: &Value, was: &Value) -> bool {
    match (is, was) {
        (Value::Object(is), Value::Object(was)) => {
            let renamed = |is: &Value, was: &Value| RENAMED.iter().any(|(old, new)| was == old && is == new);
            let same = |(name, was): (&String, &Value)| {
                is.get(name).is_some_and(|is| same_nodes(is, was) || name == "key" && renamed(is, was))
            };
            is.len() == was.len() && was.iter().all(same)
        }
        (Value::Array(is), Value::Array(was)) => {
            is.len() == was.len() && is.iter().zip(was).all(|(is, was)| same_nodes(is, was))
        }
        (is, was) => is == was,
    }
}

/// Where the storage is. The secret for growing a CSI volume may be added later.
fn source_of(spec: &Value, before: &Value) -> Vec<(&'static str, Value)> {
    let source = |name: &'static str| {
        let mut source = at(spec, &format!("/{name}")).clone();
        if name == "csi" && missing(before, "/csi/controllerExpandSecretRef") {
            crate::tree::remove(&mut source, "controllerExpandSecretRef");
        }
        (name, source)
    };
    let given = SOURCES.iter().map(|source| source.name).filter(|name| !missing(spec, &format!("/{name}")));
    given.map(source).collect()
}
