//! Tokens of service accounts as others meet them: signed with the key that the operator chose, by the issuer of that name, and
//! checked with nothing but what the server publishes.
#![allow(clippy::unwrap_used)]
mod wire;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64URL},
};
use kontiki_apiserver::{Config, StartError, encryption::Encryption};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde_json::{Value, json};

use wire::{Client, Running};

const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys");
const RSA_ID: &str = "ObU0_gC_TvGvbzg235Ba5HP8TNcWrRLXa2I785TK5yA";
const DISCOVERY: &str = "/.well-known/openid-configuration";

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}

fn signing(config: &mut Config, issuers: &[&str]) {
    config.token_signing_key_file = Some(format!("{KEYS}/rsa-pkcs1.pem").into());
    config.token_issuers = issuers.iter().map(|&issuer| issuer.to_owned()).collect();
    config.token_audiences.clone_from(&config.token_issuers);
}

fn part(token: &str, index: usize) -> Value {
    serde_json::from_slice(&BASE64URL.decode(token.split('.').nth(index).unwrap()).unwrap()).unwrap()
}

async fn key_set(client: &mut Client) -> Vec<Value> {
    let answer = client.get_with("/openid/v1/jwks", "accept", "application/jwk-set+json").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["keys"].as_array().unwrap().clone()
}

#[test]
fn a_relying_party_checks_a_token_with_what_is_published() {
    run(async {
        let server = Running::start_with(tempfile::tempdir().unwrap(), "192.0.2.7", |config| {
            signing(config, &["https://oidc.example/id/1", "https://kubernetes.default.svc"]);
            config.token_keys_uri = Some("https://oidc.example/id/1/keys".to_owned());
        })
        .await;
        let mut admin = server.admin().await;
        let token = admin.service_account("robot").await;
        assert_eq!(part(&token, 0), json!({"alg": "RS256", "kid": RSA_ID}));
        let claims = part(&token, 1);
        assert_eq!(claims["iss"], "https://oidc.example/id/1");
        assert_eq!(claims["aud"], json!(["https://oidc.example/id/1", "https://kubernetes.default.svc"]));

        let discovery = admin.get(DISCOVERY).await.json();
        assert_eq!(discovery["issuer"], "https://oidc.example/id/1");
        assert_eq!(discovery["jwks_uri"], "https://oidc.example/id/1/keys");
        assert_eq!(discovery["id_token_signing_alg_values_supported"], json!(["ES256", "RS256"]));

        let keys = key_set(&mut admin).await;
        let kinds: Vec<&Value> = keys.iter().map(|key| &key["kty"]).collect();
        assert_eq!(kinds, ["RSA", "EC"], "the one that signs, and the cluster's own");
        let key = &keys[0];
        assert_eq!((&key["use"], &key["alg"], &key["kid"]), (&json!("sig"), &json!("RS256"), &json!(RSA_ID)));
        let number = |name: &str| BASE64URL.decode(key[name].as_str().unwrap()).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let public = RsaPublicKeyComponents { n: number("n"), e: number("e") };
        let signature = BASE64URL.decode(signature).unwrap();
        public.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature).unwrap();

        let mut robot = server.bearer(&token).await;
        let review = json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"});
        let whoami = robot.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).await;
        assert_eq!(whoami.json()["status"]["userInfo"]["username"], "system:serviceaccount:default:robot");
        // A browser that opens a WebSocket shows its token among the protocols.
        let protocols =
            format!("base64url.bearer.authorization.k8s.io.{}, v4.channel.k8s.io", BASE64URL.encode(&token));
        let request = http::Request::get("/api/v1/namespaces/default/pods/p/exec?command=a&stdout=true")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-protocol", protocols)
            .body(http_body_util::Full::default());
        let refused = wire::read(server.client(None).await.send(request.unwrap()).await).await;
        assert_eq!(refused.status, 403);
        assert!(refused.message().contains("User \"system:serviceaccount:default:robot\""), "{}", refused.text());
        let none = admin.post("/apis/authentication.k8s.io/v1/tokenreviews", &json!({"spec": {}})).await;
        let why = "token is required for TokenReview in authentication";
        assert_eq!((none.status.as_u16(), none.message().as_str()), (400, why));
        server.stop().await;
    });
}

