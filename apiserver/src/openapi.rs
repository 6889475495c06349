//! The API's description of itself: OpenAPI v2 as one document, v3 as one per group version behind an index.
//! Made when first asked for, kept after.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use kontiki_kinds::{Kind, Kinds, Subresource};
use kontiki_model::Status;
use kontiki_schema::{
    Table, custom_types,
    openapi::{RouteInfo, v2, v2_protobuf, v3},
    published,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    aggregation::{Apis, merge_v2},
    content, failure,
    negotiate::{accepts, preferred},
    request::{ApiRequest, ApiResponse},
    reviews::REVIEWS,
};

const JSON: &str = "application/json";
/// What clients may ask for, in both spellings, and what they get.
const PROTOBUF: &[&str] = &[
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];
const PROTOBUF_ANSWERED: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Documents of paths that are not a group version: discovery and the like.
const PLAIN_DOCUMENTS: &[(&str, &str)] = &[
    (".well-known/openid-configuration", "/.well-known/openid-configuration/"),
    ("api", "/api/"),
    ("apis", "/apis/"),
    ("openid/v1/jwks", "/openid/v1/jwks/"),
    ("version", "/version/"),
];

struct Document {
    bytes: Bytes,
    etag: HeaderValue,
    hash: String,
}

pub(crate) struct OpenApi {
    kinds: Kinds,
    /// The APIs of other servers: of v3 they have their own documents, of v2 a part in the one.
    apis: Arc<Apis>,
    names: Vec<String>,
    v3: OnceLock<BTreeMap<String, Document>>,
    v2: OnceLock<(Document, Document)>,
}

impl Document {
    fn new(bytes: Vec<u8>) -> Self {
        let bytes = Bytes::from(bytes);
        let hash = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02X}")).collect();
        Document { etag: content::etag(&bytes), hash, bytes }
    }

    fn answer(&self, request: &ApiRequest, content_type: &str) -> ApiResponse {
        let mut response = match content::is_current(&request.headers, &self.etag) {
            true => content::not_modified(),
            false => content::response(StatusCode::OK, content_type, self.bytes.clone()),
        };
        response.headers_mut().insert(header::ETAG, self.etag.clone());
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
        response
    }
}

impl OpenApi {
    pub fn new(kinds: Kinds, apis: Arc<Apis>) -> Self {
        let mut names: Vec<String> = PLAIN_DOCUMENTS.iter().map(|(name, _)| (*name).to_owned()).collect();
        for (group, version) in group_versions(&kinds) {
            if !group.is_empty() {
                names.push(format!("apis/{group}"));
            }
            names.push(document_name(group, version));
        }
        names.sort();
        names.dedup();
        OpenApi { kinds, apis, names, v3: OnceLock::new(), v2: OnceLock::new() }
    }

    /// The names of the v3 documents: `api/v1`, `apis/apps`, `apis/apps/v1`.
    pub fn documents(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Where each v3 document is, with its hash so that clients can keep it.
    pub fn index(&self) -> ApiResponse {
        let url = |(name, document): (&String, &Document)| {
            (name.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{name}?hash={}", document.hash)}))
        };
        let mut paths: serde_json::Map<String, Value> = self.v3_documents().iter().map(url).collect();
        for api in self.apis.remotes() {
            if let Some(place) = api.documents.as_ref().and_then(|documents| documents.v3.clone()) {
                paths.insert(document_name(&api.group, &api.version), json!({"serverRelativeURL": place}));
            }
        }
        content::text(StatusCode::OK, json!({"paths": paths}).to_string())
    }

    /// A v3 document; `None` if there is none of this name.
    pub fn v3(&self, name: &str, request: &ApiRequest) -> Result<Option<ApiResponse>, Status> {
        if !self.names.iter().any(|one| one == name) {
            return Ok(None);
        }
        if !accepts(&request.headers, &[JSON]) {
            return Err(failure::not_representable(&[JSON]));
        }
        let found = self.v3_documents().get(name).map(|document| {
            let mut response = document.answer(request, JSON);
            if request.query_value("hash") == Some(&document.hash) {
                let forever = HeaderValue::from_static("public, immutable, max-age=31536000");
                response.headers_mut().insert(header::CACHE_CONTROL, forever);
            }
            response
        });
        Ok(found)
    }

    pub fn v2(&self, request: &ApiRequest) -> Result<ApiResponse, Status> {
        let (json, protobuf) = self.v2.get_or_init(|| {
            let mut document = v2(&table(&self.kinds), &routes(&self.kinds));
            for kind in self.kinds.custom() {
                if let Some((name, schema)) = custom_definition(kind, true) {
                    document["definitions"][name] = schema;
                }
            }
            for api in self.apis.remotes() {
                if let Some(other) = api.documents.as_ref().and_then(|documents| documents.v2.as_ref()) {
                    merge_v2(&mut document, other, &api.path());
                }
            }
            (Document::new(document.to_string().into_bytes()), Document::new(v2_protobuf(&document)))
        });
        match preferred(&request.headers, &[JSON, PROTOBUF[0], PROTOBUF[1]]) {
            Some(0) => Ok(json.answer(request, JSON)),
            Some(_) => Ok(protobuf.answer(request, PROTOBUF_ANSWERED)),
            None => Err(failure::not_representable(&[JSON, PROTOBUF_ANSWERED])),
        }
    }

    fn v3_documents(&self) -> &BTreeMap<String, Document> {
        self.v3.get_or_init(|| {
            let mut documents = BTreeMap::new();
            let mut add = |name: String, value: Value| {
                documents.insert(name, Document::new(value.to_string().into_bytes()));
            };
            for (name, path) in PLAIN_DOCUMENTS {
                add((*name).to_owned(), plain_document(path));
            }
            let (routes, table) = (routes(&self.kinds), table(&self.kinds));
            for (group, version) in group_versions(&self.kinds) {
                if !group.is_empty() {
                    add(format!("apis/{group}"), plain_document(&format!("/apis/{group}/")));
                }
                let mut document = v3(&table, group, version, &routes);
                for kind in self.kinds.custom().iter().filter(|kind| (kind.group, kind.version) == (group, version)) {
                    if let Some((name, schema)) = custom_definition(kind, false) {
                        document["components"]["schemas"][name] = schema;
                    }
                }
                add(document_name(group, version), document);
            }
            documents
        })
    }
}

/// The built-in types and the names of the custom ones, which documents refer to.
fn table(kinds: &Kinds) -> Table {
    custom_types(
        kinds.custom().iter().map(|kind| (kind.type_name, (kind.group, kind.version, kind.kind), kind.list_kind())),
    )
}

/// What a custom kind's objects look like, under the name that references have.
fn custom_definition(kind: &Kind, v2: bool) -> Option<(&'static str, Value)> {
    const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    let custom = kind.custom.as_ref()?;
    let gvk = (kind.group, kind.version, kind.kind);
    Some((kind.type_name, published(&custom.published, gvk, METADATA, v2)))
}

/// A path that answers with a document of no declared type.
fn plain_document(path: &str) -> Value {
    let responses = json!({"200": {"description": "OK"}, "401": {"description": "Unauthorized"}});
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": {path: {"get": {"responses": responses}}},
    })
}

