//! The published description of the API: OpenAPI v3 per group version, and v2 for everything, each in JSON and in protobuf.
//! Built from the type table, what is said of its types, and a list of routes; it knows no kind.

mod definitions;
mod message;
mod operations;
mod parts;
mod proto;
mod proto_v3;

use serde_json::{Value, json};

use crate::table::Table;

pub use parts::{Members, Part, Written, assembled};
pub use proto_v3::v3_protobuf;

/// One resource, or one subresource, as far as its description needs it.
#[derive(Clone, Copy, Debug)]
pub struct RouteInfo<'a> {
    pub group: &'a str,
    pub version: &'a str,
    /// Plural name, as in URLs.
    pub resource: &'a str,
    /// Kind of the resource, also where the route is a subresource with another type.
    pub kind: &'a str,
    pub namespaced: bool,
    pub subresource: Option<&'a str>,
    /// Type of the body and the answer (`core.v1.Pod`); of a connect subresource, its options.
    pub type_name: &'a str,
    /// Kubernetes verbs: get, list, watch, create, update, patch, delete, deletecollection.
    pub verbs: &'a [&'a str],
    /// The subresource is a connection (exec, proxy): no typed body.
    pub connect: bool,
    /// Of a definition: no strategic merge patch, no protobuf.
    pub custom: bool,
    /// Query parameters of its own (`container`, `follow`).
    pub query: &'a [&'a str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    V2,
    V3,
}

/// The OpenAPI v3 document of one group version (`""`, `"v1"` for the core group).
pub fn v3(table: &Table, group: &str, version: &str, routes: &[RouteInfo<'_>]) -> Value {
    let routes: Vec<_> =
        routes.iter().filter(|route| route.group == group && route.version == version).copied().collect();
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": operations::paths(table, &routes, Dialect::V3),
        "components": {
            "schemas": definitions::reachable(table, &routes, Dialect::V3),
            "securitySchemes": {"BearerToken": bearer_token()},
        },
    })
}

/// The OpenAPI v2 document of all routes.
pub fn v2(table: &Table, routes: &[RouteInfo<'_>]) -> Value {
    let mut document = head();
    document["paths"] = operations::paths(table, routes, Dialect::V2);
    document["definitions"] = definitions::reachable(table, routes, Dialect::V2);
    document
}

/// A version 2 document that describes nothing yet.
fn head() -> Value {
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": {},
        "definitions": {},
        "securityDefinitions": {"BearerToken": bearer_token()},
        "security": [{"BearerToken": []}],
    })
}

/// The level of the API that the documents describe.
const VERSION: &str = "v1.36.0";

fn bearer_token() -> Value {
    json!({"description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header"})
}

