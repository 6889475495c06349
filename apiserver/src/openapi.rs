//! The API's description of itself: OpenAPI v2 as one document, v3 as one per group version behind an index.
//! Made when first asked for, kept after.

mod described;
mod routes;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use http::{HeaderValue, StatusCode, header};
use kontiki_kinds::Kinds;
use kontiki_model::Status;
use kontiki_schema::{
    json::escaped,
    openapi::{Part, Written, assembled, v3_protobuf},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub(crate) use described::Described;

use crate::{
    aggregation::{Apis, Known, joining, v3_of},
    content, failure,
    negotiate::preferred,
    request::{ApiRequest, ApiResponse},
    reviews::REVIEWS,
};

const JSON: &str = "application/json";
/// What clients may ask for, in both spellings, and what they get.
const PROTOBUF: &[&str] = &[
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];
const PROTOBUF_ANSWERED: &str = PROTOBUF[1];
const V3_PROTOBUF: &[&str] = &[
    "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
];
const V3_PROTOBUF_ANSWERED: &str = V3_PROTOBUF[1];
/// What HTTP takes for ever.
const KEPT_FOR_EVER: TimeDelta = TimeDelta::days(365);

/// Documents of paths that are not a group version: discovery and the like.
const PLAIN_DOCUMENTS: &[(&str, &str)] = &[
    (".well-known/openid-configuration", "/.well-known/openid-configuration/"),
    ("api", "/api/"),
    ("apis", "/apis/"),
    ("openid/v1/jwks", "/openid/v1/jwks/"),
    ("version", "/version/"),
];

pub(crate) struct Document {
    bytes: Bytes,
    /// The same, of a v3 document.
    protobuf: OnceLock<Bytes>,
    etag: HeaderValue,
    hash: String,
}

pub(crate) struct OpenApi {
    versions: Vec<(&'static str, &'static str)>,
    /// The APIs of other servers: of v3 they have their own documents, of v2 a part in the one.
    apis: Arc<Apis>,
    names: Vec<String>,
    described: Described,
    plain: OnceLock<BTreeMap<String, Document>>,
    joined: OnceLock<Vec<Value>>,
    v2_json: OnceLock<Document>,
    v2_protobuf: OnceLock<Document>,
}

impl Document {
    fn new(bytes: Vec<u8>) -> Self {
        let bytes = Bytes::from(bytes);
        let hash = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02X}")).collect();
        Document { etag: content::etag(&bytes), hash, bytes, protobuf: OnceLock::new() }
    }

    fn of(document: &Value) -> Self {
        Document::new(escaped(document.to_string().into_bytes()))
    }

    fn answer(&self, request: &ApiRequest, content_type: &str) -> ApiResponse {
        let mut response = match content::is_current(&request.headers, &self.etag) {
            true => content::not_modified(),
            false => content::response(StatusCode::OK, content_type, self.bytes_in(content_type)),
        };
        self.mark(&mut response);
        response
    }

    fn bytes_in(&self, content_type: &str) -> Bytes {
        if content_type != V3_PROTOBUF_ANSWERED {
            return self.bytes.clone();
        }
        let write = || {
            let document: Value = serde_json::from_slice(&self.bytes).expect("documents are written as JSON");
            v3_protobuf(&document).into()
        };
        self.protobuf.get_or_init(write).clone()
    }

    /// Under its hash it never is another one.
    fn answer_for_ever(&self, request: &ApiRequest, content_type: &str) -> ApiResponse {
        let mut response = self.answer(request, content_type);
        let year = (Utc::now() + KEPT_FOR_EVER).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        headers.insert(header::EXPIRES, HeaderValue::from_str(&year).expect("a date is plain text"));
        response
    }

    /// To whoever asks under a hash that it had.
    fn moved(&self, name: &str) -> ApiResponse {
        let mut response = content::response(StatusCode::MOVED_PERMANENTLY, JSON, Bytes::new());
        self.mark(&mut response);
        let place = HeaderValue::from_str(&self.place(name)).expect("names of documents are part of a path");
        response.headers_mut().insert(header::LOCATION, place);
        response
    }

    /// Where clients find it who keep it.
    fn place(&self, name: &str) -> String {
        format!("/openapi/v3/{name}?hash={}", self.hash)
    }

    fn mark(&self, response: &mut ApiResponse) {
        response.headers_mut().insert(header::ETAG, self.etag.clone());
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    }
}