fn document_name(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn group_versions(kinds: &Kinds) -> Vec<(&'static str, &'static str)> {
    let kinds = kinds.iter().map(|kind| (kind.group, kind.version));
    let mut all: Vec<_> = kinds.chain(REVIEWS.iter().map(|review| (review.group, "v1"))).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn routes(kinds: &Kinds) -> Vec<RouteInfo<'static>> {
    let mut routes = Vec::new();
    for kind in kinds.iter() {
        let own = of_kind(&kind);
        routes.push(own);
        routes.extend(kind.subresources.iter().map(|subresource| of_subresource(own, *subresource)));
    }
    routes.extend(REVIEWS.iter().map(|review| RouteInfo {
        group: review.group,
        version: "v1",
        resource: review.resource,
        kind: review.kind,
        namespaced: review.namespaced,
        subresource: None,
        type_name: review.type_name,
        verbs: &["create"],
        connect: false,
        custom: false,
        query: &[],
    }));
    routes
}

fn of_kind(kind: &Kind) -> RouteInfo<'static> {
    RouteInfo {
        group: kind.group,
        version: kind.version,
        resource: kind.resource,
        kind: kind.kind,
        namespaced: kind.namespaced,
        subresource: None,
        type_name: kind.type_name,
        verbs: kind.verbs,
        connect: false,
        custom: kind.custom.is_some(),
        query: &[],
    }
}

fn of_subresource(own: RouteInfo<'static>, subresource: Subresource) -> RouteInfo<'static> {
    const STREAMS: &[&str] = &["container", "stderr", "stdin", "stdout", "tty"];
    const EXEC: &[&str] = &["command", "container", "stderr", "stdin", "stdout", "tty"];
    const LOG: &[&str] = &[
        "container",
        "follow",
        "insecureSkipTLSVerifyBackend",
        "limitBytes",
        "previous",
        "sinceSeconds",
        "stream",
        "tailLines",
        "timestamps",
    ];
    let (type_name, connect, query): (&str, bool, &[&str]) = match subresource {
        Subresource::Attach => ("core.v1.PodAttachOptions", true, STREAMS),
        Subresource::Binding => ("core.v1.Binding", false, &[]),
        Subresource::Eviction => ("policy.v1.Eviction", false, &[]),
        Subresource::Exec => ("core.v1.PodExecOptions", true, EXEC),
        Subresource::Approval
        | Subresource::EphemeralContainers
        | Subresource::Finalize
        | Subresource::Resize
        | Subresource::Status => (own.type_name, false, &[]),
        Subresource::Log => (own.type_name, false, LOG),
        Subresource::NodeProxy => ("core.v1.NodeProxyOptions", true, &["path"]),
        Subresource::PodProxy => ("core.v1.PodProxyOptions", true, &["path"]),
        Subresource::PortForward => ("core.v1.PodPortForwardOptions", true, &["ports"]),
        Subresource::Scale => ("autoscaling.v1.Scale", false, &[]),
        Subresource::ServiceProxy => ("core.v1.ServiceProxyOptions", true, &["path"]),
        Subresource::Token => ("authentication.v1.TokenRequest", false, &[]),
    };
    let verbs = subresource.verbs();
    RouteInfo { subresource: Some(subresource.name()), type_name, verbs, connect, query, ..own }
}
