//! Jobs and CronJobs.

use serde_json::{Value, json};

use super::{check_creates, check_updates, merge, stored, update, update_status};

fn job(spec: Value) -> Value {
    let mut object = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"uid": "u"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}}},
    });
    merge(&mut object["spec"], &spec);
    object
}

fn indexed(spec: Value) -> Value {
    let mut object = job(json!({"completionMode": "Indexed", "completions": 3}));
    merge(&mut object["spec"], &spec);
    object
}

fn cron(spec: Value) -> Value {
    let mut object = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {},
        "spec": {"schedule": "@daily", "jobTemplate": {"spec": job(json!({}))["spec"].take()}},
    });
    merge(&mut object["spec"], &spec);
    object
}

#[test]
fn jobs_are_checked() {
    let restarts = |policy: &str| job(json!({"template": {"spec": {"restartPolicy": policy}}}));
    check_creates(vec![
        (job(json!({})), &[]),
        (
            restarts("Always"),
            &["spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""],
        ),
        (restarts("OnFailure"), &[]),
        (job(json!({"parallelism": -1})), &["spec.parallelism: Invalid value: -1: must be greater than or equal to 0"]),
        (
            job(json!({"selector": {"matchLabels": {"a": "b"}}})),
            &[
                "spec.template.metadata.labels: Invalid value: {\"batch.kubernetes.io/controller-uid\":\"u\",\
                 \"batch.kubernetes.io/job-name\":\"x\",\"controller-uid\":\"u\",\"job-name\":\"x\"}: `selector` does not match template `labels`",
                "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\",\"batch.kubernetes.io/controller-uid\":\"u\"}}: `selector` not \
                 auto-generated",
            ],
        ),
        (
            job(json!({"template": {"metadata": {"labels": {"job-name": "other"}}}})),
            &["spec.template.metadata.labels[job-name]: Invalid value: {\"batch.kubernetes.io/controller-uid\":\"u\",\
                 \"batch.kubernetes.io/job-name\":\"x\",\"controller-uid\":\"u\",\"job-name\":\"other\"}: must be 'x'"],
        ),
        (
            job(json!({"manualSelector": true})),
            &[
                "spec.selector: Required value",
                "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`",
            ],
        ),
        (
            job(json!({"backoffLimitPerIndex": 1})),
            &["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"],
        ),
        (
            job(json!({"managedBy": "me"})),
            &["spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path (such as \"acme.io/foo\")"],
        ),
        (
            job(json!({"completionMode": "Sorted"})),
            &["spec.completionMode: Unsupported value: \"Sorted\": supported values: \"NonIndexed\", \"Indexed\""],
        ),
        (
            indexed(json!({"completions": null, "parallelism": 100_001})),
            &[
                "spec.completions: Required value: when completion mode is Indexed",
                "spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed",
            ],
        ),
        (
            indexed(json!({"maxFailedIndexes": 4})),
            &[
                "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
                "spec.maxFailedIndexes: Invalid value: 4: must be less than or equal to completions",
            ],
        ),
        (
            job(json!({"podReplacementPolicy": "Soon"})),
            &[
                "spec.podReplacementPolicy: Unsupported value: \"Soon\": supported values: \"Failed\", \"TerminatingOrFailed\"",
            ],
        ),
    ]);
}

#[test]
fn policies_of_jobs_are_checked() {
    let failure = |rule: Value| job(json!({"podFailurePolicy": {"rules": [rule]}}));
    let success = |rules: Value| indexed(json!({"successPolicy": {"rules": rules}}));
    let codes = |codes: Value| failure(json!({"action": "Ignore", "onExitCodes": codes}));
    check_creates(vec![
        (failure(json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]})), &[]),
        (
            failure(json!({"action": "Retry"})),
            &[
                "spec.podFailurePolicy.rules[0].action: Unsupported value: \"Retry\": supported values: \"Count\", \"FailIndex\", \"FailJob\", \
                 \"Ignore\"",
                "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
            ],
        ),
        (
            failure(json!({"action": "FailIndex", "onPodConditions": [{"type": "x"}]})),
            &[
                "spec.podFailurePolicy.rules[0].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set",
            ],
        ),
        (
            codes(json!({"operator": "In", "containerName": "d", "values": [2, 0, 2]})),
            &[
                "spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: \"d\": must be one of the container or initContainer \
                 names in the pod template",
                "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
                "spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate value: 2",
                "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [2,0,2]: must be ordered",
            ],
        ),
        (
            codes(json!({"operator": "", "values": []})),
            &[
                "spec.podFailurePolicy.rules[0].onExitCodes.operator: Required value: valid values: [\"In\" \"NotIn\"]",
                "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: []: at least one value is required",
            ],
        ),
        (success(json!([{"succeededIndexes": "0,2", "succeededCount": 1}])), &[]),
        (
            success(json!([])),
            &[
                "spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified",
            ],
        ),
        (
            success(json!([{}, {"succeededIndexes": "0-3"}, {"succeededCount": 4}])),
            &[
                "spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified",
                "spec.successPolicy.rules[1].succeededIndexes: Invalid value: \"0-3\": error parsing succeededIndexes: too large index: \"3\"",
                "spec.successPolicy.rules[2].succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of specified \
                 completions)",
            ],
        ),
    ]);
}

