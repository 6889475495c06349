//! Flow schemas and priority levels as the log has them, read; and those that count even where nobody wrote them.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use kontiki_kinds::by_resource;
use serde::Deserialize;
use serde_json::Value;

use super::{queues::Queuing, schema::Schema, shares::Share};
use crate::follow::Followed;

pub(super) const GROUP: &str = "flowcontrol.apiserver.k8s.io";
pub(super) const SCHEMAS: &str = "flowschemas";
pub(super) const LEVELS: &str = "prioritylevelconfigurations";
/// What every request matches that nothing else does.
pub(super) const CATCH_ALL: &str = "catch-all";
const MANDATORY: [&str; 2] = ["exempt", CATCH_ALL];
/// As [`Followed::resources`] has them.
const SCHEMA: usize = 0;

/// A priority level as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LevelSpec {
    pub name: String,
    pub uid: String,
    /// Its requests are counted, and nothing more.
    pub exempt: bool,
    pub share: Share,
    /// Absent: who finds no seat is refused.
    pub queuing: Option<Queuing>,
}

#[derive(Default)]
pub(super) struct Objects {
    schemas: BTreeMap<String, Arc<Schema>>,
    levels: BTreeMap<String, LevelSpec>,
    /// Rises with each change.
    pub version: u64,
}

impl Followed for Objects {
    fn resources() -> Vec<String> {
        [SCHEMAS, LEVELS].map(|resource| format!("{resource}.{GROUP}")).into()
    }

    fn set(&mut self, resource: usize, _: &str, name: &str, object: Option<&Value>) {
        self.version += 1;
        match resource {
            SCHEMA => put(&mut self.schemas, name, object, |object| Schema::read(object).map(Arc::new)),
            _ => put(&mut self.levels, name, object, LevelSpec::read),
        }
    }

    fn clear(&mut self, resource: usize) {
        self.version += 1;
        match resource {
            SCHEMA => self.schemas.clear(),
            _ => self.levels.clear(),
        }
    }
}

impl Objects {
    /// All schemas in the order in which they are asked; the mandatory ones in any case.
    pub fn schemas(&self) -> Vec<Arc<Schema>> {
        let mandatory = MANDATORY_OBJECTS.schemas.iter().filter(|(name, _)| !self.schemas.contains_key(*name));
        let mut all: Vec<_> = self.schemas.iter().chain(mandatory).map(|(_, schema)| schema.clone()).collect();
        all.sort_by(|one, other| {
            let key = |schema: &Arc<Schema>| (schema.spec.matching_precedence, schema.metadata.name.clone());
            key(one).cmp(&key(other))
        });
        all
    }

    pub fn levels(&self) -> Vec<LevelSpec> {
        let mandatory = MANDATORY_OBJECTS.levels.iter().filter(|(name, _)| !self.levels.contains_key(*name));
        self.levels.iter().chain(mandatory).map(|(_, level)| level.clone()).collect()
    }
}

/// What is validated when it is written can be read; were it not, it would count as absent.
fn put<T>(
    all: &mut BTreeMap<String, T>,
    name: &str,
    object: Option<&Value>,
    read: impl FnOnce(&Value) -> Result<T, serde_json::Error>,
) {
    match object.map(read) {
        Some(Ok(one)) => drop(all.insert(name.to_owned(), one)),
        Some(Err(error)) => {
            tracing::error!(name, %error, "an object of flow control cannot be read: it counts as absent");
            all.remove(name);
        }
        None => drop(all.remove(name)),
    }
}

/// Without an administrator's word on how much the exempt level lends.
static MANDATORY_OBJECTS: LazyLock<Objects> = LazyLock::new(|| {
    let mut objects = Objects::default();
    for (index, resource) in [SCHEMAS, LEVELS].into_iter().enumerate() {
        let initial = by_resource(GROUP, "v1", resource).map(|kind| (kind.initial)()).unwrap_or_default();
        for object in initial {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            if MANDATORY.contains(&name) {
                objects.set(index, "", name, Some(&object));
            }
        }
    }
    objects
});

#[derive(Deserialize)]
struct Level {
    metadata: super::schema::Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(rename = "type")]
    kind: String,
    limited: Option<Part>,
    exempt: Option<Part>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    nominal_concurrency_shares: Option<u32>,
    lendable_percent: Option<u32>,
    borrowing_limit_percent: Option<u32>,
    limit_response: Option<Response>,
}

#[derive(Deserialize)]
struct Response {
    queuing: Option<QueuingSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueuingSpec {
    queues: u32,
    hand_size: u32,
    queue_length_limit: usize,
}

impl LevelSpec {
    fn read(object: &Value) -> Result<Self, serde_json::Error> {
        let Level { metadata, spec: Spec { kind, limited, exempt } } = Level::deserialize(object)?;
        let is_exempt = kind == "Exempt";
        let part = if is_exempt { exempt } else { limited };
        let number = |value: Option<u32>| value.unwrap_or_default();
        let share = part.as_ref().map_or_else(Share::default, |part| Share {
            shares: number(part.nominal_concurrency_shares),
            lendable_percent: number(part.lendable_percent),
            borrowing_limit_percent: part.borrowing_limit_percent,
        });
        let queuing = part.and_then(|part| part.limit_response?.queuing);
        let queuing = queuing.map(|QueuingSpec { queues, hand_size, queue_length_limit }| Queuing {
            queues,
            hand: hand_size,
            length: queue_length_limit,
        });
        Ok(LevelSpec { name: metadata.name, uid: metadata.uid, exempt: is_exempt, share, queuing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_cluster_has_is_read_and_ordered() {
        let mut objects = Objects::default();
        let names = |objects: &Objects| -> Vec<_> {
            let schemas = objects.schemas();
            schemas.iter().map(|schema| schema.metadata.name.clone()).collect()
        };
        assert_eq!(names(&objects), ["exempt", "catch-all"]);
        for (index, resource) in [SCHEMAS, LEVELS].into_iter().enumerate() {
            for object in (by_resource(GROUP, "v1", resource).expect("it is in the list").initial)() {
                objects.set(index, "", object["metadata"]["name"].as_str().unwrap_or_default(), Some(&object));
            }
        }
        let expected = [
            "exempt",
            "probes",
            "system-leader-election",
            "endpoint-controller",
            "workload-leader-election",
            "system-node-high",
            "system-nodes",
            "kube-controller-manager",
            "kube-scheduler",
            "kube-system-service-accounts",
            "service-accounts",
            "global-default",
            "catch-all",
        ];
        assert_eq!(names(&objects), expected);
        let levels = objects.levels();
        let level = |name: &str| levels.iter().find(|level| level.name == name).expect("it is in the list");
        assert_eq!((level("exempt").exempt, level("exempt").share), (true, Share::default()));
        assert_eq!((level("catch-all").queuing, level("catch-all").share.shares), (None, 5));
        let system = level("system");
        assert_eq!(system.share, Share { shares: 30, lendable_percent: 33, borrowing_limit_percent: None });
        assert_eq!(system.queuing, Some(Queuing { queues: 64, hand: 6, length: 50 }));
        let version = objects.version;
        objects.set(SCHEMA, "", "catch-all", None);
        objects.set(SCHEMA, "", "probes", None);
        assert_eq!(names(&objects).len(), expected.len() - 1, "the mandatory ones count without being written");
        assert!(objects.version > version);
    }
}
