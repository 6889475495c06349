//! Which request gets which answer.

use std::{collections::HashMap, sync::Arc};

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::Pod;
use percent_encoding::percent_decode_str;

use super::{
    answer::{self, Answer, Problem},
    images, log_stream, portforward, streams,
};
use crate::{
    node::NodeContext,
    pod::{self, PodId},
};

pub async fn route(node: Arc<NodeContext>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let parts: Result<Vec<String>, _> = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(|part| percent_decode_str(part).decode_utf8().map(|part| part.into_owned()))
        .collect();
    let Ok(parts) = parts else { return Problem::bad_request("the path is not UTF-8").into() };
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let query = Query::of(&request);
    let result = match (request.method().clone(), parts.as_slice()) {
        (Method::GET, ["healthz"]) => Ok(answer::text("ok")),
        (Method::GET, ["pods" | "runningpods"]) => Ok(pods(&node)),
        (Method::GET, ["metrics"]) => Ok(metrics(&node)),
        (Method::GET, ["containerLogs", namespace, name, container]) => {
            match find(&node, namespace, name, None, Some(container)) {
                Ok(pod) => log_stream::logs(node, &pod, container, &query).await,
                Err(problem) => Err(problem),
            }
        }
        (Method::GET | Method::POST, ["exec", rest @ ..]) => match target(&node, rest) {
            Ok((pod, container)) => streams::exec(node, &pod, container, &query, request).await,
            Err(problem) => Err(problem),
        },
        (Method::GET | Method::POST, ["attach", rest @ ..]) => match target(&node, rest) {
            Ok((pod, container)) => streams::attach(node, &pod, container, &query, request).await,
            Err(problem) => Err(problem),
        },
        (Method::GET | Method::POST, ["portForward", namespace, name, uid @ ..]) => {
            match find(&node, namespace, name, uid.first().copied(), None) {
                Ok(pod) => portforward::forward(node, &PodId::of(&pod), &query, request).await,
                Err(problem) => Err(problem),
            }
        }
        (Method::GET, ["images"]) => images::list(&node).await,
        (Method::POST, ["images"]) => images::import(&node, &query, request).await,
        (Method::DELETE, ["images"]) => images::remove(&node, &query).await,
        (
            _,
            [
                "healthz" | "pods" | "runningpods" | "metrics" | "containerLogs" | "exec" | "attach" | "portForward"
                | "images",
                ..,
            ],
        ) => Err(Problem {
            status: StatusCode::METHOD_NOT_ALLOWED,
            reason: "MethodNotAllowed",
            message: format!("{} {path} is not served", request.method()),
        }),
        _ => Err(Problem::not_found(format!("{path} is not served by this node"))),
    };
    result.unwrap_or_else(Into::into)
}

/// `<namespace>/<pod>/[<uid>/]<container>`.
fn target<'a>(node: &NodeContext, parts: &[&'a str]) -> Result<(Arc<Pod>, &'a str), Problem> {
    match parts {
        [namespace, name, container] => Ok((find(node, namespace, name, None, Some(container))?, container)),
        [namespace, name, uid, container] => Ok((find(node, namespace, name, Some(uid), Some(container))?, container)),
        _ => Err(Problem::not_found("a path needs namespace, pod and container")),
    }
}

fn find(
    node: &NodeContext,
    namespace: &str,
    name: &str,
    uid: Option<&str>,
    container: Option<&str>,
) -> Result<Arc<Pod>, Problem> {
    let pod = node
        .pods
        .find(namespace, name, uid)
        .ok_or_else(|| Problem::not_found(format!("pod \"{namespace}/{name}\" is not on this node")))?;
    if let Some(container) = container
        && pod::container(&pod::spec(&pod), container).is_none()
    {
        return Err(Problem::not_found(format!("container {container:?} not found in pod {name:?}")));
    }
    Ok(pod)
}

fn pods(node: &NodeContext) -> Answer {
    let items: Vec<Arc<Pod>> = node.pods.all();
    let items: Vec<&Pod> = items.iter().map(AsRef::as_ref).collect();
    answer::json(&serde_json::json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}))
}

fn metrics(node: &NodeContext) -> Answer {
    let pods = node.pods.all();
    let running = pods.iter().filter(|pod| pod::phase(pod) == "Running").count();
    let containers = pods
        .iter()
        .flat_map(|pod| pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten()))
        .filter(|container| container.state.as_ref().is_some_and(|state| state.running.is_some()))
        .count();
    answer::text(format!(
        "# HELP kubelet_desired_pods Pods that this node has been given.\n\
         # TYPE kubelet_desired_pods gauge\n\
         kubelet_desired_pods {}\n\
         # HELP kubelet_running_pods Pods that are running.\n\
         # TYPE kubelet_running_pods gauge\n\
         kubelet_running_pods {running}\n\
         # HELP kubelet_running_containers Containers of pods that are running.\n\
         # TYPE kubelet_running_containers gauge\n\
         kubelet_running_containers{{container_state=\"running\"}} {containers}\n",
        pods.len()
    ))
}

/// The parameters of a request.
pub struct Query(HashMap<String, Vec<String>>);

impl Query {
    fn of(request: &Request<Incoming>) -> Query {
        Query::parse(request.uri().query().unwrap_or_default())
    }

    pub fn parse(text: &str) -> Query {
        let mut values: HashMap<String, Vec<String>> = HashMap::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            values.entry(name.into_owned()).or_default().push(value.into_owned());
        }
        Query(values)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.first().map(String::as_str)
    }

    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.get(name).cloned().unwrap_or_default()
    }

    /// Set by any of the names: the API server's and the kubelet's own differ.
    pub fn flag(&self, names: &[&str]) -> bool {
        names.iter().any(|name| matches!(self.get(name), Some("true" | "1")))
    }

    /// `None` if it is not given; an error if it is no number.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        match self.get(name).filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => {
                text.parse().map(Some).map_err(|_| Problem::bad_request(format!("{name} is not a number: {text:?}")))
            }
        }
    }
}