impl RouteInfo<'_> {
    /// `/api/v1` or `/apis/<group>/<version>`.
    fn root(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }

    fn collection_path(&self) -> String {
        let root = self.root();
        match self.namespaced {
            true => format!("{root}/namespaces/{{namespace}}/{}", self.resource),
            false => format!("{root}/{}", self.resource),
        }
    }

    fn item_path(&self) -> String {
        let item = format!("{}/{{name}}", self.collection_path());
        match self.subresource {
            Some(subresource) => format!("{item}/{subresource}"),
            None => item,
        }
    }

    fn has(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::builtin;

    const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

    fn routes() -> Vec<RouteInfo<'static>> {
        let deployment = RouteInfo {
            group: "apps",
            version: "v1",
            resource: "deployments",
            kind: "Deployment",
            namespaced: true,
            subresource: None,
            type_name: "apps.v1.Deployment",
            verbs: ALL,
            connect: false,
            custom: false,
            query: &[],
        };
        let pod = RouteInfo { group: "", resource: "pods", kind: "Pod", type_name: "core.v1.Pod", ..deployment };
        vec![
            pod,
            RouteInfo {
                subresource: Some("exec"),
                type_name: "core.v1.PodExecOptions",
                verbs: &["create", "get"],
                connect: true,
                query: &["command", "container"],
                ..pod
            },
            RouteInfo { subresource: Some("log"), verbs: &["get"], query: &["follow"], ..pod },
            deployment,
            RouteInfo {
                subresource: Some("scale"),
                type_name: "autoscaling.v1.Scale",
                verbs: &["get", "patch", "update"],
                ..deployment
            },
            RouteInfo {
                group: "",
                resource: "nodes",
                kind: "Node",
                namespaced: false,
                type_name: "core.v1.Node",
                ..deployment
            },
        ]
    }

    #[test]
    fn v3_describes_one_group_version() {
        let document = v3(builtin(), "apps", "v1", &routes());
        let item = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
        assert_eq!(item["get"]["x-kubernetes-action"], "get");
        assert_eq!(item["patch"]["x-kubernetes-action"], "patch");
        assert_eq!(item["get"]["operationId"], "readAppsV1NamespacedDeployment");
        let gvk = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
        assert_eq!(item["patch"]["x-kubernetes-group-version-kind"], gvk);
        let names: Vec<_> =
            item["patch"]["parameters"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"], json!([gvk]));
        let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(
            containers,
            &json!({
                "type": "array",
                "description": containers["description"],
                "items": {"allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.Container"}], "default": {}},
                "x-kubernetes-list-map-keys": ["name"],
                "x-kubernetes-list-type": "map",
                "x-kubernetes-patch-merge-key": "name",
                "x-kubernetes-patch-strategy": "merge",
            })
        );
        let scale = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["put"];
        assert_eq!(scale["x-kubernetes-group-version-kind"]["kind"], "Scale");
        assert!(document["paths"].get("/api/v1/nodes").is_none());
        assert_references_resolve(&document, &document);
    }

    /// A reference with a description: version 3 wraps it, version 2 puts the two side by side.
    #[test]
    fn fields_are_described() {
        let (three, two) = (v3(builtin(), "", "v1", &routes()), v2(builtin(), &routes()));
        let schemas = &three["components"]["schemas"];
        let spec = |definitions: &Value| definitions["io.k8s.api.core.v1.Pod"]["properties"]["spec"].clone();
        let text = "What is to run. Only a few fields can be changed later.";
        let target = "#/components/schemas/io.k8s.api.core.v1.PodSpec";
        assert_eq!(spec(schemas), json!({"allOf": [{"$ref": target}], "default": {}, "description": text}));
        let target = "#/definitions/io.k8s.api.core.v1.PodSpec";
        assert_eq!(spec(&two["definitions"]), json!({"$ref": target, "description": text}));
        let (pod, volume) = (&schemas["io.k8s.api.core.v1.Pod"], &schemas["io.k8s.api.core.v1.Volume"]);
        assert!(pod["description"].as_str().unwrap().starts_with("Containers that run together"));
        assert_eq!(volume["properties"]["hostPath"]["description"], "A file or directory of the node.");
    }

    #[test]
    fn known_values_of_strings_are_told() {
        let document = v3(builtin(), "", "v1", &routes());
        let of =
            |name: &str| document["components"]["schemas"][format!("io.k8s.api.core.v1.{name}")]["properties"].clone();
        assert_eq!(of("PodSpec")["restartPolicy"]["enum"], json!(["Always", "Never", "OnFailure"]));
        let claim = &of("PersistentVolumeClaimSpec")["accessModes"];
        assert_eq!(claim["items"]["enum"][0], "ReadOnlyMany");
        assert!(claim.get("enum").is_none());
        assert!(of("PodSpec")["nodeName"].get("enum").is_none());
    }

    #[test]
    fn parts_make_the_whole_document() {
        let (core, others): (Vec<_>, Vec<_>) = routes().into_iter().partition(|route| route.group.is_empty());
        let routes = routes();
        for written in [Written::Json, Written::Protobuf] {
            let parts = [&core, &others].map(|routes| Part::of(&v2(builtin(), routes), written));
            let whole = Part::of(&v2(builtin(), &routes), written);
            assert!(parts[1].paths.len() < whole.paths.len());
            assert_eq!(assembled(parts.iter(), written), assembled([&whole].into_iter(), written));
        }
        let whole = v2(builtin(), &routes);
        let text = assembled([&Part::of(&whole, Written::Json)].into_iter(), Written::Json);
        assert_eq!(text, crate::json::escaped(whole.to_string().into_bytes()));
    }

    #[test]
    fn v2_describes_everything() {
        let document = v2(builtin(), &routes());
        let paths = document["paths"].as_object().unwrap();
        let expected = [
            "/api/v1/",
            "/api/v1/namespaces/{namespace}/pods",
            "/api/v1/namespaces/{namespace}/pods/{name}",
            "/api/v1/namespaces/{namespace}/pods/{name}/exec",
            "/api/v1/namespaces/{namespace}/pods/{name}/log",
            "/api/v1/nodes",
            "/api/v1/nodes/{name}",
            "/api/v1/pods",
            "/apis/apps/v1/",
            "/apis/apps/v1/deployments",
            "/apis/apps/v1/namespaces/{namespace}/deployments",
            "/apis/apps/v1/namespaces/{namespace}/deployments/{name}",
            "/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale",
        ];
        assert_eq!(paths.keys().map(String::as_str).collect::<Vec<_>>(), expected);
        let definition = |name: &str| &document["definitions"][name];
        assert_eq!(definition("io.k8s.apimachinery.pkg.api.resource.Quantity")["type"], "string");
        assert_eq!(
            definition("io.k8s.apimachinery.pkg.util.intstr.IntOrString"),
            &json!({
                "type": "string",
                "format": "int-or-string",
                "description": definition("io.k8s.apimachinery.pkg.util.intstr.IntOrString")["description"],
            })
        );
        assert_eq!(
            definition("io.k8s.api.core.v1.ContainerPort")["properties"]["protocol"],
            json!({
                "type": "string",
                "default": "TCP",
                "description": "TCP, UDP or SCTP. Default TCP.",
                "enum": ["SCTP", "TCP", "UDP"],
            })
        );
        assert_eq!(definition("io.k8s.api.core.v1.Volume")["required"], json!(["name"]));
        assert!(definition("io.k8s.api.core.v1.Volume")["properties"]["emptyDir"]["$ref"].is_string());
        assert_eq!(paths["/api/v1/namespaces/{namespace}/pods/{name}/exec"]["post"]["x-kubernetes-action"], "connect");
        assert_references_resolve(&document, &document);
    }

    /// Every `$ref` of the document must point at something in it.
    fn assert_references_resolve(document: &Value, value: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(target)) = members.get("$ref") {
                    let pointer = target.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{target} points nowhere");
                }
                members.values().for_each(|member| assert_references_resolve(document, member));
            }
            Value::Array(items) => items.iter().for_each(|item| assert_references_resolve(document, item)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}
