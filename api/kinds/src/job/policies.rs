//! When a job ends early: by its pods' failures, by enough successes.

use std::collections::BTreeSet;

use kontiki_model::{Fault, FaultKind, Faults};
use serde_json::Value;

use crate::names::{qualified, report};
use crate::tree::{at, int, list, missing, text};
use crate::workload;

const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const PATTERNS_MAX: usize = 20;
const INDEXES_BYTES_MAX: usize = 64 * 1024;
const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: &[&str] = &["In", "NotIn"];
const STATUSES: &[&str] = &["False", "True", "Unknown"];

/// The policies of a job spec that stands at `path`.
pub fn validate(spec: &Value, path: &str, faults: &mut Faults) {
    if !missing(spec, "/podFailurePolicy") {
        validate_failure(spec, &format!("{path}.podFailurePolicy.rules"), faults);
    }
    let success = at(spec, "/successPolicy");
    if !success.is_null() && text(spec, "/completionMode") != "Indexed" {
        faults.invalid(format!("{path}.successPolicy"), success.clone(), "requires indexed completion mode");
    } else if !success.is_null() {
        validate_success(spec, &format!("{path}.successPolicy.rules"), faults);
    }
    let replacement = text(spec, "/podReplacementPolicy");
    let supported: &[&str] =
        if missing(spec, "/podFailurePolicy") { &["Failed", "TerminatingOrFailed"] } else { &["Failed"] };
    if !replacement.is_empty() && !supported.contains(&replacement) {
        faults.not_supported(format!("{path}.podReplacementPolicy"), replacement, supported);
    }
}

/// One of a few words, which must be given.
fn one_of(value: &str, supported: &[&str], path: &str, faults: &mut Faults) {
    if value.is_empty() {
        let quoted: Vec<_> = supported.iter().map(|one| format!("{one:?}")).collect();
        faults.required(path, format!("valid values: [{}]", quoted.join(" ")));
    } else if !supported.contains(&value) {
        faults.not_supported(path, value, supported);
    }
}

fn validate_failure(spec: &Value, path: &str, faults: &mut Faults) {
    let rules = list(spec, "/podFailurePolicy/rules");
    if rules.len() > RULES_MAX {
        faults.too_many(path, rules.len(), RULES_MAX);
    }
    let pod = at(spec, "/template/spec");
    let containers = list(pod, "/containers").iter().chain(list(pod, "/initContainers"));
    let containers: Vec<&str> = containers.map(|one| text(one, "/name")).collect();
    for (index, rule) in rules.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let action = text(rule, "/action");
        if action == "FailIndex" && missing(spec, "/backoffLimitPerIndex") {
            faults.invalid(format!("{path}.action"), action, "requires the backoffLimitPerIndex to be set");
        }
        one_of(action, ACTIONS, &format!("{path}.action"), faults);
        let (codes, patterns) = (at(rule, "/onExitCodes"), list(rule, "/onPodConditions"));
        if !codes.is_null() {
            validate_exit_codes(codes, &containers, &format!("{path}.onExitCodes"), faults);
        }
        validate_patterns(patterns, &format!("{path}.onPodConditions"), faults);
        let wrong = match (codes.is_null(), patterns.is_empty()) {
            (false, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (true, true) => "specifying one of OnExitCodes and OnPodConditions is required",
            (true, false) | (false, true) => continue,
        };
        faults.push(Fault { kind: FaultKind::Invalid, field: path, value: None, detail: wrong.to_owned() });
    }
}

fn validate_exit_codes(codes: &Value, containers: &[&str], path: &str, faults: &mut Faults) {
    one_of(text(codes, "/operator"), OPERATORS, &format!("{path}.operator"), faults);
    if let Some(container) = at(codes, "/containerName").as_str()
        && !containers.contains(&container)
    {
        let detail = "must be one of the container or initContainer names in the pod template";
        faults.invalid(format!("{path}.containerName"), container, detail);
    }
    let path = format!("{path}.values");
    let values: Vec<i64> = list(codes, "/values").iter().filter_map(Value::as_i64).collect();
    if values.is_empty() {
        faults.invalid(path.as_str(), values.clone(), "at least one value is required");
    } else if values.len() > EXIT_CODES_MAX {
        faults.too_many(path.as_str(), values.len(), EXIT_CODES_MAX);
    }
    let mut seen = BTreeSet::new();
    for (index, value) in values.iter().enumerate() {
        if text(codes, "/operator") == "In" && *value == 0 {
            faults.invalid(format!("{path}[{index}]"), 0, "must not be 0 for the In operator");
        }
        if !seen.insert(value) {
            faults.duplicate(format!("{path}[{index}]"), *value);
        }
    }
    if !values.is_sorted() {
        faults.invalid(path, values, "must be ordered");
    }
}