#[test]
fn little_of_a_job_may_change() {
    let immutable =
        |member: &str, value: &str| vec![format!("spec.{member}: Invalid value: {value}: field is immutable")];
    let old = stored(job(json!({})));
    assert_eq!(update(&old, &json!({"spec": {"parallelism": 5, "suspend": true}})).1, Vec::<String>::new());
    assert_eq!(update(&old, &json!({"spec": {"completions": 5}})).1, immutable("completions", "5"));
    assert_eq!(update(&old, &json!({"spec": {"managedBy": "a.b/c"}})).1, immutable("managedBy", "\"a.b/c\""));
    let node = json!({"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}});
    assert!(update(&old, &node).1[0].ends_with("field is immutable"));
    // Before it ever ran, its pods may be sent elsewhere.
    let suspended = stored(job(json!({"suspend": true})));
    assert_eq!(update(&suspended, &node).1, Vec::<String>::new());
    let affinity = json!({"spec": {"template": {"spec": {"affinity": {"nodeAffinity": {}}}}}});
    let (with, faults) = update(&suspended, &affinity);
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(update(&with, &json!({"spec": {"template": {"spec": {"affinity": null}}}})).1, Vec::<String>::new());
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i:2"}]}}}});
    assert!(update(&suspended, &image).1[0].starts_with("spec.template.spec: Invalid value"));
    assert!(update(&old, &image).1[0].starts_with("spec.template: Invalid value"));
    let sized = json!({"name": "c", "image": "i:1", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "4"}}});
    let larger = |containers: Value| json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let with = |status: Value| {
        let mut job = suspended.clone();
        job["status"] = status;
        job
    };
    let (start, marked) = (json!("2026-01-01T00:00:00Z"), json!([{"type": "Suspended", "status": "True"}]));
    let stopping = with(json!({"startTime": start}));
    let draining = with(json!({"startTime": start, "active": 1, "conditions": marked}));
    let drained = with(json!({"startTime": start, "conditions": marked}));
    let odd = with(json!({"active": 1}));
    let labelled = json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}});
    let cases = [
        (&suspended, larger(json!([sized.clone()])), true),
        (&stopping, larger(json!([sized.clone()])), false),
        (&draining, larger(json!([sized.clone()])), false),
        (&drained, larger(json!([sized.clone()])), true),
        (&odd, larger(json!([sized.clone()])), false),
        (&suspended, larger(json!([sized.clone(), {"name": "d", "image": "i:1"}])), false),
        (&old, larger(json!([sized])), false),
        (&stopping, node.clone(), false),
        (&draining, node.clone(), false),
        (&drained, node.clone(), true),
        (&odd, node, true),
        (&stopping, labelled.clone(), false),
        (&drained, labelled, true),
    ];
    for (old, patch, allowed) in cases {
        assert_eq!(update(old, &patch).1.is_empty(), allowed, "{patch} {}", old["status"]);
    }
    let elastic = stored(indexed(json!({"parallelism": 3})));
    assert_eq!(update(&elastic, &json!({"spec": {"parallelism": 5, "completions": 5}})).1, Vec::<String>::new());
    assert_eq!(
        update(&elastic, &json!({"spec": {"completions": 5}})).1,
        ["spec.completions: Invalid value: 5: can only be modified in tandem with spec.parallelism"]
    );
}

