//! Which volumes are valid (`ValidateVolumes`).

use std::collections::HashSet;

use kontiki_model::Faults;
use serde_json::Value;

use super::containers;
use super::projection::{config_map, downward_api, projected, secret};
use super::resources::quantity;
use super::spec::Holder;
use crate::fields;
use crate::names::{label, report, subdomain};
use crate::persistentvolumeclaim;
use crate::tree::{at, list, text};
use crate::volumes::rules::{self, required};
use crate::volumes::source::{self, Source};

/// The volumes of `object`, a Pod or a template, at `path`.
pub fn validate(object: &Value, holder: Holder, path: &str, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (index, volume) in list(object, "/spec/volumes").iter().enumerate() {
        let path = format!("{path}[{index}]");
        source::validate(volume, SOURCES, &path, faults);
        let name = text(volume, "/name");
        match holder {
            Holder::Pod => completed(volume, text(object, "/metadata/name"), &path, faults),
            Holder::Template => {}
        }
        if name.is_empty() {
            faults.required(format!("{path}.name"), "");
            continue;
        }
        report(label(name), name, &format!("{path}.name"), faults);
        if !seen.insert(name) {
            faults.duplicate(format!("{path}.name"), name);
        }
    }
}

/// In Kubernetes' order.
const SOURCES: &[Source] = &[
    Source::new("emptyDir", empty_dir),
    Source::new("hostPath", rules::host_path),
    Source::new("gitRepo", rules::git_repo),
    Source::new("gcePersistentDisk", rules::gce_persistent_disk).told_at("persistentDisk"),
    Source::new("awsElasticBlockStore", rules::aws_elastic_block_store),
    Source::new("secret", secret),
    Source::new("nfs", rules::nfs),
    Source::new("iscsi", rules::iscsi),
    Source::new("glusterfs", rules::glusterfs),
    Source::new("flocker", rules::flocker),
    Source::new("persistentVolumeClaim", claim),
    Source::new("rbd", rules::rbd),
    Source::new("cinder", rules::cinder),
    Source::new("cephfs", rules::cephfs).second_at(Some("cephFS")),
    Source::new("quobyte", rules::quobyte),
    Source::new("downwardAPI", downward_api).second_at(Some("downwarAPI")),
    Source::new("fc", rules::fibre_channel),
    Source::new("flexVolume", rules::flex),
    Source::new("configMap", config_map),
    Source::new("azureFile", rules::azure_file),
    Source::new("vsphereVolume", rules::vsphere),
    Source::new("photonPersistentDisk", rules::photon),
    Source::new("portworxVolume", rules::portworx),
    Source::new("azureDisk", rules::azure_disk),
    Source::new("storageos", rules::storage_os),
    Source::new("projected", projected),
    Source::new("scaleIO", rules::scale_io),
    Source::new("csi", rules::csi),
    Source::new("ephemeral", ephemeral),
    Source::new("image", image),
];

fn empty_dir(source: &Value, path: &str, faults: &mut Faults) {
    if quantity(at(source, "/sizeLimit")).is_some_and(|limit| limit.is_negative()) {
        faults.forbidden(format!("{path}.sizeLimit"), "SizeLimit field must be a valid resource quantity");
    }
}

fn claim(source: &Value, path: &str, faults: &mut Faults) {
    required(source, "claimName", path, faults);
}

/// A claim that is made with the pod: of its template's metadata only labels and annotations are used.
fn ephemeral(source: &Value, path: &str, faults: &mut Faults) {
    let (template, path) = (at(source, "/volumeClaimTemplate"), format!("{path}.volumeClaimTemplate"));
    if template.is_null() {
        faults.required(path, "");
        return;
    }
    fields::template_metadata(at(template, "/metadata"), &format!("{path}.metadata"), faults);
    persistentvolumeclaim::validate_spec(at(template, "/spec"), &format!("{path}.spec"), faults);
}

fn image(source: &Value, path: &str, faults: &mut Faults) {
    containers::pull_policy(text(source, "/pullPolicy"), &format!("{path}.pullPolicy"), faults);
}

/// What a template may leave open: the image, and the name of the pod, which the claims made with it are named after.
fn completed(volume: &Value, pod: &str, path: &str, faults: &mut Faults) {
    let image = at(volume, "/image");
    if !image.is_null() {
        required(image, "reference", &format!("{path}.image"), faults);
    }
    let name = text(volume, "/name");
    if !at(volume, "/ephemeral").is_null() && !name.is_empty() && !pod.is_empty() {
        let claim = format!("{pod}-{name}");
        for wrong in subdomain(&claim) {
            faults.invalid(format!("{path}.name"), name, format!("PVC name {claim:?}: {wrong}"));
        }
    }
}
