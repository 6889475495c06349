//! How probes have gone, for monitoring. What does not probe any more is not told of.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

use super::{Kind, Outcome};

/// In seconds, as Kubernetes has them.
const DURATIONS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Probed {
    container: String,
    namespace: String,
    pod: String,
    probe_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    container: String,
    namespace: String,
    pod: String,
    pod_uid: String,
    probe_type: &'static str,
    result: &'static str,
}

/// Counts of all probes of this node. Cheap to clone.
#[derive(Clone)]
pub struct Tally {
    answers: Family<Answered, Counter>,
    durations: Family<Probed, Histogram, fn() -> Histogram>,
}

impl Default for Tally {
    fn default() -> Self {
        let durations = Family::new_with_constructor((|| Histogram::new(DURATIONS)) as fn() -> Histogram);
        Tally { answers: Family::default(), durations }
    }
}

impl Tally {
    pub fn register(&self, registry: &mut Registry) {
        let help = "Probes of containers that run, by how they ended";
        registry.register("prober_probe", help, self.answers.clone());
        let help = "Seconds that probes of containers that run took";
        registry.register("prober_probe_duration_seconds", help, self.durations.clone());
    }

    pub fn of(&self, pod: &Pod, container: &str, kind: Kind) -> Count {
        let probed = Probed {
            container: container.to_owned(),
            namespace: pod.namespace().unwrap_or_default(),
            pod: pod.name_any(),
            probe_type: kind.name(),
        };
        Count { tally: self.clone(), probed, pod_uid: pod.uid().unwrap_or_default() }
    }
}

/// Of one probe; it takes its figures with it when it goes.
pub struct Count {
    tally: Tally,
    probed: Probed,
    pod_uid: String,
}

impl Count {
    pub fn note(&self, outcome: &Outcome, took: Duration) {
        let result = match outcome {
            Outcome::Healthy | Outcome::Warning(_) => SUCCESSFUL,
            Outcome::Unhealthy(_) => FAILED,
            Outcome::Error(_) => UNKNOWN,
        };
        self.tally.answers.get_or_create(&self.answered(result)).inc();
        self.tally.durations.get_or_create(&self.probed).observe(took.as_secs_f64());
    }

    fn answered(&self, result: &'static str) -> Answered {
        let Probed { container, namespace, pod, probe_type } = self.probed.clone();
        Answered { container, namespace, pod, pod_uid: self.pod_uid.clone(), probe_type, result }
    }
}

const SUCCESSFUL: &str = "successful";
const FAILED: &str = "failed";
const UNKNOWN: &str = "unknown";

impl Drop for Count {
    fn drop(&mut self) {
        for result in [SUCCESSFUL, FAILED, UNKNOWN] {
            self.tally.answers.remove(&self.answered(result));
        }
        self.tally.durations.remove(&self.probed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kube::core::ObjectMeta;
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn probes_are_counted_until_they_end() {
        let text = |value: &str| Some(value.to_owned());
        let metadata =
            ObjectMeta { namespace: text("n"), name: text("web"), uid: text("uid-1"), ..ObjectMeta::default() };
        let pod = Pod { metadata, ..Pod::default() };
        let tally = Tally::default();
        let told = || {
            let (mut registry, mut text) = (Registry::default(), String::new());
            tally.register(&mut registry);
            encode(&mut text, &registry).unwrap();
            text
        };
        let (ready, alive) = (tally.of(&pod, "app", Kind::Readiness), tally.of(&pod, "app", Kind::Liveness));
        ready.note(&Outcome::Unhealthy("no".into()), Duration::from_millis(20));
        ready.note(&Outcome::Healthy, Duration::from_millis(20));
        alive.note(&Outcome::Error("what".into()), Duration::from_secs(1));
        let counted = |kind: &str, result: &str| {
            format!(
                "prober_probe_total{{container=\"app\",namespace=\"n\",pod=\"web\",pod_uid=\"uid-1\",\
                 probe_type=\"{kind}\",result=\"{result}\"}} 1\n"
            )
        };
        let all = told();
        for (kind, result) in [("Readiness", "failed"), ("Readiness", "successful"), ("Liveness", "unknown")] {
            assert!(all.contains(&counted(kind, result)), "{all}");
        }
        let of_durations = "prober_probe_duration_seconds_bucket{le=\"0.025\",container=\"app\",namespace=\"n\",\
                            pod=\"web\",probe_type=\"Readiness\"} 2\n";
        assert!(all.contains(of_durations), "{all}");
        drop(ready);
        let left = told();
        assert!(!left.contains("Readiness") && left.contains(&counted("Liveness", "unknown")), "{left}");
    }
}
