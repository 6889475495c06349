//! Ways to an object's node agent: logs, exec, attach, port-forward, and the agent's own API below `nodes/<name>/proxy`.
//!
//! The URLs are the kubelet's. What is asked for is checked here; the bytes pass through untouched.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderValue, StatusCode, header};
use kontiki_kinds::Subresource;
use kontiki_model::{Faults, Key, Status};
use serde_json::Value;

use super::{
    super::{
        call::Call,
        object::{self, text},
        options::go_number_error,
        store,
    },
    connection,
    named::Named,
    refusal::{self, Streams},
};
use crate::{
    Core, content,
    failure::{self, Qualified},
    proxy::{self, NodeAddress},
    request::{ApiRequest, ApiResponse, ResourceRequest},
    websocket::{Handshake, Payload},
};

const NODES: Qualified<'static> = Qualified { group: "", resource: "nodes" };
/// Where a node agent listens that does not say so.
const AGENT_PORT: u16 = 10250;

/// What a log is told in over a WebSocket.
const LOG_PROTOCOLS: &[(&str, Payload)] =
    &[("", Payload::Binary), ("binary.k8s.io", Payload::Binary), ("base64.binary.k8s.io", Payload::Base64)];

/// Serves a subresource that a node agent answers.
pub async fn forward(
    core: &Arc<Core>,
    route: &ResourceRequest,
    mut request: ApiRequest,
    subresource: Subresource,
) -> Result<ApiResponse, Status> {
    let call = Call::new(core, route, &request);
    let name = call.name()?;
    let warnings = connection::admit(&call, subresource).await?;
    if subresource == Subresource::NodeProxy {
        let named = Named::of(&call)?;
        let address = address(core, named.name).await?;
        is_agent(named, &address)?;
        let path = if route.rest.is_empty() { "/" } else { route.rest.as_str() };
        let target = with_query(path, &request.raw_query);
        return proxy::forward(core, &address, &target, request).await;
    }
    let object = connection::object(&call, call.resource(), name).await?;
    let target = match subresource {
        Subresource::Log => logs(&call, &object)?,
        Subresource::PortForward => port_forward(&call, &object)?,
        Subresource::Exec => streams(&call, &object, "exec")?,
        _ => streams(&call, &object, "attach")?,
    };
    let node = text(&object, "/spec/nodeName");
    if node.is_empty() {
        return match subresource {
            // Nothing has run yet, so nothing was said.
            Subresource::Log => Ok(content::response(StatusCode::NO_CONTENT, "text/plain", "")),
            _ => Err(failure::bad_request(format!("{} {name} does not have a host assigned", call.kind.singular))),
        };
    }
    let address = address(core, node).await?;
    let of = format!("{}/{}", call.kind.resource, subresource.name());
    let (name, method) = (name.to_owned(), request.method.as_str().to_ascii_lowercase());
    let is_log = subresource == Subresource::Log;
    // The agent tells a log as it comes; messages are made of it here.
    let handshake = if is_log { Handshake::of_known(&request, LOG_PROTOCOLS)? } else { None };
    let streams = if is_log { None } else { Streams::asked_for(&request)? };
    let upgrade = request.upgrade.take().filter(|_| !is_log);
    let response = proxy::forward(core, &address, &target, ApiRequest { upgrade, ..request }).await?;
    if !response.status().is_success() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return match streams {
            Some(streams) => Ok(streams.refuse(response).await),
            None => Err(refusal::told(response, &method, &of, &name).await),
        };
    }
    let mut response = match handshake {
        Some((handshake, payload)) => handshake.answer(response.into_body(), payload),
        None => typed(response, subresource),
    };
    warnings.iter().for_each(|warning| content::warn(&mut response, warning));
    Ok(response)
}

/// Where the node's agent listens, as its status says.
async fn address(core: &Core, name: &str) -> Result<NodeAddress, Status> {
    let key = Key::new(NODES.resource, "", name);
    let mut stored = core.log.get(&key).map_err(|error| store::read_failed(&error))?;
    if stored.is_none() {
        store::barrier(core).await?;
        stored = core.log.get(&key).map_err(|error| store::read_failed(&error))?;
    }
    let node = object::open(&stored.ok_or_else(|| failure::not_found(NODES, name))?)?;
    let addresses = node.pointer("/status/addresses").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let internal = addresses.iter().find(|address| text(address, "/type") == "InternalIP");
    let address = internal.and_then(|address| text(address, "/address").parse::<IpAddr>().ok());
    let port = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64);
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0).unwrap_or(AGENT_PORT);
    match address {
        Some(address) => Ok(NodeAddress { node: name.to_owned(), address, port }),
        None => Err(failure::internal(format!("no preferred addresses found; known addresses: {}", addresses.len()))),
    }
}

/// A node is asked through its agent: a path may not become a way to whatever else listens there.
fn is_agent(named: Named<'_>, address: &NodeAddress) -> Result<(), Status> {
    let port = address.port;
    if named.port.is_empty() || named.port == port.to_string() {
        return Ok(());
    }
    let message = format!("of node {:?}, port {port} alone can be reached: its agent's", named.name);
    Err(failure::bad_request(message))
}

