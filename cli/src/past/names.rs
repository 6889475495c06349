//! Names of kinds, as kubectl takes them: plural, singular, short, kind, with or without version and group.

use anyhow::{Result, bail};
use http::{Method, header};
use http_body_util::BodyExt;
use serde_json::Value;

use crate::client::{Client, Payload};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// A resource of the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    pub group: String,
    pub version: String,
    pub plural: String,
    pub kind: String,
    pub namespaced: bool,
    singular: String,
    short: Vec<String>,
}

impl Resource {
    /// What a CustomResourceDefinition defines, in the version that it stores.
    pub fn defined(definition: &Value) -> Option<Resource> {
        let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let list = |pointer: &str| definition.pointer(pointer).and_then(Value::as_array);
        let stored = list("/spec/versions")?.iter().find(|version| version["storage"] == true)?;
        let short = list("/spec/names/shortNames").into_iter().flatten();
        Some(Resource {
            group: text("/spec/group")?,
            version: stored["name"].as_str()?.to_owned(),
            plural: text("/spec/names/plural")?,
            kind: text("/spec/names/kind")?,
            namespaced: definition.pointer("/spec/scope")? == "Namespaced",
            singular: text("/spec/names/singular").unwrap_or_default(),
            short: short.filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }

    /// As in `deployments.apps`.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// As in `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The same in another version, as in `apps/v1`.
    pub fn within(&self, api_version: &str) -> Resource {
        let version = api_version.rsplit('/').next().unwrap_or_default().to_owned();
        Resource { version, ..self.clone() }
    }

    /// The path of its objects in a namespace.
    pub fn collection(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", self.group) };
        let place = if self.namespaced { format!("/namespaces/{}", encode(namespace)) } else { String::new() };
        format!("{root}/{}{place}/{}", self.version, self.plural)
    }

    pub fn path(&self, namespace: &str, name: &str) -> String {
        format!("{}/{}", self.collection(namespace), encode(name))
    }
}

/// Percent-encodes what is not plainly part of a path segment or of a query's value.
pub fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~:".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Every resource that can be read, preferred ones first.
pub async fn resources(client: &Client) -> Result<Vec<Resource>> {
    let mut all = Vec::new();
    for root in ["/api", "/apis"] {
        let response = client.send(Method::GET, root, &[(header::ACCEPT, AGGREGATED)], Payload::Nothing).await?;
        let body = response.into_body().collect().await?.to_bytes();
        read(&serde_json::from_slice(&body)?, &mut all);
    }
    Ok(all)
}

fn read(document: &Value, into: &mut Vec<Resource>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for group in list(&document["items"]) {
        for version in list(&group["versions"]) {
            for resource in list(&version["resources"]) {
                if !list(&resource["verbs"]).contains(&"get".into()) {
                    continue;
                }
                into.push(Resource {
                    group: text(&group["metadata"]["name"]),
                    version: text(&version["version"]),
                    plural: text(&resource["resource"]),
                    kind: text(&resource["responseKind"]["kind"]),
                    namespaced: resource["scope"] == "Namespaced",
                    singular: text(&resource["singularResource"]),
                    short: list(&resource["shortNames"]).iter().map(text).collect(),
                });
            }
        }
    }
}

/// The resource that a name means; the first of several, in the server's order.
pub fn find<'a>(resources: &'a [Resource], name: &str) -> Result<&'a Resource> {
    let name = name.to_lowercase();
    let by_plural = |one: &&Resource| one.plural == name;
    let by_other = |one: &&Resource| one.singular == name || one.kind.to_lowercase() == name;
    let by_short = |one: &&Resource| one.short.contains(&name);
    let qualified = |one: &&Resource| {
        [&one.plural, &one.singular, &one.kind.to_lowercase()].into_iter().chain(&one.short).any(|word| {
            let rest = name.strip_prefix(word.as_str()).and_then(|rest| rest.strip_prefix('.'));
            rest.is_some_and(|rest| rest == one.group || rest == format!("{}.{}", one.version, one.group))
        })
    };
    let found = resources.iter().find(by_plural).or_else(|| resources.iter().find(by_other));
    let found = found.or_else(|| resources.iter().find(by_short)).or_else(|| resources.iter().find(qualified));
    match found {
        Some(found) => Ok(found),
        None => bail!("the server doesn't have a resource type {name:?}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_are_named_as_for_kubectl() {
        let pods = json!({"items": [{"metadata": {}, "versions": [{"version": "v1", "resources": [
            {"resource": "pods", "responseKind": {"kind": "Pod"}, "scope": "Namespaced", "singularResource": "pod",
             "shortNames": ["po"], "verbs": ["get", "list"]},
            {"resource": "events", "responseKind": {"kind": "Event"}, "scope": "Namespaced", "singularResource": "event",
             "shortNames": ["ev"], "verbs": ["get"]},
            {"resource": "bindings", "responseKind": {"kind": "Binding"}, "scope": "Namespaced", "verbs": ["create"]},
            {"resource": "nodes", "responseKind": {"kind": "Node"}, "scope": "Cluster", "singularResource": "node",
             "shortNames": ["no"], "verbs": ["get"]},
        ]}]}]});
        let apps = json!({"items": [
            {"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [
                {"resource": "deployments", "responseKind": {"kind": "Deployment"}, "scope": "Namespaced",
                 "singularResource": "deployment", "shortNames": ["deploy"], "verbs": ["get"]}]}]},
            {"metadata": {"name": "events.k8s.io"}, "versions": [{"version": "v1", "resources": [
                {"resource": "events", "responseKind": {"kind": "Event"}, "scope": "Namespaced",
                 "singularResource": "event", "shortNames": ["ev"], "verbs": ["get"]}]}]},
        ]});
        let mut all = Vec::new();
        read(&pods, &mut all);
        read(&apps, &mut all);
        let found = |name: &str| find(&all, name).map(Resource::qualified).map_err(|error| error.to_string());
        let table = [
            ("pods", "pods"),
            ("pod", "pods"),
            ("po", "pods"),
            ("Pod", "pods"),
            ("deploy", "deployments.apps"),
            ("deployments.apps", "deployments.apps"),
            ("deployment.v1.apps", "deployments.apps"),
            ("ev", "events"),
            ("events", "events"),
            ("events.events.k8s.io", "events.events.k8s.io"),
            ("no", "nodes"),
        ];
        for (name, expected) in table {
            assert_eq!(found(name).as_deref(), Ok(expected), "{name}");
        }
        assert_eq!(found("bindings"), Err("the server doesn't have a resource type \"bindings\"".to_owned()));
        assert_eq!(find(&all, "deploy").unwrap().path("a", "b"), "/apis/apps/v1/namespaces/a/deployments/b");
        assert_eq!(find(&all, "no").unwrap().path("a", "b/c"), "/api/v1/nodes/b%2Fc");
    }
}
