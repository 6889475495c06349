//! A client without a network: requests go straight into the handler, over a log in a scratch directory.
#![allow(clippy::unwrap_used, dead_code)]

use std::{collections::VecDeque, sync::Arc, time::Duration};

use chrono::Utc;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::BodyExt as _;
use kontiki_apiserver::{
    ApiBody, ApiRequest, ApiResponse, Config, Core, Identity, Past, RequestBody, ResourceRequest, content, rest,
};
use kontiki_kinds::{Kind, KindRef, by_gvk};
use kontiki_raft::{Log, LogConfig, Seal};
use serde_json::{Value, json};

/// May do anything.
const MASTERS: &str = "system:masters";
/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(20);

pub struct Server {
    pub core: Arc<Core>,
    _dir: tempfile::TempDir,
}

/// A request, built up from a verb on a kind.
#[derive(Clone)]
pub struct Call<'a> {
    server: &'a Server,
    route: ResourceRequest,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    body: Vec<u8>,
    at: Option<u64>,
    identity: Identity,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub body: Value,
    pub warnings: Vec<String>,
}

pub fn kind(name: &str) -> &'static Kind {
    let (group, name) = name.rsplit_once('/').unwrap_or(("", name));
    by_gvk(group, "v1", name).unwrap()
}

impl Server {
    /// A server with the namespace `default` and its service account.
    pub async fn start() -> Self {
        Server::start_on(|_, _| {}).await
    }

    /// As [`Server::start`], with a configuration that is not the usual one.
    pub async fn start_with(configure: impl FnOnce(&mut Config)) -> Self {
        Server::start_on(|_, config| configure(config)).await
    }

    /// As [`Server::start`]; bodies are sealed in the log.
    pub async fn start_sealed(seal: Arc<dyn Seal>) -> Self {
        Server::start_on(|log, _| log.seal = Some(seal)).await
    }

    async fn start_on(configure: impl FnOnce(&mut LogConfig, &mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogConfig::new(dir.path().join("log"));
        let listen = "127.0.0.1:0".parse().unwrap();
        let mut config = Config::new(listen, "127.0.0.1".parse().unwrap(), dir.path().join("pki"));
        configure(&mut log, &mut config);
        let log = Log::open(log).await.unwrap();
        let core = Core::open(config, log).unwrap();
        let server = Server { core, _dir: dir };
        let namespace = server.on("Namespace", "").create(&json!({"metadata": {"name": "default"}})).await;
        assert_eq!(namespace.code, 201, "{namespace:?}");
        let account = server.on("ServiceAccount", "default").create(&json!({"metadata": {"name": "default"}})).await;
        assert_eq!(account.code, 201, "{account:?}");
        server
    }

    /// Drops all history that may be dropped.
    pub async fn forget_history(&self) {
        let later = chrono::Utc::now() + chrono::TimeDelta::days(3650);
        self.core.log.compact_history(later.timestamp_millis()).await.unwrap();
    }

    /// Requests about a kind (`Pod`, `apps/Deployment`), in a namespace if it is not empty.
    pub fn on(&self, name: &str, namespace: &str) -> Call<'_> {
        self.about(kind(name), namespace)
    }

    pub fn about(&self, kind: impl Into<KindRef>, namespace: &str) -> Call<'_> {
        let kind = kind.into();
        let route = ResourceRequest {
            namespace: Some(namespace.to_owned()).filter(|_| kind.namespaced && !namespace.is_empty()),
            kind,
            name: None,
            subresource: None,
            rest: String::new(),
            verb: "list",
        };
        Call {
            server: self,
            route,
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: Vec::new(),
            at: None,
            identity: Identity { user: "tester".to_owned(), groups: vec![MASTERS.to_owned()], ..Identity::default() },
        }
    }
}

