//! Which groups, versions and resources there are: the legacy documents, one per group version, and the aggregated form.
//! Derived from the kinds that are served, the list of reviews, and what other servers say of their APIs; made once for each registry.

use std::cmp::Reverse;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use kontiki_kinds::{Kind, Kinds, Subresource};
use kontiki_model::{Status, version::preference};
use kontiki_schema::{Source, builtin, ids};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    aggregation::Apis,
    content,
    core::Core,
    failure,
    negotiate::{Media, Offer, Shape, negotiate},
    request::{ApiRequest, ApiResponse},
    reviews::{REVIEWS, Review},
};

const AGGREGATED_JSON: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const AGGREGATED_PROTOBUF: &str =
    "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// One resource, from a kind or a review.
struct Resource {
    name: &'static str,
    singular: &'static str,
    kind: &'static str,
    namespaced: bool,
    verbs: &'static [&'static str],
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    subresources: Vec<Subresource>,
    /// Where the aggregated form names group and version: of custom kinds.
    explicit: Option<(&'static str, &'static str)>,
    /// Objects are stored under this group, version and kind.
    stored_as: Option<(&'static str, &'static str)>,
}

struct Version {
    version: String,
    content: Content,
}

enum Content {
    /// By name.
    Own(Vec<Resource>),
    /// Another server has it and answers for itself; this is what it said for the aggregated form.
    Elsewhere { resources: Vec<Value>, stale: bool },
}

struct Group {
    group: String,
    /// The preferred one first.
    versions: Vec<Version>,
}

pub(crate) struct Discovery {
    groups: Vec<Group>,
    /// Aggregated documents of `/api` and `/apis`.
    aggregated: [Aggregated; 2],
}

struct Aggregated {
    json: Bytes,
    etag: HeaderValue,
}

impl Discovery {
    pub fn new(kinds: &Kinds, apis: &Apis) -> Self {
        let groups = groups(kinds, apis);
        let (core, named): (Vec<_>, Vec<_>) = groups.iter().partition(|group| group.group.is_empty());
        let aggregated = [Aggregated::new(&core), Aggregated::new(&named)];
        Discovery { groups, aggregated }
    }

    /// Whether the group has any version.
    pub fn knows(&self, group: &str) -> bool {
        self.groups.iter().any(|one| one.group == group)
    }

    /// Every path that has a document.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = vec!["/api".to_owned(), "/apis".to_owned(), "/apis/".to_owned()];
        for group in &self.groups {
            if !group.group.is_empty() {
                paths.push(format!("/apis/{}", group.group));
            }
            paths.extend(group.versions.iter().map(|version| match group.group.as_str() {
                "" => format!("/api/{}", version.version),
                group => format!("/apis/{group}/{}", version.version),
            }));
        }
        paths
    }

    /// The document of a discovery path, given by its segments; `None` if there is nothing of that name.
    pub fn answer(&self, core: &Core, segments: &[&str], request: &ApiRequest) -> Result<Option<ApiResponse>, Status> {
        let document = match *segments {
            ["api" | "apis"] => {
                let form = negotiate(request, Offer::DiscoveryRoot)?;
                let named = segments == ["apis"];
                if form.shape == Shape::AggregatedDiscovery {
                    return self.aggregated[usize::from(named)].answer(form.media, request).map(Some);
                }
                let value = if named { self.group_list() } else { self.core_versions(core) };
                return content::answer_value(StatusCode::OK, form, &value).map(Some);
            }
            ["api", version] => self.version("", version).map(|found| resource_list("", version, found)),
            ["apis", group] => self.group(group).map(|found| {
                let mut value = json!({"kind": "APIGroup", "apiVersion": "v1"});
                merge(&mut value, group_value(found));
                value
            }),
            ["apis", group, version] => self.version(group, version).map(|found| resource_list(group, version, found)),
            _ => None,
        };
        let Some(document) = document else { return Ok(None) };
        let form = negotiate(request, Offer::Document)?;
        content::answer_value(StatusCode::OK, form, &document).map(Some)
    }

    fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.group == name && !name.is_empty())
    }

    /// The resources of a version that this server serves.
    fn version(&self, group: &str, version: &str) -> Option<&[Resource]> {
        let found = self.groups.iter().find(|one| one.group == group)?;
        match &found.versions.iter().find(|one| one.version == version)?.content {
            Content::Own(resources) => Some(resources),
            Content::Elsewhere { .. } => None,
        }
    }

    fn core_versions(&self, core: &Core) -> Value {
        let versions: Vec<&str> = self
            .groups
            .iter()
            .filter(|group| group.group.is_empty())
            .flat_map(|group| group.versions.iter().map(|version| version.version.as_str()))
            .collect();
        let addresses = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": core.config.advertised()}]);
        json!({"kind": "APIVersions", "versions": versions, "serverAddressByClientCIDRs": addresses})
    }

    fn group_list(&self) -> Value {
        let named = self.groups.iter().filter(|group| !group.group.is_empty());
        let groups: Vec<Value> = named.map(group_value).collect();
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    }
}

