//! What a request asks for, read from its method, path and query alone: Kubernetes' RequestInfo, and the kind it means.

use http::Method;
use kontiki_kinds::{Kind, Kinds};
use kontiki_model::{FieldSelector, Status};
use percent_encoding::percent_decode_str;

use crate::{
    failure,
    request::{ResourceRequest, is_true},
};

/// In a path, what follows is a namespace, or the name of one.
const NAMESPACES: &str = "namespaces";

/// What a request asks for, before anybody checks that it exists. Authorization judges this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestInfo {
    /// Kubernetes' verb; for paths that are no resource the HTTP method in lower case. Empty for unknown methods.
    pub verb: &'static str,
    pub target: Target,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Resource(ResourceInfo),
    /// Any other path.
    Path(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceInfo {
    pub group: String,
    pub version: String,
    /// Empty for cluster scope. A namespace is in itself.
    pub namespace: String,
    pub resource: String,
    pub subresource: String,
    /// From the path, or from a `metadata.name` field selector.
    pub name: String,
    /// The path itself names an object.
    pub named: bool,
    /// The path behind the subresource, still percent-encoded, with its leading slash; empty if there is none.
    pub rest: String,
    /// A part of the path is empty, or would be two when decoded: no resource has such a path.
    pub astray: bool,
}

/// A path that cannot be read.
fn malformed() -> Status {
    failure::bad_request("the path is not percent-encoded UTF-8")
}

impl RequestInfo {
    pub fn read(method: &Method, path: &str, query: &[(String, String)]) -> Result<Self, Status> {
        // Behind two slashes is no resource, whatever the rest looks like.
        if path.starts_with("//") {
            return Ok(RequestInfo { verb: plain_verb(method), target: Target::Path(path.to_owned()) });
        }
        let mut parts = Parts::new(path)?;
        let group = match (parts.at(0), parts.left()) {
            ("api", 3..) => {
                parts.skip(1);
                String::new()
            }
            ("apis", 4..) => {
                parts.skip(1);
                parts.next().unwrap_or_default().to_owned()
            }
            _ => return Ok(RequestInfo { verb: plain_verb(method), target: Target::Path(path.to_owned()) }),
        };
        let version = parts.next().unwrap_or_default().to_owned();
        let watch_path = parts.peek() == Some("watch");
        if watch_path {
            parts.next();
        }
        let mut info = ResourceInfo { group, version, ..ResourceInfo::default() };
        info.read_place(&mut parts);
        let mut verb = resource_verb(method);
        if watch_path {
            // Whatever the method: only GET is served there.
            verb = "watch";
        } else if info.name.is_empty() && verb == "get" {
            verb = if flag(query, "watch") { "watch" } else { "list" };
        } else if info.name.is_empty() && verb == "delete" {
            verb = "deletecollection";
        }
        if matches!(verb, "list" | "watch" | "deletecollection") && info.name.is_empty() {
            info.name = selected_name(query).unwrap_or_default();
        }
        Ok(RequestInfo { verb, target: Target::Resource(info) })
    }

    /// Whether something is reached through the object, which may do anything, whatever the verb.
    pub fn reaches_through(&self) -> bool {
        match &self.target {
            Target::Resource(info) => {
                matches!(info.subresource.as_str(), "attach" | "exec" | "portforward" | "proxy")
            }
            Target::Path(_) => false,
        }
    }

    /// Watches, tunnels and streams: not bounded in time, and counted apart.
    pub fn is_long(&self) -> bool {
        match &self.target {
            Target::Resource(info) => self.verb == "watch" || info.subresource == "log" || self.reaches_through(),
            Target::Path(_) => false,
        }
    }
}

impl ResourceInfo {
    /// `namespaces/<namespace>/<resource>/…` or `<resource>/…`.
    fn read_place(&mut self, parts: &mut Parts<'_>) {
        if parts.peek() == Some("namespaces") && parts.left() > 1 {
            self.namespace = parts.at(1).to_owned();
            if parts.left() > 2 && !matches!(parts.at(2), "status" | "finalize") {
                parts.skip(2);
            }
        }
        self.resource = parts.next().unwrap_or_default().to_owned();
        self.name = parts.next().unwrap_or_default().to_owned();
        self.named = !self.name.is_empty();
        self.subresource = parts.next().unwrap_or_default().to_owned();
        self.rest = parts.rest();
        self.astray = parts.read().any(|part| part.is_empty() || part.contains('/'));
    }

    /// The kind behind the path and how it is asked for; 404 and 405 where there is none.
    pub fn resolve(&self, kinds: &Kinds, verb: &'static str, method: &Method) -> Result<ResourceRequest, Status> {
        if self.astray {
            return Err(failure::no_such_resource());
        }
        let kind =
            kinds.by_resource(&self.group, &self.version, &self.resource).ok_or_else(failure::no_such_resource)?;
        let named = self.named;
        let own_namespace = kind.resource == NAMESPACES && kind.group.is_empty();
        let in_namespace = !self.namespace.is_empty() && !own_namespace;
        let all_namespaces = kind.namespaced && !in_namespace;
        if in_namespace && !kind.namespaced || all_namespaces && named {
            return Err(failure::no_such_resource());
        }
        let mut proxied = false;
        let offered = match self.subresource.as_str() {
            "" => whole_verbs(&kind, named, all_namespaces),
            name => {
                let found = kind.subresources.iter().find(|subresource| subresource.name() == name);
                let subresource = found.ok_or_else(failure::no_such_resource)?;
                proxied = subresource.is_proxy();
                if !self.rest.is_empty() && !proxied {
                    return Err(failure::no_such_resource());
                }
                subresource.verbs().to_vec()
            }
        };
        let asks_about = matches!(*method, Method::HEAD | Method::OPTIONS);
        let asks_otherwise = verb == "watch" && *method != Method::GET;
        let allowed = if asks_about { proxied } else { offered.contains(&verb) && !asks_otherwise };
        if !allowed {
            return Err(failure::method_not_allowed());
        }
        [&self.name, &self.namespace].into_iter().try_for_each(|name| check_segment(name))?;
        Ok(ResourceRequest {
            kind,
            namespace: Some(self.namespace.clone()).filter(|_| in_namespace),
            name: Some(self.name.clone()).filter(|_| named),
            subresource: Some(self.subresource.clone()).filter(|name| !name.is_empty()),
            rest: self.rest.clone(),
            verb,
        })
    }
}

/// No object has such a name, and no path may go astray by one.
fn check_segment(name: &str) -> Result<(), Status> {
    let why = match name {
        "." | ".." => format!("may not be '{name}'"),
        name if name.contains('%') => "may not contain '%'".to_owned(),
        _ => return Ok(()),
    };
    Err(failure::bad_request(format!("Name parameter invalid: {name:?}: {why}")))
}

/// The verbs of a kind's own paths: those of one object, of a collection, of the collections of all namespaces.
fn whole_verbs(kind: &Kind, named: bool, all_namespaces: bool) -> Vec<&'static str> {
    let here: &[&str] = match (named, all_namespaces) {
        (true, _) => &["get", "update", "patch", "delete", "watch"],
        (false, false) => &["create", "list", "watch", "deletecollection"],
        (false, true) => &["list", "watch"],
    };
    kind.verbs.iter().copied().filter(|verb| here.contains(verb)).collect()
}

