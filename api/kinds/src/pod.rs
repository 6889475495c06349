//! Pod: declaration, lifecycle facts. The pod spec, which workloads embed too, is in the modules below.

mod admission;
mod affinity;
mod annotations;
mod claims;
mod containers;
mod defaults;
mod environment;
mod ephemeral;
mod label_keys;
mod mounts;
mod probes;
mod projection;
mod requirements;
mod resize;
mod resources;
mod restarts;
mod runtime;
mod security;
mod spec;
mod spread;
mod status;
mod table;
mod tolerations;
mod update;
mod usage;
mod volumes;
mod warnings;
mod windows;

use kontiki_model::Faults;
use serde_json::{Value, json};

pub use admission::{TOKEN_MOUNT_PATH, mount_service_account_token};
pub use affinity::node_selector as validate_node_selector;
pub use requirements::overhead as validate_overhead;
pub use resources::{
    QosClass, is_extended as is_extended_resource, is_quota_resource, overcommits, qos_class, quantity,
    round as round_resources, validate_container_resource, validate_quantity, validate_resource,
};
pub use tolerations::validate as validate_tolerations;
pub use usage::{Side, containers as container_resources};
pub use warnings::{
    deprecated_node_label, deprecated_sources, fraction as fraction_warning, name_of_pods as name_warnings,
    node_term as node_term_warnings, template as template_warnings,
};

use crate::podsecurity::PodSecurity;
use crate::tree::{at, flag, list, text};
use crate::{Deletion, Disabled, Field, Kind, Subresource, limitrange, priorityclass};

pub static KIND: Kind = Kind {
    kind: "Pod",
    resource: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    type_name: "core.v1.Pod",
    generation: true,
    subresources: &[
        Subresource::Attach,
        Subresource::Binding,
        Subresource::EphemeralContainers,
        Subresource::Eviction,
        Subresource::Exec,
        Subresource::Log,
        Subresource::PortForward,
        Subresource::PodProxy,
        Subresource::Resize,
        Subresource::Status,
    ],
    status_resets: &[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]],
    deletion: Deletion::Graceful,
    grace_period,
    removable_now: |pod| !is_scheduled(pod) || is_finished(pod),
    delete_returns_object: true,
    fields: FIELDS,
    columns: table::COLUMNS,
    cells: table::cells,
    row_conditions: table::row_conditions,
    default: defaults::pod,
    lookups: admission::lookups,
    admit: admission::PLUGINS,
    disabled: &[Disabled::new("DRANodeAllocatableResources", &[&["status", "nodeAllocatableResourceClaimStatuses"]])],
    prepare_create: |pod| {
        label_keys::merge(pod);
        annotations::confine(pod);
        let class = qos_class(pod).name();
        pod["status"] = json!({"phase": "Pending", "qosClass": class});
        if !list(pod, "/spec/schedulingGates").is_empty() {
            pod["status"]["conditions"] = json!([{
                "type": "PodScheduled",
                "status": "False",
                "lastProbeTime": null,
                "lastTransitionTime": null,
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }]);
        }
    },
    prepare_update: update::prepare,
    prepare_status: status::prepare,
    validate,
    validate_create,
    validate_update: update::validate,
    validate_status: status::validate,
    edits: &[ephemeral::EDIT, resize::EDIT],
    measure: Some(&usage::MEASURE),
    limited: Some(&limitrange::PODS),
    default_class: Some(&priorityclass::DEFAULT),
    warnings: |pod, old| warnings::pod(pod, old),
    // A pod that runs where it runs is not taken from its node.
    restore_keeps: &["/spec/nodeName", "/status"],
    pod_security: Some(PodSecurity::Pod),
    ..Kind::BASE
};

/// What Kubernetes does not take yet in the spec of pods, wherever one stands.
pub const DISABLED: &[Disabled] = &[
    Disabled::new(
        "ClusterTrustBundleProjection",
        &[&["volumes", "*", "projected", "sources", "*", "clusterTrustBundle"]],
    ),
    Disabled::new(
        "ContainerStopSignals",
        &[
            &["containers", "*", "lifecycle", "stopSignal"],
            &["initContainers", "*", "lifecycle", "stopSignal"],
            &["ephemeralContainers", "*", "lifecycle", "stopSignal"],
        ],
    )
    .with_holder(),
    Disabled::new("GenericWorkload", &[&["schedulingGroup"]]),
    Disabled::new("PodCertificateRequest", &[&["volumes", "*", "projected", "sources", "*", "podCertificate"]]),
];

const FIELDS: &[Field] = &[
    Field { path: "spec.nodeName", get: |pod| text(pod, "/spec/nodeName").to_owned() },
    Field { path: "spec.restartPolicy", get: |pod| text(pod, "/spec/restartPolicy").to_owned() },
    Field { path: "spec.schedulerName", get: |pod| text(pod, "/spec/schedulerName").to_owned() },
    Field { path: "spec.serviceAccountName", get: |pod| text(pod, "/spec/serviceAccountName").to_owned() },
    Field { path: "spec.hostNetwork", get: |pod| flag(pod, "/spec/hostNetwork").to_string() },
    Field { path: "status.phase", get: |pod| text(pod, "/status/phase").to_owned() },
    Field { path: "status.podIP", get: |pod| text(pod, "/status/podIP").to_owned() },
    // Kubernetes accepts this one and selects by the empty string.
    Field { path: "status.podIPs", get: |_| String::new() },
    Field { path: "status.nominatedNodeName", get: |pod| text(pod, "/status/nominatedNodeName").to_owned() },
];

/// Seconds between the request to stop and the kill, unless the deletion says otherwise.
pub fn grace_period(pod: &Value) -> i64 {
    match at(pod, "/spec/terminationGracePeriodSeconds").as_i64() {
        // Negative periods were once accepted and mean one second.
        Some(seconds) if seconds < 0 => 1,
        Some(seconds) => seconds,
        None => 30,
    }
}

/// A node has been chosen.
pub fn is_scheduled(pod: &Value) -> bool {
    !text(pod, "/spec/nodeName").is_empty()
}

/// It ran to its end and will not run again.
pub fn is_finished(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// Fills a pod spec, also inside a template.
pub fn default_spec(spec: &mut Value) {
    defaults::spec(spec);
}

/// Checks what a template at `path` says of its pods.
pub fn validate_template(template: &Value, path: &str, faults: &mut Faults) {
    annotations::validate(template, &format!("{path}.annotations"), faults);
    spec::validate(template, spec::Holder::Template, &format!("{path}.spec"), faults);
}

/// Fills the source of a volume, in a Pod or a PersistentVolume, with what depends on nothing else.
pub fn default_volume_source(source: &mut Value) {
    defaults::volume_source(source);
}

/// Warnings about a workload that makes pods of its template.
pub fn workload_warnings(workload: &Value, old: Option<&Value>) -> Vec<String> {
    warnings::workload(workload, old)
}

fn validate(pod: &Value, faults: &mut Faults) {
    annotations::validate(pod, "metadata.annotations", faults);
    spec::validate(pod, spec::Holder::Pod, "spec", faults);
}

/// What only comes later: debugging containers, and the node of a pod that is held back.
fn validate_create(pod: &Value, faults: &mut Faults) {
    if !list(pod, "/spec/ephemeralContainers").is_empty() {
        faults.forbidden("spec.ephemeralContainers", "cannot be set on create");
    }
    if is_scheduled(pod) && !list(pod, "/spec/schedulingGates").is_empty() {
        faults.forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared");
    }
}
