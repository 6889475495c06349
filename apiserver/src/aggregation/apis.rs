//! The APIServices at one moment, and what the servers behind them say: a value, as the kinds are.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kontiki_kinds::apiservice::{AUTOMANAGED, WHILE_SERVED, priorities};
use serde_json::Value;

use super::documents::Documents;
use crate::services::Reference;

/// One APIService.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Api {
    pub name: String,
    pub group: String,
    pub version: String,
    pub group_priority: i64,
    pub version_priority: i64,
    /// `None`: this server itself serves it.
    pub backing: Option<Backing>,
    pub available: bool,
    /// The server made it for a definition, and takes it away with it.
    pub while_served: bool,
    /// What its server says of it; nothing until it has been asked.
    pub documents: Option<Arc<Documents>>,
}

/// The server that an APIService names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Backing {
    pub service: Reference,
    /// PEM; empty if the machine's authorities count.
    pub bundle: Vec<u8>,
    pub insecure: bool,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Apis(pub Vec<Arc<Api>>);

impl Api {
    /// Its OpenAPI v2 document, where its server has no v3 one.
    pub fn v2_alone(&self) -> Option<&Value> {
        let documents = self.documents.as_ref().filter(|documents| documents.v3.is_none())?;
        documents.v2.as_deref()
    }

    /// `None` for an object that is no APIService.
    pub fn read(object: &Value) -> Option<Self> {
        let spec = &object["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (group, version) = (text(&spec["group"]), text(&spec["version"]));
        let conditions = object["status"]["conditions"].as_array();
        let available = conditions.into_iter().flatten().find(|one| one["type"] == "Available");
        let backing = Reference::read(&spec["service"]).map(|service| Backing {
            service,
            bundle: STANDARD.decode(text(&spec["caBundle"])).unwrap_or_default(),
            insecure: spec["insecureSkipTLSVerify"] == true,
        });
        Some(Api {
            name: object["metadata"]["name"].as_str()?.to_owned(),
            group_priority: spec["groupPriorityMinimum"].as_i64().unwrap_or_default(),
            version_priority: spec["versionPriority"].as_i64().unwrap_or_default(),
            available: available.is_some_and(|condition| condition["status"] == "True"),
            while_served: object["metadata"]["labels"][AUTOMANAGED] == WHILE_SERVED,
            documents: None,
            group,
            version,
            backing,
        })
    }

    /// `/apis/<group>/<version>`.
    pub fn path(&self) -> String {
        match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        }
    }
}

impl Apis {
    fn find(&self, group: &str, version: &str) -> Option<&Arc<Api>> {
        self.0.iter().find(|api| api.group == group && api.version == version)
    }

    /// The API of this group and version, where another server has it.
    pub fn remote(&self, group: &str, version: &str) -> Option<Arc<Api>> {
        self.find(group, version).filter(|api| api.backing.is_some()).cloned()
    }

    /// Those that other servers have.
    pub fn remotes(&self) -> impl Iterator<Item = &Arc<Api>> {
        self.0.iter().filter(|api| api.backing.is_some())
    }

    /// Where a version stands among all: the priority of its group and its own, as its APIService says or else would say.
    pub fn priority(&self, group: &str, version: &str) -> (i64, i64) {
        match self.find(group, version) {
            Some(api) => (api.group_priority, api.version_priority),
            None => priorities(group, version),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn an_api_service_is_read() {
        let object = json!({
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 10,
                "service": {"namespace": "kube-system", "name": "metrics", "port": 8443}, "caBundle": "eA==",
            },
            "status": {"conditions": [{"type": "Available", "status": "True"}]},
        });
        let api = Api::read(&object).unwrap();
        let backing = api.backing.clone().unwrap();
        assert_eq!(
            (backing.service.server_name().as_str(), backing.bundle.as_slice()),
            ("metrics.kube-system.svc", b"x".as_slice())
        );
        assert!(api.available && !backing.insecure);
        assert_eq!(api.path(), "/apis/metrics.k8s.io/v1beta1");
        let apis = Apis(vec![Arc::new(api)]);
        assert!(apis.remote("metrics.k8s.io", "v1beta1").is_some() && apis.remote("metrics.k8s.io", "v1").is_none());
        assert_eq!(apis.priority("metrics.k8s.io", "v1beta1"), (100, 10));
        assert_eq!(apis.priority("apps", "v1"), (17_800, 15));
        assert_eq!(apis.priority("example.com", "v1"), (1_000, 100));
    }
}
