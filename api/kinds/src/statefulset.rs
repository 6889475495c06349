//! StatefulSet (apps).

use kontiki_model::Faults;
use serde_json::{Value, json};

use crate::column::{self, text_column};
use crate::names::{label, report};
use crate::podsecurity::PodSecurity;
use crate::tree::{at, fill, fill_text, int, keep, list, list_mut, missing, object, text};
use crate::{
    Column, Disabled, Kind, NameRule, Subresource, int_or_percent, metadata, persistentvolumeclaim, pod, selector,
    workload,
};

pub static KIND: Kind = Kind {
    group: "apps",
    kind: "StatefulSet",
    resource: "statefulsets",
    singular: "statefulset",
    short_names: &["sts"],
    categories: &["all"],
    type_name: "apps.v1.StatefulSet",
    // Pods are called after it.
    name_rule: NameRule::Label,
    generation: true,
    subresources: &[Subresource::Scale, Subresource::Status],
    scale: Some(workload::SCALE),
    columns: COLUMNS,
    cells: |set, now| {
        let (ready, wanted) = (int(set, "/status/readyReplicas"), int(set, "/spec/replicas"));
        vec![
            column::name(set),
            format!("{ready}/{wanted}").into(),
            column::age(set, now),
            column::joined(set, "/spec/template/spec/containers", "/name"),
            column::joined(set, "/spec/template/spec/containers", "/image"),
        ]
    },
    default,
    disabled: &[Disabled::new(
        "MaxUnavailableStatefulSet",
        &[&["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"]],
    )],
    prepare_create: |set| set["status"] = json!({}),
    prepare_update: |new, old| keep(new, old, "status"),
    validate,
    validate_create,
    validate_update,
    validate_status,
    warnings,
    pod_security: Some(PodSecurity::Template("/spec/template")),
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("Ready", 0, "Number of ready pods over the number of desired pods."),
    column::AGE,
    column::CONTAINERS,
    column::IMAGES,
];

fn default(set: &mut Value) {
    workload::default(set);
    object(set, "status");
    let spec = object(set, "spec");
    fill_text(spec, "podManagementPolicy", "OrderedReady");
    let strategy = object(spec, "updateStrategy");
    if text(strategy, "/type").is_empty() {
        strategy["type"] = "RollingUpdate".into();
        object(strategy, "rollingUpdate");
    }
    if text(strategy, "/type") == "RollingUpdate" && !missing(strategy, "/rollingUpdate") {
        fill(object(strategy, "rollingUpdate"), "partition", 0);
    }
    let retention = object(spec, "persistentVolumeClaimRetentionPolicy");
    fill_text(retention, "whenDeleted", "Retain");
    fill_text(retention, "whenScaled", "Retain");
    fill(spec, "revisionHistoryLimit", 10);
    for claim in list_mut(spec, "/volumeClaimTemplates") {
        claim["kind"] = "PersistentVolumeClaim".into();
        claim["apiVersion"] = "v1".into();
        (persistentvolumeclaim::KIND.default)(claim);
    }
}

fn validate(set: &Value, faults: &mut Faults) {
    let spec = at(set, "/spec");
    match text(spec, "/podManagementPolicy") {
        "" => faults.required("spec.podManagementPolicy", ""),
        "OrderedReady" | "Parallel" => {}
        other => faults.invalid("spec.podManagementPolicy", other, "must be 'OrderedReady' or 'Parallel'"),
    }
    validate_strategy(at(spec, "/updateStrategy"), faults);
    for member in ["whenDeleted", "whenScaled"] {
        let policy = text(spec, &format!("/persistentVolumeClaimRetentionPolicy/{member}"));
        if !matches!(policy, "Retain" | "Delete") {
            let path = format!("spec.persistentVolumeClaimRetentionPolicy.{member}");
            faults.not_supported(path, policy, &["Retain", "Delete"]);
        }
    }
    for pointer in ["/spec/replicas", "/spec/minReadySeconds", "/spec/ordinals/start"] {
        workload::not_negative(set, pointer, faults);
    }
    workload::validate_selector(set, "empty selector is invalid for statefulset", faults);
    let template = at(spec, "/template");
    let chosen = at(spec, "/selector");
    if selector::is_sound(chosen) {
        workload::validate_selected(chosen, template, faults);
        workload::validate_pods(&with_claims(template, spec), "spec.template", faults);
    } else {
        faults.invalid("spec.selector", chosen.clone(), "");
    }
    workload::validate_endless(template, "StatefulSet", faults);
    for (index, claim) in list(spec, "/volumeClaimTemplates").iter().enumerate() {
        let path = format!("spec.volumeClaimTemplates[{index}]");
        let name = text(claim, "/metadata/name");
        report(label(name), name, &format!("{path}.metadata.name"), faults);
        persistentvolumeclaim::validate_spec(at(claim, "/spec"), &format!("{path}.spec"), faults);
    }
}

