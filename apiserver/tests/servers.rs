//! Two servers of one cluster: what one of them has acknowledged counts at the other, which has not applied it yet.
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use kontiki_apiserver::{ApiServer, Config, Identity};
use kontiki_model::Key;
use kontiki_raft::{Dial, Log, LogConfig, Member, PeerStream, Seal, SealFault, Standing, Start};
use serde_json::{Value, json};
use tower_service::Service as _;

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(20);
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io";
const SEALED: &[u8] = b"k8s:enc:test:";
/// Requests that are answered while another one makes up its mind.
const MEANWHILE: usize = 50;

/// Connects servers by their addresses.
#[derive(Clone, Default)]
struct Net(Arc<Mutex<HashMap<String, Log>>>);

impl Dial for Net {
    fn dial(&self, member: &Member) -> BoxFuture<'static, io::Result<Box<dyn PeerStream>>> {
        let log = self.0.lock().unwrap().get(&member.address).cloned();
        Box::pin(async move {
            let log = log.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (near, far) = tokio::io::duplex(256 * 1024);
            tokio::spawn(async move { log.accept_peer(Box::new(far), None).await });
            Ok(Box::new(near) as Box<dyn PeerStream>)
        })
    }
}

/// Holds a server back in the middle of applying a RoleBinding: bodies are opened just before their events can be seen.
#[derive(Default)]
struct Gate(Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>);

impl Gate {
    /// The one tells that the server is held, the other lets it go on.
    fn hold(&self) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let ((reached, held), (go, gone)) = (mpsc::channel(), mpsc::channel());
        *self.0.lock().unwrap() = Some((reached, gone));
        (held, go)
    }
}

impl Seal for Gate {
    fn seal(&self, key: &Key, body: &[u8]) -> Result<Option<Vec<u8>>, SealFault> {
        Ok(self.covers(&key.resource).then(|| [SEALED, body].concat()))
    }

    fn open(&self, _: &Key, sealed: &[u8]) -> Result<Vec<u8>, SealFault> {
        if let Some((reached, gone)) = self.0.lock().unwrap().take() {
            reached.send(()).unwrap();
            tokio::task::block_in_place(|| gone.recv_timeout(DEADLINE).unwrap());
        }
        Ok(sealed[SEALED.len()..].to_vec())
    }

    fn standing(&self, _: &Key, _: &[u8]) -> Standing {
        Standing::Current
    }

    fn covers(&self, resource: &str) -> bool {
        resource == BINDINGS
    }
}

struct Server {
    api: ApiServer,
    log: Log,
    _dir: tempfile::TempDir,
}

impl Server {
    async fn open(net: &Net, name: &str, start: Start, gate: Arc<Gate>) -> (Log, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let config = LogConfig {
            member: Member { name: name.to_owned(), address: name.to_owned() },
            start,
            dial: Some(Arc::new(net.clone())),
            seal: Some(gate),
            ..LogConfig::new(dir.path().join("log"))
        };
        let log = Log::open(config).await.unwrap();
        net.0.lock().unwrap().insert(name.to_owned(), log.clone());
        (log, dir)
    }

    async fn serve((log, dir): (Log, tempfile::TempDir)) -> Self {
        let config = Config::new("127.0.0.1:0".parse().unwrap(), "192.0.2.7".parse().unwrap(), dir.path().join("pki"));
        let api = ApiServer::start(config, log.clone()).await.unwrap();
        Server { api, log, _dir: dir }
    }

    /// The server that leads, and one that follows and can be held back.
    async fn pair() -> (Server, Server, Arc<Gate>) {
        let (net, gate) = (Net::default(), Arc::new(Gate::default()));
        let leader = Server::open(&net, "a", Start::Alone, Arc::default()).await;
        let follower = Server::open(&net, "b", Start::Join, gate.clone()).await;
        let member = Member { name: "b".to_owned(), address: "b".to_owned() };
        leader.0.add_member(follower.0.node_id(), member).await.unwrap();
        (Server::serve(leader).await, Server::serve(follower).await, gate)
    }

    async fn ask(&self, user: &str, method: Method, path: &str, body: &Value) -> StatusCode {
        let groups = if user == "admin" { vec!["system:masters".to_owned()] } else { Vec::new() };
        let identity = Identity { user: user.to_owned(), groups, ..Identity::default() };
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        self.api.in_process(identity).call(request.body(Full::new(body)).unwrap()).await.unwrap().status()
    }

    async fn make(&self, path: &str, object: &Value) {
        assert_eq!(self.ask("admin", Method::POST, path, object).await, 201);
    }

    async fn stop(&self) {
        self.api.shutdown().await;
        self.log.shutdown().await;
    }
}

fn binding(name: &str, user: &str) -> Value {
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "writer"});
    let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user});
    json!({"metadata": {"name": name}, "roleRef": role, "subjects": [subject]})
}

async fn held(held: mpsc::Receiver<()>) {
    tokio::task::spawn_blocking(move || held.recv_timeout(DEADLINE)).await.unwrap().unwrap();
}

#[test]
fn permissions_begin_and_end_everywhere_when_that_was_acknowledged_anywhere() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let (leader, follower, gate) = Server::pair().await;
        let follower = Arc::new(follower);
        let rules = json!([{"verbs": ["*"], "apiGroups": [""], "resources": ["configmaps"]}]);
        leader.make(&format!("{RBAC}/roles"), &json!({"metadata": {"name": "writer"}, "rules": rules})).await;
        leader.make(&format!("{RBAC}/rolebindings"), &binding("old", "alice")).await;
        assert_eq!(follower.ask("alice", Method::GET, MAPS, &Value::Null).await, 200);

        // What was taken from somebody is of no use any more, to write or to read.
        let (reached, go) = gate.hold();
        let path = format!("{RBAC}/rolebindings/old");
        assert_eq!(leader.ask("admin", Method::DELETE, &path, &Value::Null).await, 200);
        held(reached).await;
        let map = json!({"metadata": {"name": "late"}});
        let asked = [(Method::POST, map), (Method::GET, Value::Null)].map(|(method, body)| {
            let follower = follower.clone();
            tokio::spawn(async move { follower.ask("alice", method, MAPS, &body).await })
        });
        let local = format!("{MAPS}?resourceVersion=0");
        for _ in 0..MEANWHILE {
            assert_eq!(follower.ask("admin", Method::GET, &local, &Value::Null).await, 200);
        }
        go.send(()).unwrap();
        for asked in asked {
            assert_eq!(asked.await.unwrap(), 403);
        }

        // What was given to somebody is of use, even where whatever the server has would do for an answer.
        let (reached, go) = gate.hold();
        leader.make(&format!("{RBAC}/rolebindings"), &binding("new", "bob")).await;
        held(reached).await;
        let asked = [MAPS, &local].map(|path| {
            let (follower, path) = (follower.clone(), path.to_owned());
            tokio::spawn(async move { follower.ask("bob", Method::GET, &path, &Value::Null).await })
        });
        for _ in 0..MEANWHILE {
            assert_eq!(follower.ask("admin", Method::GET, &local, &Value::Null).await, 200);
        }
        go.send(()).unwrap();
        for asked in asked {
            assert_eq!(asked.await.unwrap(), 200);
        }
        follower.stop().await;
        leader.stop().await;
    });
}
