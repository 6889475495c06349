//! Paths and operations, in both dialects.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::definitions::reference;
use super::{Dialect, RouteInfo};
use crate::table::Table;

const READ_TYPES: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const WATCH_TYPES: [&str; 2] = ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
const PATCH_TYPES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
const LIST_QUERY: [(&str, &str); 10] = [
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const DELETE_QUERY: [(&str, &str); 5] = [
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];
const WRITE_QUERY: [(&str, &str); 3] =
    [("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];

/// One operation before it is written in a dialect.
struct Operation<'a> {
    route: &'a RouteInfo<'a>,
    /// HTTP method, lower case.
    method: &'static str,
    action: &'static str,
    /// First word of the operation id.
    verb: &'static str,
    all_namespaces: bool,
    body: Body,
    answer: Answer,
    query: Vec<(&'a str, &'a str)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    None,
    Object,
    Patch,
    DeleteOptions,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Object,
    List,
    Status,
    Text,
}

/// The `paths` of a document, sorted.
pub(super) fn paths(table: &Table, routes: &[RouteInfo<'_>], dialect: Dialect) -> Value {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for route in routes {
        paths.entry(format!("{}/", route.root())).or_insert_with(|| resource_list(route, dialect));
        for (path, operation) in operations(route) {
            let item = paths.entry(path.clone()).or_insert_with(|| path_parameters(&path, dialect));
            item.insert(operation.method.to_owned(), operation.write(table, dialect));
        }
    }
    paths.into_iter().map(|(path, item)| (path, Value::Object(item))).collect::<Map<String, Value>>().into()
}

fn operations<'a>(route: &'a RouteInfo<'a>) -> Vec<(String, Operation<'a>)> {
    if route.connect {
        return connect_operations(route);
    }
    let own = || route.query.iter().map(|name| (*name, query_type(name)));
    let operation = |method, action, verb, body, answer, query: &[(&'a str, &'a str)]| Operation {
        route,
        method,
        action,
        verb,
        all_namespaces: false,
        body,
        answer,
        query: own().chain(query.iter().copied()).collect(),
    };
    let object_answer = if route.subresource == Some("log") { Answer::Text } else { Answer::Object };
    let patch_query: Vec<_> = WRITE_QUERY.into_iter().chain([("force", "boolean")]).collect();
    let delete_collection: Vec<_> = {
        let mut query: Vec<_> = DELETE_QUERY.into_iter().chain(LIST_QUERY).collect();
        query.retain(|(name, _)| !["allowWatchBookmarks", "watch"].contains(name));
        query.sort_unstable();
        query
    };
    let (collection, item) = (route.collection_path(), route.item_path());
    let created_at = if route.subresource.is_some() { item.clone() } else { collection.clone() };
    let mut out = Vec::new();
    if route.has("list") {
        out.push((collection.clone(), operation("get", "list", "list", Body::None, Answer::List, &LIST_QUERY)));
        if route.namespaced {
            let everywhere = operation("get", "list", "list", Body::None, Answer::List, &LIST_QUERY);
            let path = format!("{}/{}", route.root(), route.resource);
            out.push((path, Operation { all_namespaces: true, ..everywhere }));
        }
    }
    if route.has("create") {
        out.push((created_at, operation("post", "post", "create", Body::Object, Answer::Object, &WRITE_QUERY)));
    }
    if route.has("deletecollection") {
        let many =
            operation("delete", "deletecollection", "delete", Body::DeleteOptions, Answer::Status, &delete_collection);
        out.push((collection, many));
    }
    if route.has("get") {
        out.push((item.clone(), operation("get", "get", "read", Body::None, object_answer, &[])));
    }
    if route.has("update") {
        out.push((item.clone(), operation("put", "put", "replace", Body::Object, Answer::Object, &WRITE_QUERY)));
    }
    if route.has("patch") {
        out.push((item.clone(), operation("patch", "patch", "patch", Body::Patch, Answer::Object, &patch_query)));
    }
    if route.has("delete") {
        out.push((item, operation("delete", "delete", "delete", Body::DeleteOptions, Answer::Status, &DELETE_QUERY)));
    }
    out
}

fn connect_operations<'a>(route: &'a RouteInfo<'a>) -> Vec<(String, Operation<'a>)> {
    let methods = [
        ("get", "get", "connectGet"),
        ("create", "post", "connectPost"),
        ("update", "put", "connectPut"),
        ("patch", "patch", "connectPatch"),
        ("delete", "delete", "connectDelete"),
    ];
    let operation = |(_, method, verb): (&str, &'static str, &'static str)| Operation {
        route,
        method,
        action: "connect",
        verb,
        all_namespaces: false,
        body: Body::None,
        answer: Answer::Text,
        query: route.query.iter().map(|name| (*name, query_type(name))).collect(),
    };
    let served = methods.into_iter().filter(|(verb, _, _)| route.has(verb));
    served.map(|one| (route.item_path(), operation(one))).collect()
}