fn plain_verb(method: &Method) -> &'static str {
    match method.as_str() {
        "DELETE" => "delete",
        "GET" => "get",
        "HEAD" => "head",
        "OPTIONS" => "options",
        "PATCH" => "patch",
        "POST" => "post",
        "PUT" => "put",
        _ => "",
    }
}

fn resource_verb(method: &Method) -> &'static str {
    match method.as_str() {
        "DELETE" => "delete",
        "GET" | "HEAD" => "get",
        "PATCH" => "patch",
        "POST" => "create",
        "PUT" => "update",
        _ => "",
    }
}

fn flag(query: &[(String, String)], name: &str) -> bool {
    query.iter().find(|(key, _)| key == name).is_some_and(|(_, value)| is_true(value))
}

/// The one name that a field selector leaves. What cannot be read leaves none, and is refused by who would select by it.
fn selected_name(query: &[(String, String)]) -> Option<String> {
    let (_, selector) = query.iter().find(|(key, _)| key == "fieldSelector")?;
    FieldSelector::parse(selector).ok()?.required("metadata.name").map(str::to_owned)
}

/// The segments of a path, decoded, and where each begins in the original. Slashes at both ends count for nothing; an empty
/// segment in between is one.
struct Parts<'a> {
    raw: &'a str,
    segments: Vec<(usize, String)>,
    position: usize,
}

