#![allow(clippy::unwrap_used)]
use bytes::Bytes;
use http::StatusCode;
use kontiki_raft::{Log, LogConfig};
use serde_json::{Value, json};

use super::*;
use crate::Config;
use crate::{authn::MASTERS, bootstrap};

async fn core(dir: &tempfile::TempDir) -> Arc<Core> {
    let log = Log::open(LogConfig::new(dir.path().join("log"))).await.unwrap();
    let config = Config::new("127.0.0.1:0".parse().unwrap(), "127.0.0.1".parse().unwrap(), dir.path().join("pki"));
    let core = Core::open(config, log).unwrap();
    core.set_caught_up();
    core
}

fn get(path: &str, query: &str) -> Incoming {
    let identity = Identity { user: "tester".to_owned(), groups: vec![MASTERS.to_owned()], ..Identity::default() };
    Incoming {
        method: Method::GET,
        path: path.to_owned(),
        raw_query: query.to_owned(),
        headers: HeaderMap::new(),
        body: None,
        upgrade: None,
        caller: Caller::InProcess(Arc::new(identity)),
    }
}

#[tokio::test]
async fn watches_beyond_their_bound_are_told_to_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let handler = Handler { long: Arc::new(Semaphore::new(1)), ..Handler::new(core(&dir).await) };
    let watch = || handler.answer(get("/api/v1/configmaps", "watch=true"));
    let first = watch().await;
    assert_eq!(first.status(), StatusCode::OK);
    let refused = watch().await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
    let list = handler.answer(get("/api/v1/configmaps", "")).await;
    assert_eq!(list.status(), StatusCode::OK, "others have their own bound");
    drop(first);
    assert_eq!(watch().await.status(), StatusCode::OK, "whoever goes makes room");
}

/// Users whom nothing exempts, and who may do everything.
async fn with_users(core: &Arc<Core>, users: &[&str]) {
    for resource in ["flowschemas", "prioritylevelconfigurations"] {
        let kind = kontiki_kinds::by_resource("flowcontrol.apiserver.k8s.io", "v1", resource).unwrap();
        for mut object in (kind.initial)() {
            object["kind"] = kind.kind.into();
            object["apiVersion"] = kind.group_version().into();
            object.as_object_mut().unwrap().shift_remove("status");
            bootstrap::ensure(core, kind.group, resource, "", object).await.unwrap();
        }
    }
    let group = "rbac.authorization.k8s.io";
    let rules = json!([
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ]);
    let subjects: Vec<_> = users.iter().map(|user| json!({"apiGroup": group, "kind": "User", "name": user})).collect();
    let api_version = format!("{group}/v1");
    let role = json!({"apiVersion": api_version, "kind": "ClusterRole", "metadata": {"name": "all"}, "rules": rules});
    let binding = json!({
        "apiVersion": api_version, "kind": "ClusterRoleBinding", "metadata": {"name": "all"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "all"}, "subjects": subjects,
    });
    bootstrap::ensure(core, group, "clusterroles", "", role).await.unwrap();
    bootstrap::ensure(core, group, "clusterrolebindings", "", binding).await.unwrap();
}

fn by(user: &str, incoming: Incoming) -> Incoming {
    let identity = authn::with_authenticated(Identity { user: user.to_owned(), ..Identity::default() });
    Incoming { caller: Caller::InProcess(Arc::new(identity)), ..incoming }
}

/// A request that is in work until its body comes.
fn slow(user: &str) -> (Incoming, tokio::sync::oneshot::Sender<()>) {
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let body = futures::stream::once(async move {
        let _ = released.await;
        Ok(http_body::Frame::data(Bytes::from_static(b"{}")))
    });
    let body = http_body_util::BodyExt::boxed_unsync(http_body_util::StreamBody::new(body));
    let post = Incoming { method: Method::POST, body: Some(body), ..get("/api/v1/namespaces/default/configmaps", "") };
    (by(user, post), release)
}

/// Seats of the level `global-default`, its queues in a hand, and their length.
const SEATS: usize = 9;
const HAND: usize = 6;
const LENGTH: usize = 50;

