//! Which volumes pods may bring along.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Subject, Violation, words};
use crate::tree::{list, missing, text};

const ALLOWED: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

const RESTRICTED: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

pub fn host_path(pod: Subject<'_>) -> Option<Violation> {
    let bad = list(pod.spec, "/volumes").iter().filter(|volume| is(volume, "hostPath"));
    let bad: Vec<&str> = bad.map(|volume| text(volume, "/name")).collect();
    (!bad.is_empty()).then(|| Violation { reason: "hostPath volumes", detail: volumes(&bad) })
}

/// Files come from the API and from claims; where else from, whoever makes PersistentVolumes decides.
pub fn restricted(pod: Subject<'_>) -> Option<Violation> {
    let (mut names, mut types) = (Vec::new(), BTreeSet::new());
    let all = list(pod.spec, "/volumes").iter();
    for volume in all.filter(|volume| !ALLOWED.iter().any(|allowed| is(volume, allowed))) {
        names.push(text(volume, "/name"));
        types.insert(RESTRICTED.into_iter().find(|restricted| is(volume, restricted)).unwrap_or("unknown"));
    }
    (!names.is_empty()).then(|| Violation {
        reason: "restricted volume types",
        detail: format!(
            "{} {} {} {}",
            volumes(&names),
            words::plural("uses", "use", names.len()),
            words::plural("restricted volume type", "restricted volume types", types.len()),
            words::quoted(types)
        ),
    })
}

fn is(volume: &Value, source: &str) -> bool {
    !missing(volume, &format!("/{source}"))
}

fn volumes(names: &[&str]) -> String {
    format!("{} {}", words::plural("volume", "volumes", names.len()), words::quoted(names))
}