#[test]
fn how_a_job_ended_is_told_once() {
    let condition = |kind: &str| json!({"type": kind, "status": "True"});
    let old = stored(job(json!({})));
    let ended = json!({"status": {
        "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:01:00Z", "succeeded": 1,
        "conditions": [condition("SuccessCriteriaMet"), condition("Complete")],
    }});
    let (complete, faults) = update_status(&old, &ended);
    assert_eq!(faults, Vec::<String>::new());
    let suspended = |status: &str, start: &str| json!({"startTime": start, "conditions": [{"type": "Suspended", "status": status}]});
    let mut resumed = old.clone();
    resumed["status"] = suspended("True", "2026-01-01T00:00:00Z");
    let idle = stored(job(json!({"suspend": true, "completions": 0})));
    let done = json!({
        "completionTime": "2026-01-01T00:01:00Z",
        "conditions": [condition("SuccessCriteriaMet"), condition("Complete")],
    });
    let cases: &[(&Value, Value, &[&str])] = &[
        (&resumed, suspended("False", "2026-01-01T00:02:00Z"), &[]),
        (
            &resumed,
            json!({"startTime": "2026-01-01T00:02:00Z", "conditions": []}),
            &["status.startTime: Required value: startTime cannot be removed for unsuspended job"],
        ),
        (&idle, done.clone(), &[]),
        (&old, done, &["status.startTime: Required value: startTime is required for finished job"]),
        (
            &old,
            json!({"conditions": [condition("Complete")]}),
            &[
                "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
                "status.completionTime: Required value: completionTime is required for Complete jobs",
                "status.startTime: Required value: startTime is required for finished job",
            ],
        ),
        (
            &old,
            json!({"startTime": "2026-01-01T00:00:00Z", "active": 1, "conditions": [condition("FailureTarget"), condition("Failed")]}),
            &["status.active: Invalid value: 1: active>0 is invalid for finished job"],
        ),
        (
            &old,
            json!({"ready": 2, "active": 1}),
            &["status.ready: Invalid value: 2: cannot set more ready pods than active"],
        ),
        (
            &old,
            json!({"completedIndexes": "0"}),
            &[
                "status.completedIndexes: Invalid value: \"0\": cannot set non-empty completedIndexes when non-indexed completion mode",
            ],
        ),
        (
            &old,
            json!({"uncountedTerminatedPods": {"succeeded": ["a", ""], "failed": ["a"]}}),
            &[
                "status.uncountedTerminatedPods.succeeded[1]: Invalid value: \"\": must not be empty",
                "status.uncountedTerminatedPods.failed[0]: Duplicate value: \"a\"",
            ],
        ),
        (
            &complete,
            json!({"completionTime": "2026-01-01T00:02:00Z", "succeeded": 0}),
            &[
                "status.completionTime: Invalid value: \"2026-01-01T00:02:00Z\": completionTime cannot be mutated",
                "status.succeeded: Invalid value: 0: cannot decrease the succeeded counter",
            ],
        ),
        (
            &complete,
            json!({"conditions": [condition("SuccessCriteriaMet")], "completionTime": null}),
            &["status.conditions: Invalid value: cannot disable the terminal Complete=True condition"],
        ),
    ];
    for (old, status, expected) in cases {
        assert_eq!(update_status(old, &json!({"status": status})).1, *expected, "{status}");
    }
}

#[test]
fn cron_jobs_are_checked() {
    let mut long = cron(json!({}));
    long["metadata"]["name"] = json!("a".repeat(53));
    assert_eq!(
        super::create(long),
        [format!("metadata.name: Invalid value: \"{}\": must be no more than 52 characters", "a".repeat(53))]
    );
    check_creates(vec![
        (cron(json!({"timeZone": "Europe/Berlin"})), &[]),
        (cron(json!({"schedule": ""})), &["spec.schedule: Required value"]),
        (
            cron(json!({"schedule": "* * *"})),
            &["spec.schedule: Invalid value: \"* * *\": expected exactly 5 fields, found 3: [* * *]"],
        ),
        (
            cron(json!({"schedule": "TZ=UTC 0 0 * * *"})),
            &[
                "spec.schedule: Invalid value: \"TZ=UTC 0 0 * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            ],
        ),
        (
            cron(json!({"timeZone": ""})),
            &["spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string"],
        ),
        (
            cron(json!({"timeZone": "Nowhere"})),
            &["spec.timeZone: Invalid value: \"Nowhere\": unknown time zone Nowhere"],
        ),
        (
            cron(json!({"timeZone": "Local"})),
            &["spec.timeZone: Invalid value: \"Local\": timeZone must be an explicit time zone as defined in \
                 https://www.iana.org/time-zones"],
        ),
        (
            cron(json!({"concurrencyPolicy": "Never", "failedJobsHistoryLimit": -1})),
            &[
                "spec.failedJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
                "spec.concurrencyPolicy: Unsupported value: \"Never\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
            ],
        ),
        (
            cron(json!({"jobTemplate": {"spec": {"manualSelector": true, "selector": {}}}})),
            &[
                "spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated",
                "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
            ],
        ),
    ]);
    check_updates(
        cron(json!({})),
        vec![
            (json!({"spec": {"schedule": "@hourly", "suspend": true}}), &[]),
            (
                json!({"spec": {"schedule": "TZ=UTC @daily"}}),
                &[
                    "spec.schedule: Invalid value: \"TZ=UTC @daily\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
                ],
            ),
        ],
    );
}