#[tokio::test]
async fn a_flood_fills_its_own_queues_and_others_have_their_turn() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new("127.0.0.1:0".parse().unwrap(), "127.0.0.1".parse().unwrap(), dir.path().join("pki"));
    config.seats = 100;
    let log = Log::open(LogConfig::new(dir.path().join("log"))).await.unwrap();
    let core = Core::open(config, log).unwrap();
    core.set_caught_up();
    with_users(&core, &["flood", "jane"]).await;
    let handler = Handler::new(core.clone());
    let (mut flood, mut releases) = (Vec::new(), Vec::new());
    for number in 0..SEATS + HAND * LENGTH {
        let (incoming, release) = slow("flood");
        let mut answering = Box::pin(handler.answer(incoming));
        assert!((&mut answering).now_or_never().is_none(), "number {number} is in work or waits");
        flood.push(answering);
        releases.push(release);
    }
    let (incoming, _release) = slow("flood");
    let refused = handler.answer(incoming).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
    let uid = |kind: &str, name: &str| {
        let key = kontiki_model::Key::new(format!("{kind}.flowcontrol.apiserver.k8s.io"), "", name);
        core.log.head(&key).unwrap().1.uid.clone()
    };
    let marked = |response: &ApiResponse, schema: &str, level: &str| {
        let headers = response.headers();
        assert_eq!(headers["x-kubernetes-pf-flowschema-uid"], uid("flowschemas", schema));
        assert_eq!(headers["x-kubernetes-pf-prioritylevel-uid"], uid("prioritylevelconfigurations", level));
    };
    marked(&refused, "global-default", "global-default");

    // Who is exempt, or of another level, is answered at once.
    let exempt = handler.answer(get("/api/v1/configmaps", "")).await;
    assert_eq!(exempt.status(), StatusCode::OK);
    marked(&exempt, "exempt", "exempt");
    let account = by("system:serviceaccount:kube-system:robot", get("/api/v1/configmaps", ""));
    marked(&handler.answer(account).await, "kube-system-service-accounts", "workload-high");

    // Another user of the same level waits for one seat after one of each of the flood's queues.
    let mut jane = Box::pin(handler.answer(by("jane", get("/api/v1/configmaps", ""))));
    assert!((&mut jane).now_or_never().is_none(), "there is no seat");
    let mut ended = 0;
    let answer = loop {
        if let Some(answer) = (&mut jane).now_or_never() {
            break answer;
        }
        if ended == HAND + 1 {
            break jane.await;
        }
        releases.remove(0).send(()).unwrap();
        let _ = flood.remove(0).await;
        ended += 1;
    };
    assert_eq!(answer.status(), StatusCode::OK);
    marked(&answer, "global-default", "global-default");
    let levels = handler.answer(get("/debug/api_priority_and_fairness/dump_priority_levels", "")).await;
    let text = http_body_util::BodyExt::collect(levels.into_body()).await.unwrap().to_bytes();
    let text = String::from_utf8(text.to_vec()).unwrap();
    let row = text.lines().find(|line| line.starts_with("global-default,")).unwrap();
    let cells: Vec<_> = row.split(',').map(str::trim).collect();
    assert_eq!(cells[2..6], ["false", "false", &(HAND * LENGTH - ended).to_string(), &SEATS.to_string()], "{text}");
    assert_eq!(cells[7..], ["1", "0", "0"], "{text}");

    // Who goes away leaves its place in the queue, and its seat.
    drop(flood);
    let answer = handler.answer(by("jane", get("/api/v1/configmaps", ""))).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(core.fairness.is_idle());
}

#[tokio::test]
async fn the_past_is_not_exempt_where_the_present_is() {
    let dir = tempfile::tempdir().unwrap();
    let core = core(&dir).await;
    with_users(&core, &["jane"]).await;
    let handler = Handler::new(core.clone());
    let level = async |incoming: Incoming| {
        let answer = handler.answer(incoming).await;
        assert_eq!(answer.status(), StatusCode::OK);
        answer.headers()["x-kubernetes-pf-prioritylevel-uid"].clone()
    };
    let uid = |name: &str| {
        let key = kontiki_model::Key::new("prioritylevelconfigurations.flowcontrol.apiserver.k8s.io", "", name);
        core.log.head(&key).unwrap().1.uid.clone()
    };
    for (path, of_jane) in
        [("/healthz", "exempt"), ("/at/1/healthz", "global-default"), ("/at/1/api", "global-default")]
    {
        assert_eq!(level(by("jane", get(path, ""))).await, uid(of_jane), "{path}");
        assert_eq!(level(get(path, "")).await, uid("exempt"), "{path}");
    }
}

#[tokio::test]
async fn seats_outlast_their_requests_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let core = core(&dir).await;
    with_users(&core, &[]).await;
    let handler = Handler::new(core.clone());
    let watch = handler.answer(get("/api/v1/configmaps", "watch=true&resourceVersion=1")).await;
    assert!(core.fairness.is_idle(), "it tells nothing of the past");
    let beginning = handler.answer(get("/apis/rbac.authorization.k8s.io/v1/clusterroles", "watch=true")).await;
    assert!(!core.fairness.is_idle());
    let mut events = beginning.into_body();
    let first = http_body_util::BodyExt::frame(&mut events).await.unwrap().unwrap();
    assert!(first.is_data());
    let more = http_body_util::BodyExt::frame(&mut events).now_or_never();
    assert!(more.is_none_or(|more| more.is_some()));
    idle(&core).await;
    drop((watch, events));

    for path in ["/openapi/v2", "/api/v1/namespaces/none"] {
        let answer = || handler.answer(get(path, ""));
        let untaken = answer().await;
        assert!(core.fairness.is_idle(), "there is room for it");
        core.fairness.unsent.pretend(1 << 30);
        let held = answer().await;
        assert!(!core.fairness.is_idle(), "nobody has taken it");
        drop(untaken);
        assert!(!core.fairness.is_idle());
        drop(held);
        idle(&core).await;
        core.fairness.unsent.forget(1 << 30);
    }
}

