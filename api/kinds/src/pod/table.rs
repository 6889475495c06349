//! How a Pod reads in one line: `kubectl get pods`.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::Column;
use crate::age::{age, time};
use crate::column::{self, text_column};
use crate::tree::{at, flag, int, list, missing, text, text_or};

pub const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("Ready", 0, "Ready containers over all containers."),
    text_column("Status", 0, "The phase, or why it is not what it seems."),
    text_column("Restarts", 0, "How often containers were restarted, and when last."),
    column::AGE,
    text_column("IP", 1, "Address of the pod."),
    text_column("Node", 1, "The node the pod is bound to."),
    text_column("Nominated Node", 1, "The node that is being cleared for the pod."),
    text_column("Readiness Gates", 1, "Readiness gates that are met over all of them."),
];

pub fn cells(pod: &Value, now: DateTime<Utc>) -> Vec<Value> {
    let summary = Summary::of(pod);
    let restarts = match summary.last_restart {
        Some(last) if summary.restarts != 0 => {
            format!("{} ({} ago)", summary.restarts, crate::human_duration(now - last))
        }
        _ => summary.restarts.to_string(),
    };
    let first_ip = list(pod, "/status/podIPs").first().map_or("", |one| text(one, "/ip"));
    vec![
        column::name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        age(at(pod, "/metadata/creationTimestamp"), now).into(),
        column::or(first_ip, "<none>"),
        column::or(text(pod, "/spec/nodeName"), "<none>"),
        column::or(text(pod, "/status/nominatedNodeName"), "<none>"),
        readiness_gates(pod).into(),
    ]
}

/// Rows of finished pods carry a condition.
pub fn row_conditions(pod: &Value) -> Vec<Value> {
    let (reason, message) = match text(pod, "/status/phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return Vec::new(),
    };
    vec![json!({"type": "Completed", "status": "True", "reason": reason, "message": message})]
}

fn readiness_gates(pod: &Value) -> String {
    let gates = list(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let met =
        |gate: &&Value| condition(pod, text(gate, "/conditionType")).is_some_and(|one| text(one, "/status") == "True");
    format!("{}/{}", gates.iter().filter(met).count(), gates.len())
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    list(pod, "/status/conditions").iter().find(|one| text(one, "/type") == kind)
}

fn is_true(pod: &Value, kind: &str) -> bool {
    condition(pod, kind).is_some_and(|one| text(one, "/status") == "True")
}

#[derive(Default)]
struct Summary {
    total: usize,
    ready: usize,
    restarts: i64,
    last_restart: Option<DateTime<Utc>>,
    reason: String,
}

impl Summary {
    /// As Kubernetes' `printPod`.
    fn of(pod: &Value) -> Summary {
        let mut summary = Summary {
            total: list(pod, "/spec/containers").len() + sidecars(pod).count(),
            reason: text_or(pod, "/status/reason", text(pod, "/status/phase")).to_owned(),
            ..Summary::default()
        };
        if condition(pod, "PodScheduled").is_some_and(|one| text(one, "/reason") == "SchedulingGated") {
            summary.reason = "SchedulingGated".to_owned();
        }
        let mut of_sidecars = Summary::default();
        let initializing = summary.init_containers(pod, &mut of_sidecars);
        if !initializing || is_true(pod, "Initialized") {
            summary.restarts = of_sidecars.restarts;
            summary.last_restart = of_sidecars.last_restart;
            summary.containers(pod);
        }
        if !missing(pod, "/metadata/deletionTimestamp") {
            if text(pod, "/status/reason") == "NodeLost" {
                summary.reason = "Unknown".to_owned();
            } else if !super::is_finished(pod) {
                summary.reason = "Terminating".to_owned();
            }
        }
        summary
    }

    /// Counts init containers up to the first that has not succeeded, which gives the reason. True if there is one.
    fn init_containers(&mut self, pod: &Value, of_sidecars: &mut Summary) -> bool {
        for (index, status) in list(pod, "/status/initContainerStatuses").iter().enumerate() {
            let sidecar = sidecars(pod).any(|one| text(one, "/name") == text(status, "/name"));
            self.count_restarts(status);
            if sidecar {
                of_sidecars.count_restarts(status);
            }
            let (ended, waiting) = (at(status, "/state/terminated"), text(status, "/state/waiting/reason"));
            if !ended.is_null() && int(ended, "/exitCode") == 0 {
                continue;
            }
            if sidecar && flag(status, "/started") {
                self.ready += usize::from(flag(status, "/ready"));
                continue;
            }
            self.reason = if !ended.is_null() {
                format!("Init:{}", how_it_ended(ended))
            } else if !waiting.is_empty() && waiting != "PodInitializing" {
                format!("Init:{waiting}")
            } else {
                format!("Init:{index}/{}", list(pod, "/spec/initContainers").len())
            };
            return true;
        }
        false
    }

    /// Counts the containers; the first that is not running gives the reason.
    fn containers(&mut self, pod: &Value) {
        let mut running = false;
        for status in list(pod, "/status/containerStatuses").iter().rev() {
            self.count_restarts(status);
            let (ended, waiting) = (at(status, "/state/terminated"), text(status, "/state/waiting/reason"));
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if !ended.is_null() {
                self.reason = how_it_ended(ended);
            } else if flag(status, "/ready") && !missing(status, "/state/running") {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            self.reason = if is_true(pod, "Ready") { "Running" } else { "NotReady" }.to_owned();
        }
    }

    fn count_restarts(&mut self, status: &Value) {
        self.restarts += int(status, "/restartCount");
        self.last_restart = self.last_restart.max(time(at(status, "/lastState/terminated/finishedAt")));
    }
}

fn sidecars(pod: &Value) -> impl Iterator<Item = &Value> {
    list(pod, "/spec/initContainers").iter().filter(|one| text(one, "/restartPolicy") == "Always")
}

fn how_it_ended(ended: &Value) -> String {
    match (text(ended, "/reason"), int(ended, "/signal")) {
        ("", 0) => format!("ExitCode:{}", int(ended, "/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}