impl Call<'_> {
    pub fn name(mut self, name: &str) -> Self {
        self.route.name = Some(name.to_owned());
        self
    }

    pub fn sub(mut self, subresource: &str) -> Self {
        self.route.subresource = Some(subresource.to_owned());
        self
    }

    /// The path behind the subresource.
    pub fn behind(mut self, rest: &str) -> Self {
        self.route.rest = rest.to_owned();
        self
    }

    /// By somebody who may do nothing.
    pub fn stranger(mut self) -> Self {
        self.identity.groups.clear();
        self
    }

    /// By somebody else.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = identity;
        self
    }

    /// The state of the past at a revision.
    pub fn at_revision(mut self, revision: u64) -> Self {
        self.at = Some(revision);
        self
    }

    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn accept(self, accept: &'static str) -> Self {
        self.header(header::ACCEPT, accept)
    }

    pub fn header(mut self, name: header::HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    pub fn text(mut self, body: &str) -> Self {
        self.body = body.as_bytes().to_vec();
        self
    }

    pub fn bytes(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    pub async fn create(self, object: &Value) -> Answer {
        self.text(&object.to_string()).send("create").await
    }

    pub async fn update(self, object: &Value) -> Answer {
        self.text(&object.to_string()).send("update").await
    }

    pub async fn merge(self, patch: &Value) -> Answer {
        self.patch("application/merge-patch+json", patch).await
    }

    pub async fn patch(self, content_type: &'static str, patch: &Value) -> Answer {
        self.header(header::CONTENT_TYPE, content_type).text(&patch.to_string()).send("patch").await
    }

    pub async fn get(self) -> Answer {
        self.send("get").await
    }

    pub async fn list(self) -> Answer {
        self.send("list").await
    }

    pub async fn delete(self, options: &Value) -> Answer {
        let body = if options.is_null() { String::new() } else { options.to_string() };
        self.text(&body).send("delete").await
    }

    pub async fn send(self, verb: &'static str) -> Answer {
        let response = self.respond(verb).await;
        let code = response.status().as_u16();
        let warnings =
            response.headers().get_all(header::WARNING).iter().map(|value| value.to_str().unwrap().to_owned());
        let warnings = warnings.collect();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let body =
            serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into());
        Answer { code, body, warnings }
    }

    /// The first events of a watch.
    pub async fn watch(self, events: usize) -> Vec<Value> {
        let mut watch = self.follow().await;
        let mut out = Vec::new();
        while out.len() < events {
            let Some(event) = watch.next().await else { break };
            out.push(event);
        }
        out.extend(watch.heard);
        out
    }

    /// A watch that stays open.
    pub async fn follow(self) -> Events {
        let response = self.respond("watch").await;
        assert_eq!(response.status(), 200);
        Events { body: response.into_body(), heard: VecDeque::new() }
    }

    pub async fn respond(mut self, verb: &'static str) -> ApiResponse {
        self.route.verb = verb;
        let request = ApiRequest {
            method: Method::GET,
            path: format!("/in-process{}", self.route.rest),
            raw_query: String::new(),
            query: self.query,
            headers: self.headers,
            body: RequestBody::Bytes(self.body.into()),
            upgrade: None,
            identity: self.identity,
            real: None,
            from: None,
            request_id: "request".to_owned(),
            at: self.at.map(|revision| Past { revision, time: Utc::now() }),
            is_present: false,
            seat: None,
            annotations: None,
        };
        let headers = request.headers.clone();
        match rest::handle(&self.server.core, self.route, request).await {
            Ok(response) => response,
            Err(status) => content::failed(&headers, false, &status),
        }
    }
}

impl Answer {
    pub fn at(&self, pointer: &str) -> &Value {
        self.body.pointer(pointer).unwrap_or(&Value::Null)
    }

    pub fn revision(&self) -> u64 {
        self.at("/metadata/resourceVersion").as_str().unwrap_or_default().parse().unwrap_or_default()
    }

    /// The object, if the answer has this code.
    pub fn expect(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{:#}", self.body);
        self.body
    }
}

pub struct Events {
    body: ApiBody,
    heard: VecDeque<Value>,
}

impl Events {
    /// The next event, or nothing where the stream ends.
    pub async fn next(&mut self) -> Option<Value> {
        while self.heard.is_empty() {
            let frame = tokio::time::timeout(DEADLINE, self.body.frame()).await;
            let data = frame.expect("neither an event nor the end").transpose().unwrap()?.into_data().unwrap();
            let lines = data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            self.heard.extend(lines.map(|line| serde_json::from_slice::<Value>(line).unwrap()));
        }
        self.heard.pop_front()
    }
}
