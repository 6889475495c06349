//! Job (batch).

mod policies;
mod spec;
mod status;
mod update;

use chrono::{DateTime, Utc};
use kontiki_model::Faults;
use serde_json::{Value, json};

pub use spec::{default_pattern_status, validate_spec, warnings as spec_warnings};

use crate::age::time;
use crate::column::{self, text_column};
use crate::kind::Orphans;
use crate::names::label;
use crate::podsecurity::PodSecurity;
use crate::tree::{at, count, fill, fill_text, flag, int, keep, list, missing, object, text};
use crate::{Column, Field, Kind, Subresource, human_duration, pod, selector, workload};

pub static KIND: Kind = Kind {
    group: "batch",
    kind: "Job",
    resource: "jobs",
    singular: "job",
    categories: &["all"],
    type_name: "batch.v1.Job",
    generation: true,
    subresources: &[Subresource::Status],
    fields: &[Field { path: "status.successful", get: |job| int(job, "/status/succeeded").to_string() }],
    unknown_field: Some(|field| format!("field label {field:?} not supported for Job")),
    columns: COLUMNS,
    cells,
    default,
    prepare_create,
    prepare_update: |new, old| keep(new, old, "status"),
    validate,
    validate_create,
    validate_update: update::validate,
    validate_status: status::validate,
    warnings,
    orphans: Some(Orphans::Warning(
        "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set \
         propagationPolicy=Orphan to suppress this warning",
    )),
    pod_security: Some(PodSecurity::Template("/spec/template")),
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("Status", 0, "Whether it runs, and how it ended."),
    text_column("Completions", 0, "How many pods succeeded, over how many must."),
    text_column("Duration", 0, "How long it has been running, or ran."),
    column::AGE,
    column::CONTAINERS,
    column::IMAGES,
    column::SELECTOR,
];

/// The labels that tie pods to their job; the last two are from before labels had prefixes.
const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
const OLD_CONTROLLER_UID: &str = "controller-uid";
const OLD_JOB_NAME: &str = "job-name";

/// Whether a condition of the job is true.
fn is(job: &Value, condition: &str) -> bool {
    says(job, condition, "True")
}

/// Whether a condition of the job is false, which is more than that it is not true.
fn is_not(job: &Value, condition: &str) -> bool {
    says(job, condition, "False")
}

fn says(job: &Value, condition: &str, status: &str) -> bool {
    let conditions = list(job, "/status/conditions");
    conditions.iter().any(|one| text(one, "/type") == condition && text(one, "/status") == status)
}

fn is_finished(job: &Value) -> bool {
    is(job, "Complete") || is(job, "Failed")
}

/// Each pod has an index of its own.
fn is_indexed(job: &Value) -> bool {
    text(job, "/spec/completionMode") == "Indexed"
}

