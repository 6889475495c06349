//! A certificate that nears its end is issued anew while the server runs, and nobody who asks meanwhile notices.
#![allow(clippy::unwrap_used)]
mod wire;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use hyper::client::conn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kontiki_apiserver::{
    Config,
    limits::CERTIFICATE_TIME_MIN,
    pki::{Credential, SERVER_USER},
};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls_pki_types::CertificateDer;
use wire::{Running, read};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

const DAY: Duration = Duration::from_secs(24 * 3600);
const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(20);

/// Puts one that differs from the server's certificate in nothing but the time it has left in its place.
fn leave(config: &Config, time: Duration) {
    let read = |file: &str| fs::read_to_string(config.pki_dir.join(file)).unwrap();
    let ca = Issuer::from_ca_cert_pem(&read("ca.crt"), KeyPair::from_pem(&read("ca.key")).unwrap()).unwrap();
    let mut params = CertificateParams::new(config.certificate_names()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, SERVER_USER);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = (SystemTime::now() - DAY).into();
    params.not_after = (SystemTime::now() + time).into();
    let key = KeyPair::from_pem(&read("apiserver.key")).unwrap();
    write(&config.pki_dir, &params.signed_by(&key, &ca).unwrap().pem());
}

/// By renaming: the server may read it at any moment.
fn write(dir: &Path, pem: &str) {
    fs::write(dir.join("aged"), pem).unwrap();
    fs::rename(dir.join("aged"), dir.join("apiserver.crt")).unwrap();
}

async fn shown(server: &Running) -> CertificateDer<'static> {
    let stream = server.connect(None, "http/1.1").await;
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

fn left(certificate: &CertificateDer<'_>) -> i64 {
    let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs().cast_signed();
    certificate.validity().not_after.timestamp() - now
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_certificate_near_its_end_is_replaced_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start_with(dir, "192.0.2.7", |config| config.certificate_check_interval = LOOK).await;
    let core = server.api.core();
    let names = core.config.certificate_names();
    let first = shown(&server).await;

    // One with time left is good, whoever put it there.
    leave(&core.config, 100 * DAY);
    let kept = core.pki.server(&names).unwrap().certificate_pem;
    assert_eq!(kept, fs::read_to_string(core.config.pki_dir.join("apiserver.crt")).unwrap());

    let mut held = server.admin().await;
    leave(&core.config, 30 * DAY);
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert_eq!(held.get("/api/v1/namespaces/default").await.status, 200, "on the connection from before");
        assert_eq!(server.admin().await.get("/api/v1/namespaces/default").await.status, 200, "on a new one");
        let now = shown(&server).await;
        if now != first && left(&now) > (300 * DAY).as_secs().cast_signed() {
            break;
        }
        assert!(Instant::now() < deadline, "it was not replaced");
    }
    server.stop().await;
}

/// The administrator's, but for its end.
fn client_certificate(server: &Running, time: Duration) -> Credential {
    let core = server.api.core();
    let file = |file: &str| fs::read_to_string(core.config.pki_dir.join(file)).unwrap();
    let ca = Issuer::from_ca_cert_pem(&file("ca.crt"), KeyPair::from_pem(&file("ca.key")).unwrap()).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:masters");
    params.distinguished_name.push(DnType::CommonName, "kubernetes-admin");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = (SystemTime::now() - DAY).into();
    params.not_after = (SystemTime::now() + time).into();
    let key = KeyPair::generate().unwrap();
    let pem = params.signed_by(&key, &ca).unwrap().pem();
    Credential { certificate_pem: pem, key_pem: key.serialize_pem(), ..core.pki.admin().unwrap() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_takes_one_more_request_once_its_certificate_is_about_to_end() {
    const PATH: &str = "/api/v1/namespaces/default";
    let server = Running::start().await;
    let mut poor = server.client(Some(&client_certificate(&server, CERTIFICATE_TIME_MIN / 2))).await;
    for _ in 0..2 {
        let told = poor.get(PATH).await;
        assert_eq!((told.status.as_u16(), told.headers.get(header::CONNECTION)), (200, None), "it has no newer one");
    }
    let ending = client_certificate(&server, CERTIFICATE_TIME_MIN + Duration::from_secs(8));
    let mut client = server.client(Some(&ending)).await;
    let stream = server.connect(Some(&ending), "h2").await;
    let (mut sender, connection) = conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let told = client.get(PATH).await;
        assert_eq!(told.status, 200);
        if told.headers.get(header::CONNECTION).is_some_and(|value| value == "close") {
            break;
        }
        assert!(Instant::now() < deadline, "it goes on");
    }
    let uri = format!("https://{}{PATH}", server.api.local_address());
    let request = Request::get(uri).body(Full::new(Bytes::new())).unwrap();
    assert_eq!(read(sender.send_request(request).await.unwrap()).await.status, 200);
    tokio::time::timeout(PATIENCE, connection).await.expect("it ends").unwrap().expect("in order");
    server.stop().await;
}
