//! What balancers before the nodes ask each of them about a Service whose traffic stays on its node: whether it has endpoints here
//! (`healthCheckNodePort`), answered as kube-proxy does.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::Service;
use kontiki_informer::Outage;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::model::{Readiness, View};

/// Questions at a time, to each port.
const QUESTIONS_MAX: usize = 64;
const QUESTION_BYTES_MAX: usize = 8 * 1024;
const QUESTION_TIME_MAX: Duration = Duration::from_secs(5);
/// Pause after the system refused to accept (out of file descriptors, for instance).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What one Service's port answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub namespace: String,
    pub service: String,
    /// Addresses of ready endpoints on this node.
    pub local: usize,
}

/// The ports that are asked, and their answers.
pub fn checks<'a>(services: impl IntoIterator<Item = &'a Service>, view: &View) -> BTreeMap<u16, Health> {
    let of_service = |service: &Service| {
        let spec = service.spec.as_ref()?;
        let port = u16::try_from(spec.health_check_node_port?).ok().filter(|port| *port > 0)?;
        let (namespace, name) = (service.metadata.namespace.clone()?, service.metadata.name.clone()?);
        let mut own = view.ports.iter().filter(|port| port.namespace == namespace && port.service == name).peekable();
        // Those of another proxy are not in the view.
        own.peek()?;
        let endpoints = own.flat_map(|port| &port.endpoints);
        let local: BTreeSet<Ipv4Addr> = endpoints
            .filter(|endpoint| endpoint.local && endpoint.readiness == Readiness::Ready)
            .map(|endpoint| endpoint.address)
            .collect();
        Some((port, Health { namespace, service: name, local: local.len() }))
    };
    services.into_iter().filter_map(of_service).collect()
}

/// The ports that are listened on, and those that cannot be had.
#[derive(Default)]
pub struct Listeners {
    open: BTreeMap<u16, Listener>,
    refused: BTreeMap<u16, Outage>,
}

struct Listener {
    health: watch::Sender<Health>,
    _stop_on_drop: DropGuard,
}

impl Listeners {
    /// Listens on these ports and no others. One that cannot be had is tried again the next time.
    pub async fn follow(&mut self, wanted: BTreeMap<u16, Health>) {
        self.open.retain(|port, _| wanted.contains_key(port));
        self.refused.retain(|port, _| wanted.contains_key(port));
        for (port, health) in wanted {
            if let Some(listener) = self.open.get(&port) {
                listener.health.send_replace(health);
                continue;
            }
            match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await {
                Ok(listener) => {
                    self.open.insert(port, Listener::start(listener, health));
                    if let Some(mut outage) = self.refused.remove(&port) {
                        outage.over();
                    }
                }
                Err(error) => {
                    let subject = || format!("{}/{} port {port}", health.namespace, health.service);
                    let outage = self.refused.entry(port);
                    outage.or_insert_with(|| Outage::new("cannot listen for health checks", subject())).failed(&error);
                }
            }
        }
    }
}

impl Listener {
    fn start(listener: TcpListener, health: Health) -> Listener {
        let (sender, receiver) = watch::channel(health);
        let stop = CancellationToken::new();
        let serving = stop.clone();
        tokio::spawn(async move { serving.run_until_cancelled(serve(listener, receiver)).await });
        Listener { health: sender, _stop_on_drop: stop.drop_guard() }
    }
}

async fn serve(listener: TcpListener, health: watch::Receiver<Health>) {
    let places = Arc::new(Semaphore::new(QUESTIONS_MAX));
    while let Ok(place) = places.clone().acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "cannot accept a health check");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let health = health.borrow().clone();
        tokio::spawn(async move {
            // Whoever asks too slowly, or goes away, gets no answer.
            let _ = tokio::time::timeout(QUESTION_TIME_MAX, answer(stream, &health)).await;
            drop(place);
        });
    }
}