#[test]
fn an_issuer_that_is_only_a_name_is_not_discovered() {
    run(async {
        let server = Running::start_with(tempfile::tempdir().unwrap(), "192.0.2.7", |config| {
            signing(config, &["urn:example:issuer"]);
        })
        .await;
        let mut admin = server.admin().await;
        let token = admin.service_account("robot").await;
        assert_eq!(part(&token, 1)["iss"], "urn:example:issuer");
        assert_eq!(server.bearer(&token).await.get("/version").await.status, 200);
        for path in [DISCOVERY, "/openid/v1/jwks"] {
            assert_eq!(admin.get_with(path, "accept", "*/*").await.status, 404, "{path}");
            let paths = admin.get("/").await.json();
            assert!(!paths["paths"].as_array().unwrap().contains(&json!(path)), "{path}");
        }
        server.stop().await;
    });
}

#[test]
fn tokens_go_on_through_a_change_of_key_and_issuer() {
    run(async {
        let server = Running::start().await;
        let old = server.admin().await.service_account("robot").await;
        assert_eq!(part(&old, 0)["alg"], "ES256");
        let dir = server.stop().await;
        let asked = async |server: &Running, token: &str| server.bearer(token).await.get("/version").await.status;

        let changed = |config: &mut Config| {
            signing(config, &["https://new", "https://kubernetes.default.svc"]);
        };
        let server = Running::start_with(dir, "192.0.2.7", changed).await;
        let mut admin = server.admin().await;
        let new = admin.post("/api/v1/namespaces/default/serviceaccounts/robot/token", &json!({})).await.json();
        let new = new["status"]["token"].as_str().unwrap().to_owned();
        assert_eq!(part(&new, 0)["alg"], "RS256");
        assert_eq!(asked(&server, &old).await, 200);
        assert_eq!(asked(&server, &new).await, 200);
        let dir = server.stop().await;

        // The former issuer is not named any more; nor is the key that signed the newer one.
        let server = Running::start_with(dir, "192.0.2.7", |config| {
            config.token_issuers = vec!["https://new".to_owned()];
            config.token_audiences = vec!["https://new".to_owned(), "https://kubernetes.default.svc".to_owned()];
        })
        .await;
        assert_eq!(asked(&server, &old).await, 401);
        assert_eq!(asked(&server, &new).await, 401);
        let dir = server.stop().await;
        let server = Running::start_with(dir, "192.0.2.7", |config| {
            config.token_issuers = vec!["https://new".to_owned()];
            config.token_audiences = config.token_issuers.clone();
            config.token_key_files = vec![format!("{KEYS}/rsa-public-pkcs1.pem").into()];
        })
        .await;
        assert_eq!(asked(&server, &new).await, 200);
        server.stop().await;
    });
}

