//! What a status of a job may say: whoever runs jobs may not contradict itself, nor take back how one ended.
//!
//! A rule about some members holds for writes that change one of them, so that what older controllers wrote stays writable.

use std::collections::HashSet;

use kontiki_model::{Fault, FaultKind, Faults};
use serde_json::Value;

use super::policies::parse_indexes;
use super::{is, is_finished, is_indexed, is_not};
use crate::age::time;
use crate::metadata;
use crate::tree::{at, flag, int, list, missing, text};
use crate::workload;

pub fn validate(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    for member in ["active", "succeeded", "failed", "ready", "terminating"] {
        workload::not_negative(new, &format!("/status/{member}"), faults);
    }
    uncounted(new, faults);
    let change = Change { new, old };
    conditions(&change, faults);
    times(&change, faults);
    finished(&change, faults);
    indexes(&change, faults);
    counters(&change, faults);
}

struct Change<'a> {
    new: &'a Value,
    old: &'a Value,
}

impl Change<'_> {
    fn member(&self, member: &str) -> bool {
        let pointer = format!("/status/{member}");
        at(self.new, &pointer) != at(self.old, &pointer)
    }

    fn condition(&self, condition: &str) -> bool {
        is(self.new, condition) != is(self.old, condition)
    }

    fn finished(&self) -> bool {
        is_finished(self.new) != is_finished(self.old)
    }
}

/// A fault that shows no value.
fn wrong(field: &str, detail: impl Into<String>, faults: &mut Faults) {
    let field = format!("status.{field}");
    faults.push(Fault { kind: FaultKind::Invalid, field, value: None, detail: detail.into() });
}

fn uncounted(job: &Value, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for member in ["succeeded", "failed"] {
        for (index, uid) in list(job, &format!("/status/uncountedTerminatedPods/{member}")).iter().enumerate() {
            let path = format!("status.uncountedTerminatedPods.{member}[{index}]");
            match uid.as_str().unwrap_or_default() {
                "" => faults.invalid(path, "", "must not be empty"),
                uid if !seen.insert(uid) => faults.duplicate(path, uid),
                _ => {}
            }
        }
    }
}