impl<'a> Parts<'a> {
    fn new(path: &'a str) -> Result<Self, Status> {
        let mut segments = Vec::new();
        let mut offset = path.len() - path.trim_start_matches('/').len();
        let inner = path.trim_matches('/');
        for segment in inner.split('/').filter(|_| !inner.is_empty()) {
            let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| malformed())?;
            segments.push((offset, decoded.into_owned()));
            offset += segment.len() + 1;
        }
        Ok(Parts { raw: path, segments, position: 0 })
    }

    fn left(&self) -> usize {
        self.segments.len() - self.position
    }

    fn at(&self, ahead: usize) -> &str {
        self.segments.get(self.position + ahead).map_or("", |(_, segment)| segment)
    }

    fn peek(&self) -> Option<&str> {
        self.segments.get(self.position).map(|(_, segment)| segment.as_str())
    }

    fn next(&mut self) -> Option<&str> {
        let (_, segment) = self.segments.get(self.position)?;
        self.position += 1;
        Some(segment)
    }

    /// What was read so far.
    fn read(&self) -> impl Iterator<Item = &str> {
        self.segments[..self.position].iter().map(|(_, segment)| segment.as_str())
    }

    fn skip(&mut self, count: usize) {
        self.position += count;
    }

    /// What is left, as it was written, from its slash on; a lone trailing slash counts when a segment came before it.
    fn rest(&self) -> String {
        match self.segments.get(self.position) {
            Some((offset, _)) => self.raw[offset - 1..].to_owned(),
            None => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn told(method: &str, target: &str) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let info = RequestInfo::read(&method.parse().unwrap(), path, &query).unwrap();
        match info.target {
            Target::Path(path) => format!("{} {path}", info.verb),
            Target::Resource(r) => format!(
                "{} g={} v={} ns={} r={} n={} s={} rest={}",
                info.verb, r.group, r.version, r.namespace, r.resource, r.name, r.subresource, r.rest
            ),
        }
    }

    #[test]
    fn requests_are_read_as_kubernetes_reads_them() {
        let cases = [
            ("GET", "/", "get /"),
            ("GET", "/healthz", "get /healthz"),
            ("GET", "/api", "get /api"),
            ("GET", "/api/v1", "get /api/v1"),
            ("GET", "/apis/apps/v1", "get /apis/apps/v1"),
            ("GET", "/api/v1/pods", "list g= v=v1 ns= r=pods n= s= rest="),
            ("GET", "/api/v1/pods?watch=true", "watch g= v=v1 ns= r=pods n= s= rest="),
            ("GET", "/api/v1/pods?watch=0", "list g= v=v1 ns= r=pods n= s= rest="),
            ("GET", "/api/v1/pods?watch=False", "list g= v=v1 ns= r=pods n= s= rest="),
            ("GET", "/api/v1/namespaces/a/pods", "list g= v=v1 ns=a r=pods n= s= rest="),
            ("GET", "/api/v1/namespaces/a/pods/p/log?follow=true", "get g= v=v1 ns=a r=pods n=p s=log rest="),
            ("GET", "/api/v1/namespaces/a", "get g= v=v1 ns=a r=namespaces n=a s= rest="),
            ("PUT", "/api/v1/namespaces/a/finalize", "update g= v=v1 ns=a r=namespaces n=a s=finalize rest="),
            ("POST", "/api/v1/namespaces", "create g= v=v1 ns= r=namespaces n= s= rest="),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/a/deployments",
                "deletecollection g=apps v=v1 ns=a r=deployments n= s= rest=",
            ),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/a/deployments/d/scale",
                "patch g=apps v=v1 ns=a r=deployments n=d s=scale rest=",
            ),
            ("GET", "/api/v1/watch/namespaces/a/pods", "watch g= v=v1 ns=a r=pods n= s= rest="),
            ("DELETE", "/api/v1/watch/namespaces/a/pods", "watch g= v=v1 ns=a r=pods n= s= rest="),
            ("PUT", "/api/v1/watch/namespaces/a/pods/x", "watch g= v=v1 ns=a r=pods n=x s= rest="),
            (
                "POST",
                "/api/v1/nodes/n/proxy/images/a%2Fb?x=1",
                "create g= v=v1 ns= r=nodes n=n s=proxy rest=/images/a%2Fb",
            ),
            ("GET", "/api/v1/nodes?fieldSelector=metadata.name%3Dn", "list g= v=v1 ns= r=nodes n=n s= rest="),
            ("GET", "/api/v1/nodes?fieldSelector=a!%3Db,metadata.name%3D%3Dn", "list g= v=v1 ns= r=nodes n=n s= rest="),
            ("GET", "/api/v1/nodes?fieldSelector=a!%3Db%5C,metadata.name%3Dn", "list g= v=v1 ns= r=nodes n= s= rest="),
            ("BREW", "/api/v1/nodes/n", " g= v=v1 ns= r=nodes n=n s= rest="),
            ("GET", "/api/v1/namespaces/a/configmaps/x%2Fy", "get g= v=v1 ns=a r=configmaps n=x/y s= rest="),
            ("GET", "/api/v1/pods/", "list g= v=v1 ns= r=pods n= s= rest="),
            ("GET", "//api/v1/pods", "get //api/v1/pods"),
            ("GET", "/api/v1/nodes/n/proxy//a//b", "get g= v=v1 ns= r=nodes n=n s=proxy rest=//a//b"),
        ];
        for (method, target, expected) in cases {
            assert_eq!(told(method, target), expected, "{method} {target}");
        }
    }

    #[test]
    fn kinds_and_verbs_that_do_not_exist_are_told_apart() {
        let cases = [
            ("GET", "/api/v1/namespaces/a/configmaps/x", 200),
            ("GET", "/api/v1/namespaces/a/nosuch", 404),
            ("GET", "/api/v1/configmaps", 200),
            ("POST", "/api/v1/configmaps", 405),
            ("GET", "/api/v1/configmaps/x", 404),
            ("GET", "/api/v1/namespaces/a/nodes", 404),
            ("PUT", "/api/v1/namespaces/a/configmaps", 405),
            ("POST", "/api/v1/namespaces/a/configmaps/x", 405),
            ("BREW", "/api/v1/namespaces/a/configmaps/x", 405),
            ("DELETE", "/api/v1/namespaces", 405),
            ("DELETE", "/api/v1/namespaces/a", 200),
            ("GET", "/api/v1/namespaces/a/configmaps/x/status", 404),
            ("DELETE", "/apis/apps/v1/namespaces/a/replicasets/r/scale", 405),
            ("GET", "/apis/apps/v1beta1/namespaces/a/replicasets/r", 404),
            ("POST", "/api/v1/nodes/n/proxy/images", 200),
            ("PUT", "/api/v1/namespaces/a/pods/https:p:web/proxy/x/", 200),
            ("HEAD", "/api/v1/namespaces/a/services/s:80/proxy", 200),
            ("OPTIONS", "/api/v1/namespaces/a/services/s/proxy/x", 200),
            ("OPTIONS", "/api/v1/namespaces/a/pods/p/log", 405),
            ("HEAD", "/api/v1/namespaces/a/pods/p", 405),
            ("PUT", "/api/v1/namespaces/a/pods/p/resize", 200),
            ("GET", "/api/v1/namespaces/a/pods/p/log/more", 404),
            ("GET", "/api/v1/namespaces/a/configmaps/x%2Fy", 404),
            ("GET", "/api/v1/namespaces/a%2Fb/configmaps/x", 404),
            ("GET", "/api/v1/namespaces/a%2Fpods", 404),
            ("GET", "/api/v1//pods", 404),
            ("GET", "/api/v1/namespaces//pods", 404),
            ("GET", "/api/v1/namespaces/a/pods//log", 404),
            ("GET", "/api/v1/../v1/pods", 404),
            ("GET", "/api/v1/namespaces/a/../b/pods", 404),
            ("GET", "/api/v1/namespaces/..", 400),
            ("GET", "/api/v1/namespaces/%2e%2e/pods", 400),
            ("GET", "/api/v1/namespaces/a/configmaps/%2e", 400),
            ("GET", "/api/v1/namespaces/a/configmaps/%252e", 400),
        ];
        for (method, path, code) in cases {
            let method: Method = method.parse().unwrap();
            let info = RequestInfo::read(&method, path, &[]).unwrap();
            let Target::Resource(resource) = info.target else { panic!("{path} is a resource") };
            let told =
                resource.resolve(&Kinds::default(), info.verb, &method).map_or_else(|status| status.code, |_| 200);
            assert_eq!(told, code, "{method} {path}");
        }
    }
}