/// One request, whatever its path; the connection ends with the answer.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, health: &Health) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut piece = [0; 1024];
        let length = stream.read(&mut piece).await?;
        head.extend_from_slice(&piece[..length]);
        if length == 0 || head.len() > QUESTION_BYTES_MAX {
            return Ok(());
        }
    }
    let body = json!({
        "service": {"namespace": health.namespace, "name": health.service},
        "localEndpoints": health.local,
        "serviceProxyHealthy": true,
    });
    let body = body.to_string();
    let status = if health.local > 0 { "200 OK" } else { "503 Service Unavailable" };
    let head_only = head.starts_with(b"HEAD ");
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n\
         X-Load-Balancing-Endpoint-Weight: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
        health.local,
        body.len(),
        if head_only { "" } else { &body },
    );
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::net::TcpStream;

    use super::*;
    use crate::model::{Here, view};

    #[test]
    fn ready_endpoints_of_this_node_are_counted_once() {
        let service = |health_port: i32, foreign: bool| {
            let labels = if foreign { json!({"service.kubernetes.io/service-proxy-name": "x"}) } else { json!({}) };
            serde_json::from_value::<Service>(json!({
                "metadata": {"name": "s", "namespace": "a", "labels": labels},
                "spec": {"clusterIP": "10.96.0.9", "healthCheckNodePort": health_port, "externalTrafficPolicy": "Local",
                    "ports": [{"name": "one", "port": 80}, {"name": "two", "port": 81}]},
            }))
            .unwrap()
        };
        let endpoint = |address: &str, node: &str, ready: bool| json!({"addresses": [address], "nodeName": node, "conditions": {"ready": ready}});
        let slice = serde_json::from_value(json!({
            "metadata": {"name": "x", "namespace": "a", "labels": {"kubernetes.io/service-name": "s"}},
            "addressType": "IPv4",
            "ports": [{"name": "one", "port": 8080}, {"name": "two", "port": 8081}],
            "endpoints": [endpoint("10.244.0.2", "here", true), endpoint("10.244.0.3", "here", false),
                endpoint("10.244.1.2", "there", true)],
        }))
        .unwrap();
        let told = |node: &str, service: &Service| {
            let view = view(Here { node, zone: None }, [service], [&slice], []);
            checks([service], &view).into_iter().map(|(port, health)| (port, health.local)).collect::<Vec<_>>()
        };
        assert_eq!(told("here", &service(32_000, false)), [(32_000, 1)]);
        assert_eq!(told("elsewhere", &service(32_000, false)), [(32_000, 0)]);
        assert_eq!(told("here", &service(0, false)), [(0, 0); 0]);
        assert_eq!(told("here", &service(32_000, true)), [(0, 0); 0]);
    }

    async fn asked(port: u16, request: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn a_port_that_somebody_else_has_is_one_outage_until_it_can_be_had() {
        let somebody = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let port = somebody.local_addr().unwrap().port();
        let wanted =
            || BTreeMap::from([(port, Health { namespace: "a".to_owned(), service: "s".to_owned(), local: 1 })]);
        let mut listeners = Listeners::default();
        for _ in 0..2 {
            listeners.follow(wanted()).await;
            assert_eq!(listeners.refused.keys().collect::<Vec<_>>(), [&port]);
        }
        listeners.follow(BTreeMap::new()).await;
        assert!(listeners.refused.is_empty(), "nobody wants it any more");
        listeners.follow(wanted()).await;
        drop(somebody);
        listeners.follow(wanted()).await;
        assert!(listeners.refused.is_empty() && listeners.open.contains_key(&port));
    }

    #[tokio::test]
    async fn a_port_says_what_its_service_has_here() {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
        let health = |local| Health { namespace: "a".to_owned(), service: "s".to_owned(), local };
        let mut listeners = Listeners::default();
        for (local, status) in [(2, "200 OK"), (0, "503 Service Unavailable")] {
            listeners.follow(BTreeMap::from([(port, health(local))])).await;
            let text = asked(port, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{head}");
            assert!(head.contains(&format!("X-Load-Balancing-Endpoint-Weight: {local}\r\n")), "{head}");
            let expected = json!({"service": {"namespace": "a", "name": "s"}, "localEndpoints": local, "serviceProxyHealthy": true});
            assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap(), expected);
        }
        assert!(asked(port, "HEAD / HTTP/1.1\r\n\r\n").await.ends_with("\r\n\r\n"));
        listeners.follow(BTreeMap::new()).await;
        let gone = async {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.expect("nobody listens any more");
    }
}
