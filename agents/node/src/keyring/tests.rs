//! Secrets of both forms, what their credentials are for, and a registry that asks for them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::*;

fn secret(key: &str, value: &Value) -> Secret {
    serde_json::from_value(json!({"data": {key: STANDARD.encode(value.to_string())}})).unwrap()
}

fn show(secret: &Secret) -> Vec<String> {
    of_secret(secret).iter().map(|one| format!("{} {} {}", one.place, one.username, one.password)).collect()
}

#[test]
fn pull_secrets_of_both_forms_are_read() {
    let config = json!({"auths": {"https://index.docker.io/v1/": {"auth": STANDARD.encode("me:pa:ss")}}});
    assert_eq!(show(&secret(".dockerconfigjson", &config)), ["index.docker.io me pa:ss"]);
    let old = json!({"http://host:5000/v2/team": {"username": "u", "password": "p"}});
    assert_eq!(show(&secret(".dockercfg", &old)), ["host:5000/team u p"]);
    assert_eq!(show(&Secret::default()), Vec::<String>::new());
}

#[test]
fn credentials_are_for_hosts_and_paths() {
    // No pattern keeps the node busy.
    let (stars, long) = (format!("{}x.com", "*".repeat(5_000)), format!("{}.com/a", "a".repeat(60)));
    let table: [(&str, &str, bool); 14] = [
        ("example.com", "example.com/a:1", true),
        ("example.com", "example.com:5000/a", false),
        ("example.com:5000", "example.com:5000/a", true),
        ("example.com/team", "example.com/team/a", true),
        ("example.com/team", "example.com/other/a", false),
        ("*.example.com", "eu.example.com/a", true),
        ("*.example.com", "example.com/a", false),
        ("*.example.com", "a.eu.example.com/a", false),
        ("r?-*.example.com", "r1-eu.example.com/a", true),
        ("docker.io/team", "team/a", true),
        ("index.docker.io", "team/a", true),
        ("index.docker.io", "example.com/a", false),
        ("[::1]:5000", "[::1]:5000/a", true),
        (&stars, &long, false),
    ];
    for (place, image, expected) in table {
        let (secret, username, password) = (String::new(), String::new(), String::new());
        let all = [Credentials { secret, place: place.into(), username, password }];
        assert_eq!(!for_image(&all, &ImageName::parse(image).unwrap()).is_empty(), expected, "{place} for {image}");
    }
}

/// A registry with one image for each user, named after him.
struct Registry {
    address: SocketAddr,
    /// Who showed what: user and path.
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

const CONFIG: &str = r#"{"config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#;
const CONFIG_DIGEST: &str = "sha256:b8d36c0a109a81b1bd64c3b51ca173dcc27fae58ea721c9ea8cf7b2bd12bab45";

impl Registry {
    async fn start() -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let noted = asked.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(answer(stream, noted.clone()));
            }
        });
        Registry { address, asked, _tasks: tasks }
    }
}

async fn answer(mut stream: TcpStream, asked: Arc<Mutex<Vec<String>>>) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte.into());
    }
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let shown = head.lines().find_map(|line| line.strip_prefix("authorization: Basic "));
    let user = shown.map(|shown| String::from_utf8(STANDARD.decode(shown).unwrap()).unwrap());
    asked.lock().unwrap().push(format!("{} {path}", user.as_deref().unwrap_or("nobody")));
    // `/v2/<user>/image/…`, and the password is the user's name.
    let owner = path.split('/').nth(2).unwrap_or_default();
    let known = user == Some(format!("{owner}:{owner}"));
    let (status, kind, body) = match (known, path.contains("/manifests/")) {
        (false, _) => ("401 Unauthorized", "text/plain", String::new()),
        (true, true) => ("200 OK", "application/vnd.oci.image.manifest.v1+json", manifest()),
        (true, false) => ("200 OK", "application/octet-stream", CONFIG.to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    // Who has gone does not wait for the answer.
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}

fn manifest() -> String {
    json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [],
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": CONFIG_DIGEST, "size": CONFIG.len()}})
    .to_string()
}

struct Secrets(BTreeMap<String, Secret>);

impl Objects for Secrets {
    fn config_map(&self, _: &str) -> Option<k8s_openapi::api::core::v1::ConfigMap> {
        None
    }

    fn secret(&self, name: &str) -> Option<Secret> {
        self.0.get(name).cloned()
    }
}

#[tokio::test]
async fn a_private_image_is_had_with_the_secret_that_is_for_it() {
    let registry = Registry::start().await;
    let host = registry.address;
    let auth = |name: &str, password: &str| json!({"auth": STANDARD.encode(format!("{name}:{password}"))});
    let config = json!({"auths": {
        host.to_string(): auth("eve", "wrong"), format!("http://{host}/ada"): auth("ada", "ada"),
        "example.com": auth("bob", "bob")}});
    let old = json!({format!("{host}/bob"): auth("bob", "bob")});
    let secrets = Secrets(BTreeMap::from([
        ("new".to_owned(), secret(".dockerconfigjson", &config)),
        ("old".to_owned(), secret(".dockercfg", &old)),
    ]));
    let names = json!([{"name": "new"}, {"name": "gone"}, {"name": "old"}]);
    let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [], "imagePullSecrets": names}})).unwrap();
    let keyring = Keyring::of(&pod, &secrets);
    assert_eq!(keyring.missing, ["gone"]);
    let scratch = tempfile::tempdir().unwrap();
    let images = ImageStore::open(scratch.path()).await.unwrap();
    for owner in ["ada", "bob"] {
        let pulled = pull(&images, &format!("{host}/{owner}/image:1"), &keyring.credentials).await;
        assert_eq!(pulled.unwrap().1.map(|by| by.username.as_str()), Some(owner));
    }
    let error = pull(&images, &format!("{host}/eve/image:1"), &keyring.credentials).await.unwrap_err();
    assert_eq!(error.kind(), ImageErrorKind::Unauthorized);
    assert_eq!(
        pull(&images, &format!("{host}/eve/image:1"), &[]).await.unwrap_err().kind(),
        ImageErrorKind::Unauthorized
    );
    let asked = registry.asked.lock().unwrap();
    assert!(!asked.iter().any(|asked| asked.starts_with("bob:bob /v2/ada")), "{asked:?}");
}
