//! `pods/proxy` and `services/proxy`: who is connected to, and what passes.
#![allow(clippy::unwrap_used)]

mod client;

use std::{
    convert::Infallible,
    net::{IpAddr, UdpSocket},
};

use client::{Call, Server};
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// An address of this machine that others could have: nothing is sent to find it.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("192.0.2.1:9").expect("the machine has a network besides its loopback");
    socket.local_addr().unwrap().ip()
}

/// Whoever listens in a pod: says what it was asked, and sends away who asks for `/old`.
async fn backend(address: IpAddr) -> u16 {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(told)));
        }
    });
    port
}

async fn told(request: Request<Incoming>) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let told = json!({
        "target": request.uri().to_string(), "by": header("x-forwarded-uri"), "token": header("authorization"),
    });
    let mut response = Response::new(Full::from(told.to_string()));
    if request.uri().path() == "/old" {
        *response.status_mut() = http::StatusCode::FOUND;
        response.headers_mut().insert(header::LOCATION, "/new".parse().unwrap());
    }
    Ok(response)
}

/// A pod `p` with this address, which declares the port.
async fn pod(server: &Server, address: &str, port: u16) {
    let containers = json!([{"name": "c", "image": "i:1", "ports": [{"containerPort": port}]}]);
    let object = json!({"metadata": {"name": "p"}, "spec": {"containers": containers}});
    server.on("Pod", "default").create(&object).await.expect(201);
    let status = json!({"status": {"podIP": address, "podIPs": [{"ip": address}]}});
    server.on("Pod", "default").name("p").sub("status").merge(&status).await.expect(200);
}

fn proxied<'a>(server: &'a Server, kind: &str, name: &str, rest: &str) -> Call<'a> {
    server.on(kind, "default").name(name).sub("proxy").behind(rest)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_reach_a_pod_and_its_redirects_stay_below_the_path() {
    let server = Server::start().await;
    let address = own_address();
    let port = backend(address).await;
    pod(&server, &address.to_string(), port).await;
    let bearer = || proxied(&server, "Pod", "p", "/a/../b").header(header::AUTHORIZATION, "Bearer secret");
    let told = bearer().get().await.expect(200);
    assert_eq!(told, json!({"target": "/b", "by": "/in-process/b", "token": null}));
    let by_port = proxied(&server, "Pod", &format!("p:{port}"), "/x").get().await.expect(200);
    assert_eq!(by_port["target"], "/x");
    let response = proxied(&server, "Pod", "p", "/old").respond("get").await;
    assert_eq!(response.headers().get(header::LOCATION).unwrap(), "/in-process/new");
    let response = proxied(&server, "Pod", "p", "").respond("get").await;
    assert_eq!(
        (response.status().as_u16(), response.headers().get(header::LOCATION).unwrap().to_str().unwrap()),
        (301, "/in-process/")
    );
    assert_eq!(proxied(&server, "Pod", "a:b:c:d", "/x").get().await.code, 400);
    assert_eq!(proxied(&server, "Pod", "q", "/x").get().await.code, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_no_way_to_the_server_itself() {
    let server = Server::start().await;
    let port = backend("127.0.0.1".parse().unwrap()).await;
    pod(&server, "127.0.0.1", port).await;
    let refused = proxied(&server, "Pod", "p", "/x").get().await;
    assert_eq!((refused.code, refused.at("/message")), (400, &json!("address not allowed")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_leads_to_its_ready_pods_alone() {
    let server = Server::start().await;
    let address = own_address();
    let port = backend(address).await;
    pod(&server, &address.to_string(), port).await;
    let service =
        json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "web", "port": 80, "targetPort": port}]}});
    server.on("Service", "default").create(&service).await.expect(201);
    assert_eq!(proxied(&server, "Service", "s:80", "/x").get().await.code, 404);
    let slice = |target: Value, ready: bool| {
        json!({
            "metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}}, "addressType": "IPv4",
            "ports": [{"name": "web", "port": port}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": ready}, "targetRef": target}],
        })
    };
    let target = json!({"kind": "Pod", "namespace": "default", "name": "p"});
    let slices = || server.on("discovery.k8s.io/EndpointSlice", "default");
    slices().create(&slice(target.clone(), false)).await.expect(201);
    let none = proxied(&server, "Service", "s:80", "/x").get().await;
    assert_eq!((none.code, none.at("/message")), (503, &json!("no endpoints available for service \"s:80\"")));
    assert_eq!(none.at("/details"), &Value::Null, "clients repeat what says when");
    slices().name("s-1").update(&slice(target, true)).await.expect(200);
    for name in ["s:80", "s:web"] {
        assert_eq!(proxied(&server, "Service", name, "/x").get().await.expect(200)["target"], "/x");
    }
    let other = proxied(&server, "Service", "s:81", "/x").get().await;
    assert_eq!(other.at("/message"), &json!("no service port 81 found for service \"s\""));
    // Whoever may write slices may not thereby reach what is no pod.
    let stranger = json!({"kind": "Pod", "namespace": "default", "name": "q"});
    slices().name("s-1").update(&slice(stranger, true)).await.expect(200);
    assert_eq!(proxied(&server, "Service", "s:80", "/x").get().await.code, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_a_pod_that_has_ended_is_nobodys() {
    let server = Server::start().await;
    let address = own_address();
    let port = backend(address).await;
    pod(&server, &address.to_string(), port).await;
    let service =
        json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "web", "port": 80, "targetPort": port}]}});
    server.on("Service", "default").create(&service).await.expect(201);
    let slice = json!({
        "metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}}, "addressType": "IPv4",
        "ports": [{"name": "web", "port": port}],
        "endpoints": [{"addresses": [address], "targetRef": {"kind": "Pod", "namespace": "default", "name": "p"}}],
    });
    server.on("discovery.k8s.io/EndpointSlice", "default").create(&slice).await.expect(201);
    let asked = async |kind: &'static str, name: &'static str| proxied(&server, kind, name, "/x").get().await.code;
    assert_eq!((asked("Pod", "p").await, asked("Service", "s:80").await), (200, 200));
    for phase in ["Succeeded", "Failed"] {
        let ended = json!({"status": {"phase": phase}});
        server.on("Pod", "default").name("p").sub("status").merge(&ended).await.expect(200);
        let refused = proxied(&server, "Pod", "p", "/x").get().await;
        assert_eq!((refused.code, refused.at("/message")), (400, &json!("address not allowed")), "{phase}");
        assert_eq!(asked("Service", "s:80").await, 503, "{phase}");
    }
}