impl OpenApi {
    /// `before` is what was described for the registry before.
    pub fn new(kinds: Kinds, apis: Arc<Apis>, before: &Described) -> Self {
        let mut names: Vec<String> = PLAIN_DOCUMENTS.iter().map(|(name, _)| (*name).to_owned()).collect();
        let versions = group_versions(&kinds);
        for (group, version) in &versions {
            if !group.is_empty() {
                names.push(format!("apis/{group}"));
            }
            names.push(document_name(group, version));
        }
        names.extend(converted(&apis).map(|(name, _)| name));
        names.sort();
        names.dedup();
        OpenApi {
            described: Described::of(&kinds, before),
            versions,
            apis,
            names,
            plain: OnceLock::new(),
            joined: OnceLock::new(),
            v2_json: OnceLock::new(),
            v2_protobuf: OnceLock::new(),
        }
    }

    /// For the registry that comes next.
    pub fn described(&self) -> &Described {
        &self.described
    }

    /// The names of the v3 documents: `api/v1`, `apis/apps`, `apis/apps/v1`.
    pub fn documents(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Where each v3 document is, with its hash so that clients can keep it.
    pub fn index(&self) -> ApiResponse {
        let url = |name: &String| {
            let document = self.document(name)?;
            Some((name.clone(), json!({"serverRelativeURL": document.place(name)})))
        };
        let mut paths: serde_json::Map<String, Value> = self.names.iter().filter_map(url).collect();
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
        let content_type = match preferred(&request.headers, &[JSON, V3_PROTOBUF[0], V3_PROTOBUF[1]]) {
            Some(0) => JSON,
            Some(_) => V3_PROTOBUF_ANSWERED,
            None => return Err(failure::not_representable(&[JSON, V3_PROTOBUF_ANSWERED])),
        };
        Ok(self.document(name).map(|document| match request.query_value("hash").unwrap_or_default() {
            "" => document.answer(request, content_type),
            hash if hash == document.hash => document.answer_for_ever(request, content_type),
            _ => document.moved(name),
        }))
    }

    pub fn v2(&self, request: &ApiRequest) -> Result<ApiResponse, Status> {
        match preferred(&request.headers, &[JSON, PROTOBUF[0], PROTOBUF[1]]) {
            Some(0) => Ok(self.v2_json.get_or_init(|| self.write_v2(Written::Json)).answer(request, JSON)),
            Some(_) => {
                let document = self.v2_protobuf.get_or_init(|| self.write_v2(Written::Protobuf));
                Ok(document.answer(request, PROTOBUF_ANSWERED))
            }
            None => Err(failure::not_representable(&[JSON, PROTOBUF_ANSWERED])),
        }
    }

    fn write_v2(&self, written: Written) -> Document {
        let joined: Vec<Part> = self.joined().iter().map(|one| Part::of(one, written)).collect();
        Document::new(assembled(self.described.parts(written).chain(&joined), written))
    }

    /// What the documents of other servers add.
    fn joined(&self) -> &[Value] {
        self.joined.get_or_init(|| {
            let mut joined = Vec::new();
            for api in self.apis.remotes() {
                if let Some(other) = api.documents.as_ref().and_then(|documents| documents.v2.as_ref()) {
                    let known = Known { parts: self.described.parts(Written::Json).collect(), joined: &joined };
                    let one = joining(&known, other, &api.path());
                    joined.push(one);
                }
            }
            joined
        })
    }

    /// A v3 document by its name.
    fn document(&self, name: &str) -> Option<&Document> {
        match self.versions.iter().find(|(group, version)| document_name(group, version) == name) {
            Some((group, version)) => Some(self.described.version(group, version)),
            None => self.plain().get(name),
        }
    }

    fn plain(&self) -> &BTreeMap<String, Document> {
        self.plain.get_or_init(|| {
            let plain = PLAIN_DOCUMENTS.iter().map(|(name, path)| ((*name).to_owned(), (*path).to_owned()));
            let groups = self.versions.iter().filter(|(group, _)| !group.is_empty());
            let groups = groups.map(|(group, _)| (format!("apis/{group}"), format!("/apis/{group}/")));
            let plain = plain.chain(groups).map(|(name, path)| (name, Document::of(&plain_document(&path))));
            plain.chain(converted(&self.apis).map(|(name, document)| (name, Document::of(&document())))).collect()
        })
    }
}

/// The documents of servers that know only v2, under their names.
fn converted(apis: &Apis) -> impl Iterator<Item = (String, impl FnOnce() -> Value)> {
    apis.remotes().filter_map(|api| {
        let v2 = api.v2_alone()?;
        Some((document_name(&api.group, &api.version), move || v3_of(v2, &api.path())))
    })
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
