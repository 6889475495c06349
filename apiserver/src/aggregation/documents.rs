//! What the server of an API says of it: its resources, and where its OpenAPI documents are. Reading is pure; asking is not.

use std::sync::Arc;

use http::{StatusCode, header};
use kontiki_schema::{builtin, ids};
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;

use super::{
    answer::{NoAnswer, ask},
    apis::{Api, Backing},
};
use crate::core::Core;

const JSON: &str = "application/json";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// Documents about one group and version.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Documents {
    /// In the form of aggregated discovery.
    pub resources: Vec<Value>,
    /// The server did not answer when it was asked last: this is what it said before, if anything.
    pub stale: bool,
    /// The address of its OpenAPI v3 document.
    pub v3: Option<String>,
    /// Its OpenAPI v2 document, with whatever else is in it.
    pub v2: Option<Arc<Value>>,
}

impl Documents {
    /// Asks for all of them. What it said before stays where it does not answer.
    pub async fn fetch(core: Arc<Core>, api: Arc<Api>) -> Documents {
        let before = api.documents.as_deref().cloned().unwrap_or_default();
        let tls = core.aggregation.connector(&api);
        let (Some(backing), Ok(tls)) = (api.backing.as_ref().filter(|_| api.available), tls) else {
            return Documents { stale: true, ..before };
        };
        let way = Way { core: &core, api: &api, backing, tls: &tls };
        match way.resources().await {
            Err(error) => {
                tracing::warn!(api = api.name, %error, "an aggregated API does not tell its resources");
                Documents { stale: true, ..before }
            }
            Ok(resources) => {
                let (v3, v2) = (way.v3().await, way.v2().await);
                Documents { resources, stale: false, v3: v3.unwrap_or(before.v3), v2: v2.unwrap_or(before.v2) }
            }
        }
    }
}

struct Way<'a> {
    core: &'a Arc<Core>,
    api: &'a Api,
    backing: &'a Backing,
    tls: &'a TlsConnector,
}

impl Way<'_> {
    async fn document(&self, path: &str, accept: &'static str) -> Result<Option<Value>, NoAnswer> {
        let answer = ask(self.core, self.backing, self.tls, path, accept).await?;
        if answer.status != StatusCode::OK {
            return Ok(None);
        }
        let broken = |error: serde_json::Error| NoAnswer::Broken(format!("{path} is no JSON: {error}"));
        serde_json::from_slice(&answer.body).map(Some).map_err(broken)
    }

    /// From the aggregated form, or else from the list of one version.
    async fn resources(&self) -> Result<Vec<Value>, NoAnswer> {
        let answer = ask(self.core, self.backing, self.tls, "/apis", AGGREGATED).await?;
        let form = answer.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if answer.status == StatusCode::OK && form.contains("as=APIGroupDiscoveryList") {
            let list = serde_json::from_slice(&answer.body).ok().and_then(known);
            return Ok(list.map(|list| of_version(&list, &self.api.group, &self.api.version)).unwrap_or_default());
        }
        let path = self.api.path();
        let list = self.document(&path, JSON).await?;
        let list = list.ok_or_else(|| NoAnswer::Broken(format!("{path} was not found")))?;
        let converted = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": [
            {"versions": [{"version": self.api.version, "resources": of_list(&list)}]},
        ]});
        let list = known(converted).ok_or_else(|| NoAnswer::Broken(format!("{path} is no list of resources")))?;
        Ok(of_version(&list, "", &self.api.version))
    }

    async fn v3(&self) -> Result<Option<String>, NoAnswer> {
        let index = self.document("/openapi/v3", JSON).await?;
        Ok(index.and_then(|index| place_of(&index, &self.api.path())))
    }

    async fn v2(&self) -> Result<Option<Arc<Value>>, NoAnswer> {
        Ok(self.document("/openapi/v2", JSON).await?.map(Arc::new))
    }
}

/// Where an index says that the document of an API is. What is told here must lead to the document here, too.
fn place_of(index: &Value, path: &str) -> Option<String> {
    let place = index["paths"][path.trim_start_matches('/')]["serverRelativeURL"].as_str()?;
    place.starts_with(&format!("/openapi/v3{path}")).then(|| place.to_owned())
}

