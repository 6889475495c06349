//! CronJob (batch).

mod schedule;

use kontiki_model::Faults;
use kontiki_schema::ids;
use serde_json::{Value, json};

use crate::age::age;
use crate::column::{self, number_column, text_column};
use crate::podsecurity::PodSecurity;
use crate::tree::{at, fill, fill_text, flag, keep, list, missing, object, text};
use crate::{Column, Kind, Subresource, fields, job, metadata, pod, selector, workload};

pub static KIND: Kind = Kind {
    group: "batch",
    kind: "CronJob",
    resource: "cronjobs",
    singular: "cronjob",
    short_names: &["cj"],
    categories: &["all"],
    type_name: "batch.v1.CronJob",
    generation: true,
    subresources: &[Subresource::Status],
    columns: COLUMNS,
    cells: |cron, now| {
        let suspended = match at(cron, "/spec/suspend").as_bool() {
            None => "<unset>",
            Some(true) => "True",
            Some(false) => "False",
        };
        let last = match at(cron, "/status/lastScheduleTime") {
            Value::Null => "<none>".to_owned(),
            time => age(time, now),
        };
        vec![
            column::name(cron),
            text(cron, "/spec/schedule").into(),
            column::or(text(cron, "/spec/timeZone"), "<none>"),
            suspended.into(),
            list(cron, "/status/active").len().into(),
            last.into(),
            column::age(cron, now),
            column::joined(cron, "/spec/jobTemplate/spec/template/spec/containers", "/name"),
            column::joined(cron, "/spec/jobTemplate/spec/template/spec/containers", "/image"),
            selector::to_cell(at(cron, "/spec/jobTemplate/spec/selector")),
        ]
    },
    default,
    prepare_create: |cron| cron["status"] = json!({}),
    prepare_update: |new, old| keep(new, old, "status"),
    validate,
    validate_create,
    validate_update,
    validate_status: |new, old, faults| metadata::validate_update(new, old, faults),
    warnings,
    pod_security: Some(PodSecurity::Template("/spec/jobTemplate/spec/template")),
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("Schedule", 0, "When it makes jobs."),
    text_column("Timezone", 0, "The time zone of the schedule."),
    Column { r#type: "boolean", ..text_column("Suspend", 0, "Whether it makes no more jobs for now.") },
    number_column("Active", "How many of its jobs run."),
    text_column("Last Schedule", 0, "Time since it last made a job."),
    column::AGE,
    column::CONTAINERS,
    column::IMAGES,
    column::SELECTOR,
];

/// Jobs get the time they were made for appended to their name.
const NAME_LENGTH_MAX: usize = 52;

fn default(cron: &mut Value) {
    object(cron, "status");
    let spec = object(cron, "spec");
    fill_text(spec, "concurrencyPolicy", "Allow");
    fill(spec, "suspend", false);
    fill(spec, "successfulJobsHistoryLimit", 3);
    fill(spec, "failedJobsHistoryLimit", 1);
    let template = object(spec, "jobTemplate");
    object(template, "metadata");
    let job = object(template, "spec");
    workload::default_template(job, "template");
    job::default_pattern_status(job);
}

fn validate(cron: &Value, faults: &mut Faults) {
    const TEMPLATE: &str = "spec.jobTemplate.spec";
    let spec = at(cron, "/spec");
    for member in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        workload::not_negative_below(spec, "spec", member, faults);
    }
    match text(spec, "/concurrencyPolicy") {
        "" => faults.required("spec.concurrencyPolicy", ""),
        other => {
            let field = (ids::BATCH_V1_CRONJOBSPEC, "concurrencyPolicy");
            fields::known(other, field, "spec.concurrencyPolicy", faults);
        }
    }
    let job = at(spec, "/jobTemplate/spec");
    job::validate_spec(job, TEMPLATE, faults);
    if !missing(job, "/selector") {
        let detail = "`selector` will be auto-generated";
        faults.invalid(format!("{TEMPLATE}.selector"), at(job, "/selector").clone(), detail);
    }
    if flag(job, "/manualSelector") {
        faults.not_supported(format!("{TEMPLATE}.manualSelector"), true, &["nil", "false"]);
    }
}

fn validate_create(cron: &Value, faults: &mut Faults) {
    let name = text(cron, "/metadata/name");
    if name.len() > NAME_LENGTH_MAX {
        let detail = format!("must be no more than {NAME_LENGTH_MAX} characters");
        faults.invalid("metadata.name", name, detail);
    }
    validate_schedule(cron, false, faults);
    validate_time_zone(cron, faults);
}

/// A zone within the schedule was tolerated once; where it is, it may stay.
fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    validate_schedule(new, text(old, "/spec/schedule").contains("TZ"), faults);
    if at(new, "/spec/timeZone") != at(old, "/spec/timeZone") {
        validate_time_zone(new, faults);
    }
}

fn validate_schedule(cron: &Value, zone_tolerated: bool, faults: &mut Faults) {
    const PATH: &str = "spec.schedule";
    let schedule = text(cron, "/spec/schedule");
    if schedule.is_empty() {
        faults.required(PATH, "");
        return;
    }
    if let Err(why) = schedule::check(schedule) {
        faults.invalid(PATH, schedule, why);
    }
    if schedule.contains("TZ") && !zone_tolerated {
        faults.invalid(PATH, schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    } else if schedule.contains("TZ") && !missing(cron, "/spec/timeZone") {
        faults.invalid(PATH, schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
    }
}

fn validate_time_zone(cron: &Value, faults: &mut Faults) {
    let wrong = match at(cron, "/spec/timeZone").as_str() {
        None => return,
        Some("") => "timeZone must be nil or non-empty string".to_owned(),
        Some(zone) if zone.eq_ignore_ascii_case("local") => {
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones".to_owned()
        }
        Some(zone) => match schedule::check_zone(zone) {
            Ok(()) => return,
            Err(why) => why,
        },
    };
    faults.invalid("spec.timeZone", at(cron, "/spec/timeZone").clone(), wrong);
}

fn warnings(cron: &Value, old: Option<&Value>) -> Vec<String> {
    if old.is_some_and(|old| at(old, "/spec") == at(cron, "/spec")) {
        return Vec::new();
    }
    let mut out = if old.is_none() { pod::name_warnings(cron) } else { Vec::new() };
    out.extend(job::spec_warnings(at(cron, "/spec/jobTemplate/spec"), "spec.jobTemplate.spec"));
    out
}