impl Aggregated {
    fn new(groups: &[&Group]) -> Self {
        let items: Vec<Value> = groups.iter().map(|group| group.aggregated()).collect();
        let list = json!({
            "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
        });
        let json = Bytes::from(kontiki_schema::json::escaped_text(format!("{list}\n")));
        Aggregated { etag: content::etag(&json), json }
    }

    fn answer(&self, media: Media, request: &ApiRequest) -> Result<ApiResponse, Status> {
        let (etag, current) = (self.etag.clone(), content::is_current(&request.headers, &self.etag));
        let mut response = match media {
            _ if current => content::not_modified(),
            Media::Json { .. } | Media::Yaml => content::response(StatusCode::OK, AGGREGATED_JSON, self.json.clone()),
            Media::Protobuf => {
                let document = Source::parse(&self.json).map_err(failure::internal)?;
                let written = builtin().encode_protobuf_as(ids::APIDISCOVERY_V2_APIGROUPDISCOVERYLIST, &document);
                content::response(StatusCode::OK, AGGREGATED_PROTOBUF, written.map_err(content::unwritable)?)
            }
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, etag);
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
        Ok(response)
    }
}

/// All groups, by their priorities and then by name; their versions likewise, and then as Kubernetes prefers them.
fn groups(kinds: &Kinds, apis: &Apis) -> Vec<Group> {
    let declared = kinds.iter().map(|kind| (kind.group, kind.version, Resource::of_kind(&kind)));
    let asked = REVIEWS.iter().map(|review| (review.group, "v1", Resource::of_review(review)));
    let mut groups: Vec<Group> = Vec::new();
    for (group, version, resource) in declared.chain(asked) {
        match &mut version_of(&mut groups, group, version).content {
            Content::Own(resources) => resources.push(resource),
            Content::Elsewhere { .. } => {}
        }
    }
    for api in apis.remotes() {
        let resources = api.documents.as_ref().map(|documents| documents.resources.clone()).unwrap_or_default();
        let stale = api.documents.as_ref().is_none_or(|documents| documents.stale);
        version_of(&mut groups, &api.group, &api.version).content = Content::Elsewhere { resources, stale };
    }
    for Group { group, versions } in &mut groups {
        let of_version = |version: &str| apis.priority(group, version).1;
        versions.sort_by(|one, other| {
            let (one, other) = (&one.version, &other.version);
            (of_version(other), preference(other)).cmp(&(of_version(one), preference(one)))
        });
        for version in versions {
            if let Content::Own(resources) = &mut version.content {
                resources.sort_by_key(|resource| resource.name);
            }
        }
    }
    let of_group = |one: &Group| one.versions.iter().map(|version| apis.priority(&one.group, &version.version).0).max();
    groups.sort_by_cached_key(|one| (Reverse(of_group(one)), one.group.clone()));
    groups
}

/// The version of this group, made where there is none yet.
fn version_of<'a>(groups: &'a mut Vec<Group>, group: &str, version: &str) -> &'a mut Version {
    let known = groups.iter().position(|one| one.group == group).unwrap_or_else(|| {
        groups.push(Group { group: group.to_owned(), versions: Vec::new() });
        groups.len() - 1
    });
    let versions = &mut groups[known].versions;
    let known = versions.iter().position(|one| one.version == version).unwrap_or_else(|| {
        versions.push(Version { version: version.to_owned(), content: Content::Own(Vec::new()) });
        versions.len() - 1
    });
    &mut versions[known]
}

fn group_value(group: &Group) -> Value {
    let versions: Vec<Value> = group.versions.iter().map(|version| {
        json!({"groupVersion": format!("{}/{}", group.group, version.version), "version": version.version})
    }).collect();
    json!({"name": group.group, "versions": versions, "preferredVersion": versions.first()})
}

fn resource_list(group: &str, version: &str, resources: &[Resource]) -> Value {
    let mut list = json!({"kind": "APIResourceList"});
    let group_version = match group {
        "" => version.to_owned(),
        group => {
            list["apiVersion"] = json!("v1");
            format!("{group}/{version}")
        }
    };
    list["groupVersion"] = json!(group_version);
    list["resources"] = resources.iter().flat_map(Resource::legacy).collect();
    list
}

impl Group {
    fn aggregated(&self) -> Value {
        let versions: Vec<Value> = self.versions.iter().map(Version::aggregated).collect();
        let metadata = if self.group.is_empty() { json!({}) } else { json!({"name": self.group}) };
        json!({"metadata": metadata, "versions": versions})
    }
}

impl Version {
    fn aggregated(&self) -> Value {
        let (resources, stale) = match &self.content {
            Content::Own(resources) => (resources.iter().map(Resource::aggregated).collect(), false),
            Content::Elsewhere { resources, stale } => (resources.clone(), *stale),
        };
        let mut version = json!({"version": self.version});
        if !resources.is_empty() {
            version["resources"] = resources.into();
        }
        version["freshness"] = json!(if stale { "Stale" } else { "Current" });
        version
    }
}