/// The types of the query parameters that subresources have of their own.
fn query_type(name: &str) -> &'static str {
    match name {
        "follow"
        | "insecureSkipTLSVerifyBackend"
        | "previous"
        | "stderr"
        | "stdin"
        | "stdout"
        | "timestamps"
        | "tty" => "boolean",
        "limitBytes" | "ports" | "sinceSeconds" | "tailLines" => "integer",
        _ => "string",
    }
}

impl Operation<'_> {
    fn write(&self, table: &Table, dialect: Dialect) -> Value {
        let mut out = Map::new();
        let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
        put("tags", json!([format!("{}_{}", camel_group(self.route.group), self.route.version)]));
        put("operationId", self.id().into());
        let produces = self.produces();
        match dialect {
            Dialect::V2 => {
                put("consumes", json!(self.consumes()));
                put("produces", json!(produces));
                put("schemes", json!(["https"]));
            }
            Dialect::V3 => {
                if let Some(schema) = self.body_schema(table, dialect) {
                    let content: Map<String, Value> =
                        self.consumes().iter().map(|one| ((*one).to_owned(), json!({"schema": schema}))).collect();
                    put("requestBody", json!({"content": content, "required": self.body != Body::DeleteOptions}));
                }
            }
        }
        put("parameters", self.parameters(table, dialect));
        put("responses", self.responses(table, dialect, &produces));
        put("x-kubernetes-action", self.action.into());
        put("x-kubernetes-group-version-kind", self.gvk(table));
        Value::Object(out)
    }

    /// `listAppsV1NamespacedDeployment`, `listAppsV1DeploymentForAllNamespaces`, `readAppsV1NamespacedDeploymentScale`.
    fn id(&self) -> String {
        let route = self.route;
        let group = capitalised(&camel_group(route.group));
        let collection = if self.action == "deletecollection" { "Collection" } else { "" };
        let scope = if route.namespaced && !self.all_namespaces { "Namespaced" } else { "" };
        let everywhere = if self.all_namespaces { "ForAllNamespaces" } else { "" };
        let subresource = route.subresource.map(capitalised).unwrap_or_default();
        let version = capitalised(route.version);
        format!("{}{group}{version}{collection}{scope}{}{subresource}{everywhere}", self.verb, route.kind)
    }

    fn gvk(&self, table: &Table) -> Value {
        let route = self.route;
        let own = route.subresource.and_then(|_| table.get(table.lookup(route.type_name)?).gvk.as_ref());
        match own {
            Some(gvk) => json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind}),
            None => json!({"group": route.group, "version": route.version, "kind": route.kind}),
        }
    }

    fn consumes(&self) -> Vec<&'static str> {
        match self.body {
            Body::Patch if self.route.custom => PATCH_TYPES[..3].to_vec(),
            Body::Patch => PATCH_TYPES.to_vec(),
            Body::None | Body::Object | Body::DeleteOptions => vec!["*/*"],
        }
    }

    fn produces(&self) -> Vec<&'static str> {
        if self.route.custom {
            return READ_TYPES[..2].to_vec();
        }
        match self.answer {
            Answer::Object | Answer::Status => READ_TYPES.to_vec(),
            Answer::List => READ_TYPES.into_iter().chain(WATCH_TYPES).collect(),
            Answer::Text if self.action == "connect" => vec!["*/*"],
            Answer::Text => [&["text/plain"], READ_TYPES.as_slice()].concat(),
        }
    }

    fn body_schema(&self, table: &Table, dialect: Dialect) -> Option<Value> {
        let name = match self.body {
            Body::None => return None,
            Body::Object => self.route.type_name,
            Body::Patch => "meta.v1.Patch",
            Body::DeleteOptions => "meta.v1.DeleteOptions",
        };
        Some(schema(table, dialect, name))
    }

    fn parameters(&self, table: &Table, dialect: Dialect) -> Value {
        let mut out: Vec<Value> = Vec::new();
        if let (Dialect::V2, Some(schema)) = (dialect, self.body_schema(table, dialect)) {
            let required = self.body != Body::DeleteOptions;
            out.push(json!({"name": "body", "in": "body", "required": required, "schema": schema}));
        }
        let mut query = self.query.clone();
        query.sort_unstable();
        out.extend(query.into_iter().map(|(name, kind)| parameter(dialect, name, "query", kind)));
        Value::Array(out)
    }

    fn responses(&self, table: &Table, dialect: Dialect, produces: &[&str]) -> Value {
        let name = match self.answer {
            Answer::Object => Some(self.route.type_name.to_owned()),
            Answer::List => Some(format!("{}List", self.route.type_name)),
            Answer::Status => Some("meta.v1.Status".to_owned()),
            Answer::Text => None,
        };
        let schema = name.map_or(json!({"type": "string"}), |name| schema(table, dialect, &name));
        let answer = |description: &str| match dialect {
            Dialect::V2 => json!({"description": description, "schema": schema}),
            Dialect::V3 => {
                let content: Map<String, Value> =
                    produces.iter().map(|one| ((*one).to_owned(), json!({"schema": schema}))).collect();
                json!({"description": description, "content": content})
            }
        };
        let mut out = Map::new();
        out.insert("200".to_owned(), answer("OK"));
        if ["post", "put", "patch"].contains(&self.action) {
            out.insert("201".to_owned(), answer("Created"));
        }
        if self.action == "post" || self.action == "delete" {
            out.insert("202".to_owned(), answer("Accepted"));
        }
        out.insert("401".to_owned(), json!({"description": "Unauthorized"}));
        Value::Object(out)
    }
}

