//! As much of the Kubernetes API as the agent needs, in memory: objects, merge patches, versions, watches.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::PATIENCE;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;
type Key = (String, String, String);

#[derive(Clone)]
pub struct Api(Arc<(Mutex<State>, watch::Sender<usize>)>);

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, Value>,
    /// Every change there ever was: resource and watch event.
    log: Vec<(String, Value)>,
}

impl Default for Api {
    fn default() -> Self {
        Api(Arc::new((Mutex::default(), watch::Sender::new(0))))
    }
}

/// A path taken apart.
struct Target {
    resource: String,
    namespace: String,
    name: Option<String>,
    subresource: Option<String>,
}

impl Api {
    pub fn service(
        &self,
    ) -> impl tower::Service<Request<Body>, Response = Answer, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + 'static {
        let api = self.clone();
        tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                let query: BTreeMap<String, String> =
                    form_urlencoded::parse(parts.uri.query().unwrap_or("").as_bytes()).into_owned().collect();
                Ok(api.answer(&parts.method, parts.uri.path(), &query, body))
            }
        })
    }

    fn answer(&self, method: &Method, path: &str, query: &BTreeMap<String, String>, body: Value) -> Answer {
        let target = target(path);
        let key = |name: &str| (target.resource.clone(), target.namespace.clone(), name.to_owned());
        match (method, &target.name) {
            (&Method::GET, None) if query.get("watch").is_some_and(|watch| watch == "true") => {
                self.watch(&target, query)
            }
            (&Method::GET, None) => {
                let state = self.0.0.lock().unwrap();
                let items: Vec<&Value> = state
                    .objects
                    .iter()
                    .filter(|(key, value)| selects(&target, query, key, value))
                    .map(|(_, v)| v)
                    .collect();
                let version = state.log.len().to_string();
                send(
                    StatusCode::OK,
                    &json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items}),
                )
            }
            (&Method::GET, Some(name)) => match self.get(&target.resource, &target.namespace, name) {
                Value::Null => refuse(StatusCode::NOT_FOUND, "NotFound"),
                value => send(StatusCode::OK, &value),
            },
            (&Method::POST, _) if target.subresource.is_some() => refuse(StatusCode::NOT_FOUND, "NotFound"),
            (&Method::POST, _) => {
                let mut body = body;
                body["metadata"]["namespace"] = target.namespace.clone().into();
                send(StatusCode::CREATED, &self.create(&target.resource, body))
            }
            (&Method::PATCH, Some(name)) => self.patch(key(name), body),
            (&Method::DELETE, Some(name)) => {
                self.remove(&target.resource, &target.namespace, name);
                send(StatusCode::OK, &json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
            }
            _ => refuse(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }

    fn watch(&self, target: &Target, query: &BTreeMap<String, String>) -> Answer {
        let from: usize = query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
        let (api, query) = (self.clone(), query.clone());
        let target = (target.resource.clone(), target.namespace.clone());
        let events = stream::unfold((from, self.0.1.subscribe()), move |(mut at, mut changed)| {
            let (api, query, (resource, namespace)) = (api.clone(), query.clone(), target.clone());
            async move {
                let target = Target { resource, namespace, name: None, subresource: None };
                loop {
                    let next = api.0.0.lock().unwrap().log.get(at).cloned();
                    match next {
                        Some((resource, event)) => {
                            at += 1;
                            let key = key_of(&resource, &event["object"]);
                            if selects(&target, &query, &key, &event["object"]) {
                                return Some((format!("{event}\n"), (at, changed)));
                            }
                        }
                        None => changed.changed().await.ok()?,
                    }
                }
            }
        });
        let body = StreamBody::new(events.map(|line| Ok::<_, Infallible>(Frame::data(Bytes::from(line)))));
        Response::new(BodyExt::boxed_unsync(body))
    }

    fn patch(&self, key: Key, patch: Value) -> Answer {
        let Some(mut value) = self.0.0.lock().unwrap().objects.get(&key).cloned() else {
            return refuse(StatusCode::NOT_FOUND, "NotFound");
        };
        let expected = &patch["metadata"]["resourceVersion"];
        if !expected.is_null() && *expected != value["metadata"]["resourceVersion"] {
            return refuse(StatusCode::CONFLICT, "Conflict");
        }
        merge(&mut value, &patch);
        send(StatusCode::OK, &self.store(&key.0, "MODIFIED", value))
    }

    pub fn create(&self, resource: &str, mut value: Value) -> Value {
        value["metadata"]["uid"] = format!("uid-{}", self.0.0.lock().unwrap().log.len()).into();
        self.store(resource, "ADDED", value)
    }

    /// Changes an object as a user does.
    pub fn change(&self, resource: &str, namespace: &str, name: &str, patch: Value) {
        self.patch((resource.into(), namespace.into(), name.into()), patch);
    }

    fn store(&self, resource: &str, type_: &str, mut value: Value) -> Value {
        let mut state = self.0.0.lock().unwrap();
        value["metadata"]["resourceVersion"] = (state.log.len() + 1).to_string().into();
        state.log.push((resource.to_owned(), json!({"type": type_, "object": value})));
        let key = key_of(resource, &value);
        if type_ == "DELETED" {
            state.objects.remove(&key);
        } else {
            state.objects.insert(key, value.clone());
        }
        self.0.1.send_replace(state.log.len());
        value
    }

    pub fn remove(&self, resource: &str, namespace: &str, name: &str) {
        let value = self.get(resource, namespace, name);
        if !value.is_null() {
            self.store(resource, "DELETED", value);
        }
    }

    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Value {
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        self.0.0.lock().unwrap().objects.get(&key).cloned().unwrap_or(Value::Null)
    }

    pub async fn until(&self, resource: &str, namespace: &str, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut changed = self.0.1.subscribe();
        let met = async {
            loop {
                let value = self.get(resource, namespace, name);
                if wanted(&value) {
                    return value;
                }
                changed.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, met).await {
            Ok(value) => value,
            Err(_) => panic!("never came to be: {:#}", self.get(resource, namespace, name)),
        }
    }

    /// `reason: message` of every event, in order.
    pub fn events(&self) -> Vec<String> {
        let state = self.0.0.lock().unwrap();
        let events = state.log.iter().filter(|(resource, event)| resource == "events" && event["type"] == "ADDED");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        events
            .map(|(_, event)| format!("{}: {}", text(&event["object"]["reason"]), text(&event["object"]["message"])))
            .collect()
    }

    /// Waits for an event.
    pub async fn event(&self, wanted: &str) {
        let mut changed = self.0.1.subscribe();
        let met = async {
            while !self.events().iter().any(|event| event.starts_with(wanted)) {
                changed.changed().await.unwrap();
            }
        };
        assert!(tokio::time::timeout(PATIENCE, met).await.is_ok(), "no event {wanted:?} in {:#?}", self.events());
    }
}

fn target(path: &str) -> Target {
    let mut parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    parts.drain(..if parts[0] == "api" { 2 } else { 3 });
    let mut namespace = String::new();
    if parts.first() == Some(&"namespaces") && parts.len() > 2 {
        namespace = parts[1].to_owned();
        parts.drain(..2);
    }
    let part = |at: usize| parts.get(at).map(|part| part.to_string());
    Target { resource: parts[0].to_owned(), namespace, name: part(1), subresource: part(2) }
}

fn key_of(resource: &str, value: &Value) -> Key {
    let text = |field: &str| value["metadata"][field].as_str().unwrap_or_default().to_owned();
    (resource.to_owned(), text("namespace"), text("name"))
}

fn selects(target: &Target, query: &BTreeMap<String, String>, key: &Key, value: &Value) -> bool {
    let selector = query.get("fieldSelector").map(String::as_str).unwrap_or_default();
    let fields = selector.split(',').filter_map(|part| part.split_once('='));
    key.0 == target.resource
        && (target.namespace.is_empty() || key.1 == target.namespace)
        && fields.into_iter().all(|(field, wanted)| {
            let found = field.split('.').fold(value, |value, part| &value[part]);
            found.as_str() == Some(wanted)
        })
}

fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    for (key, change) in patch {
        match change {
            Value::Null => drop(value.as_object_mut().unwrap().remove(key)),
            change => merge(&mut value[key.as_str()], change),
        }
    }
}

fn send(status: StatusCode, value: &Value) -> Answer {
    let body = BodyExt::boxed_unsync(Full::new(Bytes::from(value.to_string())));
    Response::builder().status(status).body(body).unwrap()
}

fn refuse(status: StatusCode, reason: &str) -> Answer {
    send(
        status,
        &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason, "code": status.as_u16()}),
    )
}