/// The document with the fields that the form has; nothing if it has others' types.
fn known(mut list: Value) -> Option<Value> {
    let form = ids::APIDISCOVERY_V2_APIGROUPDISCOVERYLIST;
    if !list.is_object() {
        return None;
    }
    list["apiVersion"] = json!("apidiscovery.k8s.io/v2");
    builtin().check(form, &list).ok()?;
    builtin().prune(form, &mut list);
    Some(list)
}

fn of_version(list: &Value, group: &str, version: &str) -> Vec<Value> {
    let groups = list["items"].as_array().into_iter().flatten();
    let group = groups.filter(|one| one["metadata"]["name"].as_str().unwrap_or_default() == group);
    let mut versions = group.flat_map(|group| group["versions"].as_array().into_iter().flatten());
    let found = versions.find(|one| one["version"] == version);
    found.and_then(|found| found["resources"].as_array().cloned()).unwrap_or_default()
}

/// An APIResourceList in the aggregated form: subresources stand below their resource.
fn of_list(list: &Value) -> Vec<Value> {
    let mut resources: Vec<Value> = Vec::new();
    let text = |entry: &Value, member: &str| entry[member].as_str().unwrap_or_default().to_owned();
    let kind = |entry: &Value| json!({"group": text(entry, "group"), "version": text(entry, "version"), "kind": text(entry, "kind")});
    let scope = |entry: &Value| if entry["namespaced"] == true { "Namespaced" } else { "Cluster" };
    for entry in list["resources"].as_array().into_iter().flatten() {
        let name = text(entry, "name");
        let verbs = entry["verbs"].as_array().cloned().unwrap_or_default();
        let Some((of, subresource)) = name.split_once('/') else {
            let mut resource = json!({
                "resource": name, "responseKind": kind(entry), "scope": scope(entry),
                "singularResource": text(entry, "singularName"), "verbs": verbs,
            });
            for member in ["shortNames", "categories"] {
                if entry[member].is_array() {
                    resource[member] = entry[member].clone();
                }
            }
            resources.push(resource);
            continue;
        };
        let known = resources.iter().position(|one| one["resource"] == of).unwrap_or_else(|| {
            resources.push(json!({"resource": of, "scope": scope(entry), "singularResource": "", "verbs": []}));
            resources.len() - 1
        });
        let below = json!({"subresource": subresource, "responseKind": kind(entry), "verbs": verbs});
        match resources[known]["subresources"].as_array_mut() {
            Some(all) => all.push(below),
            None => resources[known]["subresources"] = json!([below]),
        }
    }
    resources
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn both_forms_come_to_the_same() {
        let list = json!({"kind": "APIResourceList", "groupVersion": "example.com/v1", "resources": [
            {"name": "ones", "singularName": "one", "namespaced": true, "kind": "One", "verbs": ["get", "list"], "shortNames": ["o"]},
            {"name": "ones/status", "singularName": "", "namespaced": true, "kind": "One", "verbs": ["get"]},
        ]});
        let kind = json!({"group": "", "version": "", "kind": "One"});
        let expected = json!([{
            "resource": "ones", "responseKind": kind, "scope": "Namespaced", "singularResource": "one",
            "verbs": ["get", "list"], "shortNames": ["o"],
            "subresources": [{"subresource": "status", "responseKind": kind, "verbs": ["get"]}],
        }]);
        assert_eq!(Value::from(of_list(&list)), expected);
        let aggregated = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2beta1", "items": [
            {"metadata": {"name": "example.com"}, "versions": [{"version": "v1", "resources": expected, "unheard": 1}]},
        ]});
        let aggregated = known(aggregated).unwrap();
        assert_eq!(Value::from(of_version(&aggregated, "example.com", "v1")), expected);
        assert_eq!(of_version(&aggregated, "example.com", "v2"), Vec::<Value>::new());
        assert_eq!(known(json!({"items": "none"})), None);
        assert_eq!(known(json!([])), None);
    }
}