fn cells(job: &Value, now: DateTime<Utc>) -> Vec<Value> {
    let (succeeded, parallelism) = (int(job, "/status/succeeded"), int(job, "/spec/parallelism"));
    let completions = match at(job, "/spec/completions").as_i64() {
        Some(wanted) => format!("{succeeded}/{wanted}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    };
    let duration = time(at(job, "/status/startTime")).map(|start| {
        let end = time(at(job, "/status/completionTime")).unwrap_or(now);
        human_duration(end - start)
    });
    let state = match () {
        () if is(job, "Complete") => "Complete",
        () if is(job, "Failed") => "Failed",
        () if !missing(job, "/metadata/deletionTimestamp") => "Terminating",
        () if is(job, "Suspended") => "Suspended",
        () if is(job, "FailureTarget") => "FailureTarget",
        () if is(job, "SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    };
    vec![
        column::name(job),
        state.into(),
        completions.into(),
        duration.unwrap_or_default().into(),
        column::age(job, now),
        column::joined(job, "/spec/template/spec/containers", "/name"),
        column::joined(job, "/spec/template/spec/containers", "/image"),
        selector::to_cell(at(job, "/spec/selector")),
    ]
}

fn default(job: &mut Value) {
    object(job, "status");
    let spec = object(job, "spec");
    if missing(spec, "/completions") && missing(spec, "/parallelism") {
        spec["completions"] = 1.into();
    }
    fill(spec, "parallelism", 1);
    let per_index = !missing(spec, "/backoffLimitPerIndex");
    fill(spec, "backoffLimit", if per_index { i64::from(i32::MAX) } else { 6 });
    fill(spec, "manualSelector", false);
    fill_text(spec, "completionMode", "NonIndexed");
    fill(spec, "suspend", false);
    default_pattern_status(spec);
    let judged = !missing(spec, "/podFailurePolicy");
    fill_text(spec, "podReplacementPolicy", if judged { "Failed" } else { "TerminatingOrFailed" });
    workload::default_template(spec, "template");
    let labels = at(job, "/spec/template/metadata/labels").clone();
    if labels.is_object() && count(job, "/metadata/labels") == 0 {
        object(job, "metadata")["labels"] = labels;
    }
}

fn prepare_create(job: &mut Value) {
    job["status"] = json!({});
    if !flag(job, "/spec/manualSelector") {
        generate_selector(job);
    }
    default(job);
}

/// Pods are selected by the uid of their job, unless its author selects by hand. What the author gave is left for validation.
fn generate_selector(job: &mut Value) {
    let (uid, name) = (text(job, "/metadata/uid").to_owned(), text(job, "/metadata/name").to_owned());
    let spec = object(job, "spec");
    let labels = object(object(object(spec, "template"), "metadata"), "labels");
    for (label, value) in [(JOB_NAME, &name), (OLD_JOB_NAME, &name), (CONTROLLER_UID, &uid), (OLD_CONTROLLER_UID, &uid)]
    {
        fill(labels, label, value.as_str());
    }
    fill(object(object(spec, "selector"), "matchLabels"), CONTROLLER_UID, uid);
}

fn validate(job: &Value, faults: &mut Faults) {
    let spec = at(job, "/spec");
    validate_spec(spec, "spec", faults);
    let chosen = at(spec, "/selector");
    if chosen.is_null() {
        faults.required("spec.selector", "");
    } else {
        selector::validate(chosen, "spec.selector", faults);
    }
    let labels = at(spec, "/template/metadata/labels");
    if chosen.is_null() || !selector::matches(chosen, labels) {
        workload::not_selected(labels, "spec.template", faults);
    }
}

fn validate_create(job: &Value, faults: &mut Faults) {
    validate_generated(job, faults);
    let name = text(job, "/metadata/name");
    let completions = int(job, "/spec/completions");
    if is_indexed(job) && completions > 0 {
        let host = format!("{name}-{}", completions - 1);
        if !label(&host).is_empty() {
            let detail = format!("will not able to create pod with invalid DNS label: {host}");
            faults.invalid("metadata.name", name, detail);
        }
    }
}

/// A selector that is generated must be the one that would be.
fn validate_generated(job: &Value, faults: &mut Faults) {
    let chosen = at(job, "/spec/selector");
    if flag(job, "/spec/manualSelector") || chosen.is_null() {
        return;
    }
    let (uid, name) = (text(job, "/metadata/uid"), text(job, "/metadata/name"));
    let expected = [(OLD_CONTROLLER_UID, uid), (OLD_JOB_NAME, name), (CONTROLLER_UID, uid), (JOB_NAME, name)];
    let labels = at(job, "/spec/template/metadata/labels");
    for (label, value) in expected {
        let path = format!("spec.template.metadata.labels[{label}]");
        match labels.get(label).and_then(Value::as_str) {
            None => faults.required(path, format!("must be '{value}'")),
            Some(given) if given != value => faults.invalid(path, labels.clone(), format!("must be '{value}'")),
            Some(_) => {}
        }
    }
    let expected: serde_json::Map<_, _> =
        expected.into_iter().map(|(label, value)| (label.to_owned(), value.into())).collect();
    if !selector::matches(chosen, &expected.into()) {
        faults.invalid("spec.selector", chosen.clone(), "`selector` not auto-generated");
    }
}

fn warnings(job: &Value, old: Option<&Value>) -> Vec<String> {
    if old.is_some_and(|old| at(old, "/spec") == at(job, "/spec")) {
        return Vec::new();
    }
    let mut out = if old.is_none() { pod::name_warnings(job) } else { Vec::new() };
    out.extend(spec::warnings(at(job, "/spec"), "spec"));
    out
}
