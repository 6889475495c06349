//! An issuer of tokens on loopback TLS: discovery, keys that may change, and tokens of every sort, sound and forged.
#![allow(clippy::unwrap_used, dead_code)]

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use ring::{
    hmac,
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA384, RsaEncoding,
        RsaKeyPair,
    },
};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub struct Issuer {
    pub url: String,
    /// What vouches for its certificate.
    pub authority: String,
    told: Arc<Told>,
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
}

struct Told {
    issuer: Mutex<String>,
    keys: Mutex<Vec<Value>>,
    key_requests: AtomicUsize,
}

impl Issuer {
    pub async fn start() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let tls = tls.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], private).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let told = Arc::new(Told {
            issuer: Mutex::new(url.clone()),
            keys: Mutex::default(),
            key_requests: AtomicUsize::new(0),
        });
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(tls)), told.clone()));
        let der = include_str!("rsa_key_of_tests.base64").split_whitespace().collect::<String>();
        let rsa = RsaKeyPair::from_der(&STANDARD.decode(der).unwrap()).unwrap();
        let ec = rcgen::KeyPair::generate().unwrap().serialize_der();
        let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &ec, &SystemRandom::new()).unwrap();
        let issuer = Issuer { url, authority: certificate.pem(), told, rsa, ec };
        issuer.publish(&["rsa", "ec"]);
        issuer
    }

    /// From now on these are its keys: `rsa` and `ec`, under these names or (after a `:`) others.
    pub fn publish(&self, names: &[&str]) {
        let key = |name: &&str| {
            let (which, id) = name.split_once(':').unwrap_or((name, name));
            match which {
                "rsa" => {
                    let PublicKeyComponents { n, e }: PublicKeyComponents<Vec<u8>> = self.rsa.public_key().into();
                    json!({"kty": "RSA", "use": "sig", "kid": id, "n": BASE64URL.encode(n), "e": BASE64URL.encode(e)})
                }
                _ => {
                    let point = self.ec.public_key().as_ref();
                    let (x, y) = (BASE64URL.encode(&point[1..33]), BASE64URL.encode(&point[33..]));
                    json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": id, "x": x, "y": y})
                }
            }
        };
        *self.told.keys.lock().unwrap() = names.iter().map(key).collect();
    }

    /// How often it was asked for its keys.
    pub fn asked(&self) -> usize {
        self.told.key_requests.load(Ordering::SeqCst)
    }

    /// What its discovery document calls it.
    pub fn pose_as(&self, name: &str) {
        *self.told.issuer.lock().unwrap() = name.to_owned();
    }

    /// Claims that hold now, for the client `kubernetes`, with others set.
    pub fn claims(&self, others: Value) -> Value {
        let now = chrono::Utc::now().timestamp();
        let mut claims = json!({"iss": self.url, "sub": "jane", "aud": "kubernetes", "exp": now + 600, "iat": now});
        for (name, value) in others.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    /// A token that says this.
    pub fn token(&self, others: Value) -> String {
        self.signed("RS256", Some("rsa"), &self.claims(others))
    }

    /// A token signed in this way, with the key that fits it.
    pub fn signed(&self, alg: &str, kid: Option<&str>, claims: &Value) -> String {
        let header = kid.map_or_else(|| json!({"alg": alg}), |kid| json!({"alg": alg, "kid": kid}));
        self.with_header(&header, claims)
    }

    pub fn with_header(&self, header: &Value, claims: &Value) -> String {
        let text = format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(claims.to_string()));
        let signature = match header["alg"].as_str().unwrap() {
            "RS256" => self.rsa_signature(&RSA_PKCS1_SHA256, &text),
            "PS384" => self.rsa_signature(&RSA_PSS_SHA384, &text),
            "ES256" => self.ec.sign(&SystemRandom::new(), text.as_bytes()).unwrap().as_ref().to_vec(),
            // What is public, taken for a shared secret.
            "HS256" => {
                let public = hmac::Key::new(hmac::HMAC_SHA256, self.rsa.public_key().as_ref());
                hmac::sign(&public, text.as_bytes()).as_ref().to_vec()
            }
            _ => Vec::new(),
        };
        format!("{text}.{}", BASE64URL.encode(signature))
    }

    fn rsa_signature(&self, how: &'static dyn RsaEncoding, text: &str) -> Vec<u8> {
        let mut signature = vec![0; self.rsa.public().modulus_len()];
        self.rsa.sign(how, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
        signature
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, told: Arc<Told>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, told) = (tls.clone(), told.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let answer = service_fn(move |request: Request<Incoming>| {
                let answer = told.answer(&request);
                async move { Ok::<_, Infallible>(answer) }
            });
            _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

impl Told {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let issuer = self.issuer.lock().unwrap().clone();
        let host = request.headers()["host"].to_str().unwrap();
        let body = match request.uri().path() {
            "/.well-known/openid-configuration" => {
                json!({"issuer": issuer, "jwks_uri": format!("https://{host}/keys")})
            }
            "/keys" => {
                self.key_requests.fetch_add(1, Ordering::SeqCst);
                json!({"keys": *self.keys.lock().unwrap()})
            }
            _ => return Response::builder().status(404).body(Full::default()).unwrap(),
        };
        Response::new(Full::new(body.to_string().into()))
    }
}