#[test]
fn issuers_and_keys_that_make_no_sense_are_refused_at_the_start() {
    run(async {
        let refusal = async |configure: &dyn Fn(&mut Config)| -> String {
            let dir = tempfile::tempdir().unwrap();
            let listen = "127.0.0.1:0".parse().unwrap();
            let mut config = Config::new(listen, "192.0.2.7".parse().unwrap(), dir.path().join("pki"));
            configure(&mut config);
            let log = kontiki_raft::Log::open(kontiki_raft::LogConfig::new(dir.path().join("log"))).await.unwrap();
            let refused: StartError = kontiki_apiserver::Core::open(config, log.clone()).err().unwrap();
            log.shutdown().await;
            match std::error::Error::source(&refused) {
                Some(source) => format!("{refused}: {source}"),
                None => refused.to_string(),
            }
        };
        let issuers = |names: &'static [&'static str]| {
            move |config: &mut Config| config.token_issuers = names.iter().map(|&name| name.to_owned()).collect()
        };
        let twice = refusal(&issuers(&["https://a", "https://a"])).await;
        assert_eq!(twice, "service-account-issuer \"https://a\" is already specified");
        assert_eq!(refusal(&issuers(&["a", ""])).await, "service-account-issuer should not be an empty string");
        let no_url = "service-account-issuer \"https://a b\" contained a ':' but was not a valid URL: parse \"https://a b\": \
                      invalid character \" \" in host name";
        assert_eq!(refusal(&issuers(&["https://a b"])).await, no_url);
        let keys_at = |uri: &'static str| move |config: &mut Config| config.token_keys_uri = Some(uri.to_owned());
        let plain = "service-account-jwks-uri requires https scheme, parsed as: http://a/keys";
        assert_eq!(refusal(&keys_at("http://a/keys")).await, plain);
        let no_url = "service-account-jwks-uri must be a valid URL: parse \"https://host:port\": invalid port \":port\" after host";
        assert_eq!(refusal(&keys_at("https://host:port")).await, no_url);
        let key = refusal(&|config| config.token_signing_key_file = Some(format!("{KEYS}/p521-sec1.pem").into())).await;
        assert!(key.contains("p521-sec1.pem holds no usable key") && key.ends_with("curve 1.3.132.0.35"), "{key}");
    });
}

/// A configuration under which Secrets are encrypted with a key of this name.
fn sealed_with(name: &str) -> String {
    let key = json!({"name": name, "secret": STANDARD.encode([name.as_bytes()[0]; 32])});
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": [{"aesgcm": {"keys": [key]}}]}],
    })
    .to_string()
}

#[test]
fn a_token_is_nobodys_while_the_secret_it_is_bound_to_cannot_be_read() {
    run(async {
        let encryption = Encryption::new(&sealed_with("a")).unwrap();
        let seal = encryption.clone();
        let server = Running::start_configured(|log, _| log.seal = Some(seal)).await;
        let mut admin = server.admin().await;
        admin.service_account("robot").await;
        let made =
            admin.post("/api/v1/namespaces/default/secrets", &json!({"metadata": {"name": "held"}})).await.json();
        let bound = json!({"apiVersion": "v1", "kind": "Secret", "name": "held", "uid": made["metadata"]["uid"]});
        let path = "/api/v1/namespaces/default/serviceaccounts/robot/token";
        let issued = admin.post(path, &json!({"spec": {"boundObjectRef": bound}})).await.json();
        let token = issued["status"]["token"].as_str().unwrap();
        let mut robot = server.bearer(token).await;
        assert_eq!(robot.get("/api").await.status, 200);
        encryption.replace(&sealed_with("b")).unwrap();
        let refused = robot.get("/api").await;
        assert_eq!((refused.status.as_u16(), refused.message().as_str()), (401, "Unauthorized"));
        let review = json!({"spec": {"token": token}});
        let review = admin.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await;
        assert_eq!(review.status, 201);
        assert!(review.json()["status"]["authenticated"].is_null(), "{}", review.text());
        encryption.replace(&sealed_with("a")).unwrap();
        assert_eq!(robot.get("/api").await.status, 200);
        server.stop().await;
    });
}

#[test]
fn who_asks_for_a_token_names_the_account_of_the_path() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        admin.service_account("robot").await;
        let path = "/api/v1/namespaces/default/serviceaccounts/robot/token";
        let table = [
            (json!({"name": "robot", "namespace": "default"}), 201, ""),
            (json!({}), 201, ""),
            (
                json!({"name": "other"}),
                422,
                "TokenRequest.authentication.k8s.io \"robot\" is invalid: metadata.name: Invalid value: \"other\": must match the service \
                 account name if specified",
            ),
            (
                json!({"namespace": "kube-system"}),
                400,
                "the namespace of the provided object does not match the namespace sent on the request",
            ),
        ];
        for (metadata, code, message) in table {
            let answer = admin.post(path, &json!({"metadata": metadata, "spec": {}})).await;
            assert_eq!(answer.status, code, "{metadata}: {}", answer.text());
            if code != 201 {
                assert_eq!(answer.message(), message);
            }
        }
        server.stop().await;
    });
}