/// The template that pods are made of: each claim is a volume, in the place of another one of its name.
fn with_claims(template: &Value, spec: &Value) -> Value {
    let mut template = template.clone();
    let mut volumes = list(&template, "/spec/volumes").to_vec();
    for claim in list(spec, "/volumeClaimTemplates") {
        let name = text(claim, "/metadata/name");
        // A fault of the name is the claim's.
        if !label(name).is_empty() {
            continue;
        }
        let volume = json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
        match volumes.iter_mut().find(|volume| text(volume, "/name") == name) {
            Some(replaced) => *replaced = volume,
            None => volumes.push(volume),
        }
    }
    if !volumes.is_empty() {
        object(&mut template, "spec")["volumes"] = volumes.into();
    }
    template
}

fn validate_create(set: &Value, faults: &mut Faults) {
    let service = text(set, "/spec/serviceName");
    if !service.is_empty() {
        report(label(service), service, "spec.serviceName", faults);
    }
}

fn validate_strategy(strategy: &Value, faults: &mut Faults) {
    const PATH: &str = "spec.updateStrategy";
    let rolling = at(strategy, "/rollingUpdate");
    match text(strategy, "/type") {
        "" => faults.required(PATH, ""),
        "OnDelete" if !rolling.is_null() => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            faults.invalid(format!("{PATH}.rollingUpdate"), rolling.clone(), detail);
        }
        "OnDelete" => {}
        "RollingUpdate" => {
            workload::not_negative_below(rolling, &format!("{PATH}.rollingUpdate"), "partition", faults);
            let (value, path) = (at(rolling, "/maxUnavailable"), format!("{PATH}.rollingUpdate.maxUnavailable"));
            int_or_percent::validate(value, &path, faults);
            if !value.is_null() && int_or_percent::is_zero(value) {
                faults.invalid(path.as_str(), value.clone(), "cannot be 0");
            }
            int_or_percent::validate_at_most_all(value, &path, faults);
        }
        _ => faults.invalid(PATH, strategy.clone(), "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

const UPDATABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    let mut rest = at(new, "/spec").clone();
    for member in UPDATABLE {
        keep(&mut rest, at(old, "/spec"), member);
    }
    if rest != *at(old, "/spec") {
        let quoted = UPDATABLE.map(|member| format!("'{member}'"));
        let (last, others) = quoted.split_last().expect("there are seven");
        let detail =
            format!("updates to statefulset spec for fields other than {} and {last} are forbidden", others.join(", "));
        faults.forbidden("spec", detail);
    }
}

fn validate_status(new: &Value, old: &Value, faults: &mut Faults) {
    const COUNTS: [&str; 7] = [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ];
    metadata::validate_update(new, old, faults);
    for member in COUNTS {
        workload::not_negative(new, &format!("/status/{member}"), faults);
    }
    workload::not_more_than(new, &["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"], faults);
    let (available, ready) = (int(new, "/status/availableReplicas"), int(new, "/status/readyReplicas"));
    if available > ready {
        faults.invalid("status.availableReplicas", available, "cannot be greater than status.readyReplicas");
    }
    workload::validate_collisions(new, old, faults);
}

/// What does not depend on the template is told with every write, at a path that is misspelled on updates.
fn warnings(set: &Value, old: Option<&Value>) -> Vec<String> {
    let unchanged = old.is_some_and(|old| at(old, "/spec") == at(set, "/spec"));
    let mut out = match unchanged {
        true => Vec::new(),
        false => pod::template_warnings(at(set, "/spec/template"), "spec.template"),
    };
    let spec = if old.is_some() { ".Spec" } else { "" };
    for (index, claim) in list(set, "/spec/volumeClaimTemplates").iter().enumerate() {
        let path = format!("spec.volumeClaimTemplates[{index}]{spec}");
        out.extend(persistentvolumeclaim::spec_warnings(at(claim, "/spec"), &path));
    }
    if int(set, "/spec/revisionHistoryLimit") < 0 {
        let why = "a negative value retains all historical revisions; a value >= 0 is recommended";
        out.push(format!("spec.revisionHistoryLimit: {why}"));
    }
    out
}