fn validate_patterns(patterns: &[Value], path: &str, faults: &mut Faults) {
    if patterns.len() > PATTERNS_MAX {
        faults.too_many(path, patterns.len(), PATTERNS_MAX);
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let kind = text(pattern, "/type");
        report(qualified(kind), kind, &format!("{path}.type"), faults);
        one_of(text(pattern, "/status"), STATUSES, &format!("{path}.status"), faults);
    }
}

fn validate_success(spec: &Value, path: &str, faults: &mut Faults) {
    let rules = list(spec, "/successPolicy/rules");
    if rules.is_empty() {
        faults.required(path, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > RULES_MAX {
        faults.too_many(path, rules.len(), RULES_MAX);
    }
    let completions = int(spec, "/completions");
    for (index, rule) in rules.iter().enumerate() {
        validate_success_rule(rule, completions, &format!("{path}[{index}]"), faults);
    }
}

fn validate_success_rule(rule: &Value, completions: i64, path: &str, faults: &mut Faults) {
    let (count, indexes) = (at(rule, "/succeededCount").as_i64(), at(rule, "/succeededIndexes").as_str());
    if count.is_none() && indexes.is_none() {
        faults.required(path, "at least one of succeededCount or succeededIndexes must be specified");
    }
    let mut total = 0;
    if let Some(indexes) = indexes {
        let path = format!("{path}.succeededIndexes");
        if indexes.len() > INDEXES_BYTES_MAX {
            faults.too_long(path.as_str(), INDEXES_BYTES_MAX);
        }
        match parse_indexes(indexes, completions) {
            Ok(intervals) => total = intervals.iter().map(|(first, last)| last - first + 1).sum(),
            Err(why) => faults.invalid(path, indexes, format!("error parsing succeededIndexes: {why}")),
        }
    }
    if let Some(count) = count {
        workload::not_negative_below(rule, path, "succeededCount", faults);
        let path = format!("{path}.succeededCount");
        if count > completions {
            let detail = format!("must be less than or equal to {completions} (the number of specified completions)");
            faults.invalid(path.as_str(), count, detail);
        }
        if indexes.is_some() && count > total {
            let detail = format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            );
            faults.invalid(path, count, detail);
        }
    }
}

/// `1,3-5` as intervals: in order, below the number of completions.
pub fn parse_indexes(text: &str, completions: i64) -> Result<Vec<(i64, i64)>, String> {
    let mut intervals: Vec<(i64, i64)> = Vec::new();
    for interval in text.split(',').filter(|_| !text.is_empty()) {
        let (first, last) = parse_interval(interval, completions)?;
        if let Some((_, before)) = intervals.last().filter(|(_, before)| *before >= first) {
            return Err(format!("non-increasing order, previous: {before}, current: {first}"));
        }
        intervals.push((first, last));
    }
    Ok(intervals)
}

fn parse_interval(interval: &str, completions: i64) -> Result<(i64, i64), String> {
    let parts: Vec<&str> = interval.split('-').collect();
    let index = |text: &str| match text.parse::<i64>() {
        Ok(index) if index >= completions => Err(format!("too large index: {text:?}")),
        Ok(index) => Ok(index),
        Err(_) => Err(format!("cannot convert string to integer for index: {text:?}")),
    };
    match parts[..] {
        [one] => index(one).map(|index| (index, index)),
        [first, last] => match (index(first)?, index(last)?) {
            (first, last) if first >= last => Err(format!("non-increasing order, previous: {first}, current: {last}")),
            interval => Ok(interval),
        },
        _ => Err(format!(
            "the fragment {interval:?} violates the requirement that an index interval can have at most two parts separated by '-'"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_read_as_kubernetes_writes_them() {
        assert_eq!(parse_indexes("", 3), Ok(vec![]));
        assert_eq!(parse_indexes("0,2-4,7", 8), Ok(vec![(0, 0), (2, 4), (7, 7)]));
        for (text, why) in [
            ("3", "too large index: \"3\""),
            ("x", "cannot convert string to integer for index: \"x\""),
            ("2-1", "non-increasing order, previous: 2, current: 1"),
            ("1,1", "non-increasing order, previous: 1, current: 1"),
        ] {
            assert_eq!(parse_indexes(text, 3), Err(why.to_owned()));
        }
        assert!(parse_indexes("0-1-2", 3).is_err());
    }
}