fn schema(table: &Table, dialect: Dialect, name: &str) -> Value {
    match table.lookup(name) {
        Some(id) => reference(dialect, &table.openapi_name(id)),
        None => json!({"type": "object"}),
    }
}

fn parameter(dialect: Dialect, name: &str, place: &str, kind: &str) -> Value {
    let mut out = match dialect {
        Dialect::V2 => json!({"name": name, "in": place, "type": kind, "uniqueItems": true}),
        Dialect::V3 => json!({"name": name, "in": place, "schema": {"type": kind, "uniqueItems": true}}),
    };
    if place == "path" {
        out["required"] = true.into();
    }
    out
}

/// A path's own parameters, and `pretty`, which every request may carry.
fn path_parameters(path: &str, dialect: Dialect) -> Map<String, Value> {
    let named = ["name", "namespace"].into_iter().filter(|name| path.contains(&format!("{{{name}}}")));
    let mut list: Vec<Value> = named.map(|name| parameter(dialect, name, "path", "string")).collect();
    list.push(parameter(dialect, "pretty", "query", "string"));
    Map::from_iter([("parameters".to_owned(), Value::Array(list))])
}

/// The list of resources that each group version answers with at its root.
fn resource_list(route: &RouteInfo<'_>, dialect: Dialect) -> Map<String, Value> {
    let group = camel_group(route.group);
    let target = reference(dialect, "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList");
    let answer = match dialect {
        Dialect::V2 => json!({"description": "OK", "schema": target}),
        Dialect::V3 => {
            let content: Map<String, Value> =
                READ_TYPES.into_iter().map(|one| (one.to_owned(), json!({"schema": target}))).collect();
            json!({"description": "OK", "content": content})
        }
    };
    let mut operation = json!({
        "tags": [format!("{group}_{}", route.version)],
        "operationId": format!("get{}{}APIResources", capitalised(&group), capitalised(route.version)),
        "responses": {"200": answer, "401": {"description": "Unauthorized"}},
    });
    if dialect == Dialect::V2 {
        operation["consumes"] = json!(READ_TYPES);
        operation["produces"] = json!(READ_TYPES);
        operation["schemes"] = json!(["https"]);
    }
    Map::from_iter([("get".to_owned(), operation)])
}

/// `apps`, `rbacAuthorization`, `core`.
fn camel_group(group: &str) -> String {
    if group.is_empty() {
        return "core".to_owned();
    }
    let mut parts = group.trim_end_matches(".k8s.io").split('.');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |out, part| out + &capitalised(part))
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    match chars.next() {
        Some(first) => first.to_ascii_uppercase().to_string() + chars.as_str(),
        None => String::new(),
    }
}