impl Resource {
    fn of_kind(kind: &Kind) -> Self {
        let mut subresources = kind.subresources.to_vec();
        if kind.custom.is_none() {
            subresources.sort_by_key(|subresource| subresource.name());
        }
        let stored = kind.custom.as_ref().map_or(kind.stored().version, |custom| custom.storage_version);
        Resource {
            name: kind.resource,
            singular: kind.singular,
            kind: kind.kind,
            namespaced: kind.namespaced,
            verbs: kind.verbs,
            short_names: kind.short_names,
            categories: kind.categories,
            subresources,
            explicit: kind.custom.as_ref().map(|_| (kind.group, kind.version)),
            stored_as: Some((kind.stored().group, stored)).filter(|_| kind.computed.is_none()),
        }
    }

    fn of_review(review: &'static Review) -> Self {
        Resource {
            name: review.resource,
            singular: review.singular,
            kind: review.kind,
            namespaced: review.namespaced,
            verbs: &["create"],
            short_names: &[],
            categories: &[],
            subresources: Vec::new(),
            explicit: None,
            stored_as: None,
        }
    }

    /// The entries of a legacy list: the resource, then its subresources.
    fn legacy(&self) -> Vec<Value> {
        let mut own = json!({
            "name": self.name, "singularName": self.singular, "namespaced": self.namespaced, "kind": self.kind,
            "verbs": self.verbs,
        });
        self.names_into(&mut own);
        if let Some((group, version)) = self.stored_as {
            own["storageVersionHash"] = json!(storage_hash(group, version, self.kind));
        }
        let mut entries = vec![own];
        for subresource in &self.subresources {
            let mut entry = Map::new();
            entry.insert("name".to_owned(), json!(format!("{}/{}", self.name, subresource.name())));
            entry.insert("singularName".to_owned(), json!(""));
            entry.insert("namespaced".to_owned(), json!(self.namespaced));
            let (group, version, kind) = subresource.response_kind().unwrap_or(("", "", self.kind));
            if !group.is_empty() {
                entry.insert("group".to_owned(), json!(group));
                entry.insert("version".to_owned(), json!(version));
            }
            entry.insert("kind".to_owned(), json!(kind));
            entry.insert("verbs".to_owned(), json!(subresource.verbs()));
            entries.push(Value::Object(entry));
        }
        entries
    }

    fn aggregated(&self) -> Value {
        let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
        let (own_group, own_version) = self.explicit.unwrap_or(("", ""));
        let mut own = json!({
            "resource": self.name,
            // Empty group and version are those of the list.
            "responseKind": kind(own_group, own_version, self.kind),
            "scope": if self.namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": self.singular,
            "verbs": self.verbs,
        });
        self.names_into(&mut own);
        let subresources: Vec<Value> = self.subresources.iter().map(|subresource| {
            let (group, version, name) = subresource.response_kind().unwrap_or((own_group, own_version, self.kind));
            json!({"subresource": subresource.name(), "responseKind": kind(group, version, name), "verbs": subresource.verbs()})
        }).collect();
        if !subresources.is_empty() {
            own["subresources"] = json!(subresources);
        }
        own
    }

    fn names_into(&self, value: &mut Value) {
        if !self.short_names.is_empty() {
            value["shortNames"] = json!(self.short_names);
        }
        if !self.categories.is_empty() {
            value["categories"] = json!(self.categories);
        }
    }
}

fn storage_hash(group: &str, version: &str, kind: &str) -> String {
    let digest = Sha256::digest(format!("{group}/{version}/{kind}"));
    STANDARD.encode(&digest[..8])
}

fn merge(value: &mut Value, other: Value) {
    if let (Value::Object(into), Value::Object(from)) = (value, other) {
        into.extend(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_hashes_are_those_of_kubernetes() {
        assert_eq!(storage_hash("", "v1", "ConfigMap"), "qFsyl6wFWjQ=");
        assert_eq!(storage_hash("apps", "v1", "Deployment"), "8aSe+NMegvE=");
    }

    #[test]
    fn groups_stand_in_order_and_know_their_resources() {
        let discovery = Discovery::new(&Kinds::default(), &Apis::default());
        let names: Vec<&str> = discovery.groups.iter().map(|group| group.group.as_str()).collect();
        let expected =
            ["", "apps", "authentication.k8s.io", "authorization.k8s.io", "coordination.k8s.io", "discovery.k8s.io"];
        assert!(expected.iter().all(|one| names.contains(one)), "{names:?}");
        let place = |name: &&str| names.iter().position(|one| one == name);
        assert!(expected.is_sorted_by_key(place));
        assert!(discovery.knows("apps") && discovery.knows("") && !discovery.knows("nosuch.example.com"));
        let pods = discovery.version("", "v1").and_then(|version| {
            let list = resource_list("", "v1", version);
            let found = list["resources"].as_array()?.iter().find(|one| one["name"] == "pods")?.clone();
            Some(found)
        });
        let pods = pods.unwrap_or_default();
        assert_eq!(pods["shortNames"], json!(["po"]));
        assert_eq!(pods["storageVersionHash"], "xPOwRZ+Yhw8=");
    }
}