/// Leases end on a task of their own.
async fn idle(core: &Core) {
    let idle = async {
        while !core.fairness.is_idle() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(limits::REQUEST_TIME_MAX, idle).await.expect("the seat is given back");
}

/// A request is moved several times before it begins, and is as large as the largest thing that may become of it: what is rare or
/// large is boxed where it begins.
#[test]
fn a_request_that_begins_is_small() {
    const BYTES_MAX: usize = 4096;
    fn size_of_future<F: Future>(_: impl FnOnce(&'static Handler, Incoming) -> F) -> usize {
        size_of::<F>()
    }
    let bytes = size_of_future(|handler, incoming| handler.answer(incoming));
    assert!(bytes <= BYTES_MAX, "{bytes} bytes");
}

#[tokio::test]
async fn what_every_cluster_has_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let core = core(&dir).await;
    bootstrap::restore(&core).await.unwrap();
    let kind = |group: &str, resource: &str| kontiki_kinds::by_resource(group, "v1", resource).unwrap();
    let flow = "flowcontrol.apiserver.k8s.io";
    let gone = [(flow, "flowschemas", "", "probes"), ("", "services", "default", "kubernetes")];
    for (group, resource, namespace, name) in gone {
        let write = bootstrap::Write { kind: kind(group, resource), namespace, name: Some(name), subresource: None };
        write.remove(&core, &json!({})).await.unwrap();
    }
    let key = kontiki_model::Key::new("prioritylevelconfigurations.flowcontrol.apiserver.k8s.io", "", "system");
    let level = || -> Value { serde_json::from_slice(&core.stored(&key).unwrap().unwrap().body).unwrap() };
    let shares = |level: &Value| level["spec"]["limited"]["nominalConcurrencyShares"].clone();
    let change = async |shares: i64, keeps: &str| {
        let mut changed = level();
        changed["spec"]["limited"]["nominalConcurrencyShares"] = shares.into();
        changed["metadata"]["annotations"]["apf.kubernetes.io/autoupdate-spec"] = keeps.into();
        let kind = kind(flow, "prioritylevelconfigurations");
        let write = bootstrap::Write { kind, namespace: "", name: Some("system"), subresource: None };
        write.carry_out(&core, &changed).await.unwrap();
    };
    change(7, "true").await;
    bootstrap::restore(&core).await.unwrap();
    assert_eq!(shares(&level()), 30);
    for (group, resource, namespace, name) in gone {
        let resource = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        assert!(core.stored(&kontiki_model::Key::new(resource, namespace, name)).unwrap().is_some(), "{name}");
    }
    change(7, "false").await;
    let before = core.log.revision();
    bootstrap::restore(&core).await.unwrap();
    assert_eq!(
        (shares(&level()), core.log.revision()),
        (json!(7), before),
        "what its owner keeps is left, the rest as it is"
    );
}

#[tokio::test]
async fn a_certificate_counts_until_its_end_whenever_the_connection_was_made() {
    let dir = tempfile::tempdir().unwrap();
    let handler = Handler::new(core(&dir).await);
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let certified = |good: bool| {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "jane");
        params.distinguished_name.push(rcgen::DnType::OrganizationName, MASTERS);
        let now = std::time::SystemTime::now();
        params.not_before = (now - 2 * DAY).into();
        params.not_after = if good { now + DAY } else { now - DAY }.into();
        let der = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        Some(Arc::new(Certified::of(der.der()).unwrap()))
    };
    let with = |good, authorization: Option<&'static str>| {
        let mut incoming = get("/api/v1/namespaces", "");
        incoming.caller = Caller::Connection { certificate: certified(good), address: None, place: None };
        if let Some(value) = authorization {
            incoming.headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
        }
        incoming
    };
    assert_eq!(handler.answer(with(true, None)).await.status(), StatusCode::OK);
    let answer = handler.answer(with(false, None)).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "it does not make its bearer anonymous");
    assert_eq!(handler.answer(with(false, Some("Bearer none"))).await.status(), StatusCode::UNAUTHORIZED);
}