/// Conditions that exclude each other, those that need another one first, and those that stay.
fn conditions(change: &Change<'_>, faults: &mut Faults) {
    let Change { new, old } = *change;
    let mut tell = |detail: &str| wrong("conditions", detail, faults);
    let complete = change.condition("Complete");
    if is(new, "Complete") && is(new, "Failed") && (complete || change.condition("Failed")) {
        tell("cannot set Complete=True and Failed=true conditions");
    }
    if is(new, "Complete") && is(new, "FailureTarget") && (complete || change.condition("FailureTarget")) {
        tell("cannot set Complete=True and FailureTarget=true conditions");
    }
    if is(new, "Failed")
        && !is(new, "FailureTarget")
        && (change.condition("Failed") || change.condition("FailureTarget"))
    {
        tell("cannot set Failed=True condition without the FailureTarget=true condition");
    }
    if is(new, "Complete") && !is(new, "SuccessCriteriaMet") && (complete || change.condition("SuccessCriteriaMet")) {
        tell("cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
    }
    if is(new, "SuccessCriteriaMet") && is(new, "Failed") {
        tell("cannot set SuccessCriteriaMet=True and Failed=true conditions");
    }
    if is(new, "SuccessCriteriaMet") && is(new, "FailureTarget") {
        tell("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
    }
    if !missing(new, "/spec/successPolicy") && is(new, "Complete") && !is(new, "SuccessCriteriaMet") {
        tell("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True");
    }
    for condition in ["Failed", "Complete", "FailureTarget"].iter().filter(|one| is(old, one) && !is(new, one)) {
        tell(&format!("cannot disable the terminal {condition}=True condition"));
    }
    if is(old, "SuccessCriteriaMet") && !is(new, "SuccessCriteriaMet") {
        tell("cannot disable the SuccessCriteriaMet=True condition");
    }
    if is(old, "Complete") && !is(old, "SuccessCriteriaMet") && is(new, "SuccessCriteriaMet") {
        tell("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions");
    }
}

fn times(change: &Change<'_>, faults: &mut Faults) {
    let Change { new, old } = *change;
    let (start, end) = (at(new, "/status/startTime"), at(new, "/status/completionTime"));
    if change.condition("Complete") || change.member("completionTime") {
        if !end.is_null() && !is(new, "Complete") {
            let detail = "cannot set completionTime when there is no Complete=True condition";
            faults.invalid("status.completionTime", end.clone(), detail);
        }
        if end.is_null() && is(new, "Complete") {
            faults.required("status.completionTime", "completionTime is required for Complete jobs");
        }
    }
    let reversed = time(start).zip(time(end)).is_some_and(|(start, end)| end < start);
    if reversed && (change.member("startTime") || change.member("completionTime")) {
        faults.invalid("status.completionTime", end.clone(), "completionTime cannot be set before startTime");
    }
    if change.member("completionTime") && !end.is_null() && !missing(old, "/status/completionTime") {
        faults.invalid("status.completionTime", end.clone(), "completionTime cannot be mutated");
    }
    let resumes = is(old, "Suspended") && is_not(new, "Suspended");
    if change.member("startTime") && !missing(old, "/status/startTime") && !flag(new, "/spec/suspend") && !resumes {
        faults.required("status.startTime", "startTime cannot be removed for unsuspended job");
    }
    // With nothing to do, it ends without a start.
    let idle = flag(new, "/spec/suspend") && at(new, "/spec/completions") == &Value::from(0);
    if is_finished(new) && start.is_null() && !idle && (change.finished() || change.member("startTime")) {
        faults.required("status.startTime", "startTime is required for finished job");
    }
}

/// A finished job has no pods any more.
fn finished(change: &Change<'_>, faults: &mut Faults) {
    let Change { new, .. } = *change;
    if !is_finished(new) {
        return;
    }
    for member in ["active", "terminating"] {
        let count = int(new, &format!("/status/{member}"));
        if count > 0 && (change.finished() || change.member(member)) {
            faults.invalid(format!("status.{member}"), count, format!("{member}>0 is invalid for finished job"));
        }
    }
    let uncounted = at(new, "/status/uncountedTerminatedPods");
    let some = !list(uncounted, "/succeeded").is_empty() || !list(uncounted, "/failed").is_empty();
    if some && (change.finished() || change.member("uncountedTerminatedPods")) {
        let detail = "uncountedTerminatedPods needs to be empty for finished job";
        faults.invalid("status.uncountedTerminatedPods", uncounted.clone(), detail);
    }
}

fn indexes(change: &Change<'_>, faults: &mut Faults) {
    let Change { new, .. } = *change;
    let (completed, failed) = (text(new, "/status/completedIndexes"), at(new, "/status/failedIndexes").as_str());
    let per_index = !missing(new, "/spec/backoffLimitPerIndex");
    let completions = at(new, "/spec/completions").as_i64();
    let parsed = |text: &str| completions.map_or(Ok(Vec::new()), |completions| parse_indexes(text, completions));
    if change.member("completedIndexes") {
        if let Err(why) = parsed(completed) {
            faults.invalid("status.completedIndexes", completed, format!("error parsing completedIndexes: {why}"));
        }
        if !completed.is_empty() && !is_indexed(new) {
            let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
            faults.invalid("status.completedIndexes", completed, detail);
        }
    }
    let Some(failed) = failed else { return };
    if change.member("failedIndexes") {
        if let (true, Err(why)) = (per_index, parsed(failed)) {
            faults.invalid("status.failedIndexes", failed, format!("error parsing failedIndexes: {why}"));
        }
        if !per_index {
            let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
            faults.invalid("status.failedIndexes", failed, detail);
        }
    }
    if (change.member("failedIndexes") || change.member("completedIndexes"))
        && let (Ok(completed), Ok(broken)) = (parsed(completed), parsed(failed))
        && let Some(index) = overlap(&completed, &broken)
    {
        let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
        faults.invalid("status.failedIndexes", failed, detail);
    }
}

/// The first index that is in both.
fn overlap(one: &[(i64, i64)], other: &[(i64, i64)]) -> Option<i64> {
    let shared = one.iter().flat_map(|(first, last)| {
        other.iter().filter(move |(from, to)| first <= to && from <= last).map(move |(from, _)| *first.max(from))
    });
    shared.min()
}

fn counters(change: &Change<'_>, faults: &mut Faults) {
    let Change { new, old } = *change;
    let count = |job: &Value, member: &str| int(job, &format!("/status/{member}"));
    if count(new, "failed") < count(old, "failed") {
        faults.invalid("status.failed", count(new, "failed"), "cannot decrease the failed counter");
    }
    // A job that may be scaled down loses pods that succeeded.
    let elastic = is_indexed(new) && at(new, "/spec/completions") == at(new, "/spec/parallelism");
    if count(new, "succeeded") < count(old, "succeeded") && !elastic {
        faults.invalid("status.succeeded", count(new, "succeeded"), "cannot decrease the succeeded counter");
    }
    if count(new, "ready") > count(new, "active") && (change.member("ready") || change.member("active")) {
        faults.invalid("status.ready", count(new, "ready"), "cannot set more ready pods than active");
    }
}