fn with_query(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// The container that is meant: the named one, or the only one.
fn container<'a>(call: &Call<'a>, object: &'a Value) -> Result<&'a str, Status> {
    let names = |member: &str| -> Vec<&'a str> {
        let all = object.pointer(&format!("/spec/{member}")).and_then(Value::as_array);
        all.into_iter().flatten().map(|container| text(container, "/name")).collect()
    };
    let (main, init, ephemeral) = (names("containers"), names("initContainers"), names("ephemeralContainers"));
    let of = text(object, "/metadata/name");
    let (kind, wanted) = (call.kind.singular, call.request.query_value("container").unwrap_or(""));
    if !wanted.is_empty() {
        let found = main.iter().chain(&init).chain(&ephemeral).find(|name| **name == wanted);
        let refused = || failure::bad_request(format!("container {wanted} is not valid for {kind} {of}"));
        return found.copied().ok_or_else(refused);
    }
    if let [only] = main[..] {
        return Ok(only);
    }
    let mut message =
        format!("a container name must be specified for {kind} {of}, choose one of: [{}]", main.join(" "));
    if !init.is_empty() {
        message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
    }
    Err(failure::bad_request(message))
}

fn logs(call: &Call<'_>, object: &Value) -> Result<String, Status> {
    let request = call.request;
    let mut faults = Faults::default();
    let mut query = form_urlencoded::Serializer::new(String::new());
    for flag in ["follow", "previous", "timestamps"] {
        if request.query_flag(flag) {
            query.append_pair(flag, "true");
        }
    }
    for (name, least, why) in [
        ("sinceSeconds", 1, "must be greater than 0"),
        ("tailLines", 0, "must be greater than or equal to 0"),
        ("limitBytes", 1, "must be greater than 0"),
    ] {
        let Some(text) = request.query_value(name).filter(|text| !text.is_empty()) else { continue };
        let number: i64 =
            text.parse().map_err(|error| failure::bad_request(go_number_error("ParseInt", text, &error)))?;
        if number < least {
            faults.invalid(name, number, why);
        }
        query.append_pair(name, text);
    }
    if let Some(since) = request.query_value("sinceTime").filter(|since| !since.is_empty()) {
        if chrono::DateTime::parse_from_rfc3339(since).is_err() {
            return Err(failure::bad_request(format!("sinceTime: {since:?} is not an RFC 3339 time")));
        }
        if request.query_value("sinceSeconds").is_some_and(|seconds| !seconds.is_empty()) {
            faults.forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified");
        }
        query.append_pair("sinceTime", since);
    }
    if !faults.is_empty() {
        let options = format!("{}LogOptions", call.kind.kind);
        let name = text(object, "/metadata/name");
        return Err(failure::invalid(Qualified { group: "", resource: &options }, name, &faults));
    }
    let container = container(call, object)?;
    Ok(with_query(&place("containerLogs", object, Some(container)), &query.finish()))
}

/// `exec` and `attach`: which streams, and what to run.
fn streams(call: &Call<'_>, object: &Value, verb: &str) -> Result<String, Status> {
    let request = call.request;
    let mut query = form_urlencoded::Serializer::new(String::new());
    let streams = connection::streams(request);
    for ((_, wanted), name) in streams.iter().zip(["input", "output", "error", "tty"]) {
        if *wanted {
            query.append_pair(name, "1");
        }
    }
    let mut faults = Faults::default();
    if !streams[..3].iter().any(|(_, wanted)| *wanted) {
        faults.required("", "at least one of stdin, stdout, stderr must be set");
    }
    let commands: Vec<&str> =
        request.query.iter().filter(|(name, _)| name == "command").map(|(_, value)| value.as_str()).collect();
    if verb == "exec" && commands.is_empty() {
        faults.required("command", "");
    }
    if !faults.is_empty() {
        let options = format!("{}{}Options", call.kind.kind, if verb == "exec" { "Exec" } else { "Attach" });
        let name = text(object, "/metadata/name");
        return Err(failure::invalid(Qualified { group: "", resource: &options }, name, &faults));
    }
    for command in commands {
        query.append_pair("command", command);
    }
    let container = container(call, object)?;
    Ok(with_query(&place(verb, object, Some(container)), &query.finish()))
}

fn port_forward(call: &Call<'_>, object: &Value) -> Result<String, Status> {
    let ports: Vec<&str> =
        call.request.query.iter().filter(|(name, _)| name == "ports").map(|(_, value)| value.as_str()).collect();
    let mut query = form_urlencoded::Serializer::new(String::new());
    if !ports.is_empty() {
        query.append_pair("port", &ports.join(","));
    }
    Ok(with_query(&place("portForward", object, None), &query.finish()))
}

/// The agent's path; names are path segments already, by their rules.
fn place(verb: &str, object: &Value, container: Option<&str>) -> String {
    let (namespace, name) = (text(object, "/metadata/namespace"), text(object, "/metadata/name"));
    match container {
        Some(container) => format!("/{verb}/{namespace}/{name}/{container}"),
        None => format!("/{verb}/{namespace}/{name}"),
    }
}

fn typed(mut response: ApiResponse, subresource: Subresource) -> ApiResponse {
    if subresource == Subresource::Log {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn agents_are_asked_by_the_kubelets_urls() {
        let object = json!({"metadata": {"name": "p", "namespace": "n"}});
        assert_eq!(place("containerLogs", &object, Some("c")), "/containerLogs/n/p/c");
        assert_eq!(place("portForward", &object, None), "/portForward/n/p");
        assert_eq!(with_query("/x", ""), "/x");
        assert_eq!(with_query("/x", "a=b"), "/x?a=b");
    }
}
