//! One repository of one image registry. Who writes pods chooses the registry: nothing that it sends is read without a bound
//! (`Answer`), and what it is to be shown goes to itself and to its token server alone.

mod challenge;
#[cfg(test)]
mod tests;

use std::{fmt, path::Path, sync::Mutex, time::Duration};

use oci_spec::distribution::Reference;
use reqwest::{Client, RequestBuilder, StatusCode, Url, header::ACCEPT};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;

use self::challenge::{Challenge, Granted};
use super::{
    answer::{Answer, Broken, Pace, chain},
    config::{Descriptor, Manifest, for_this_machine},
    digest::Digest,
    error::ImageError,
    limits::{
        CONFIG_BYTES_MAX, IMAGE_BYTES_MAX, MANIFEST_BYTES_MAX, PULL_CONNECT_S_MAX, PULL_READ_S_MAX,
        PULL_REFUSAL_BYTES_MAX, PULL_TOKEN_BYTES_MAX,
    },
    reference::ImageName,
    unpack::check,
};

/// Manifests and indexes that are understood.
const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";
const DIGEST_HEADER: &str = "docker-content-digest";
/// Of the text of a refusal that is no envelope of errors.
const REFUSAL_CHARS_SHOWN: usize = 200;

/// How to be let in by a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    Basic { username: String, password: String },
    Token(String),
}

impl Credentials {
    fn on(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Basic { username, password } => request.basic_auth(username, Some(password)),
            Self::Token(token) => request.bearer_auth(token),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { username, .. } => write!(f, "Basic({username:?}, …)"),
            Self::Token(_) => f.write_str("Token(…)"),
        }
    }
}

/// One repository of one registry.
pub struct Registry {
    client: Client,
    reference: Reference,
    base: Url,
    given: Option<Credentials>,
    /// What the registry is shown: a token that was given, or what its last challenge asked for.
    shown: Mutex<Option<Credentials>>,
    pace: Pace,
}

impl Registry {
    pub fn new(name: &ImageName, credentials: Option<&Credentials>) -> Result<Self, ImageError> {
        // reqwest, without a provider of its own, panics if there is none. Losing the race to install one is fine.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let unreachable = |detail| ImageError::Unreachable { registry: name.registry().to_owned(), detail };
        let client = client(name.is_loopback()).map_err(|error| {
            let why = chain(&error);
            unreachable(format!("no TLS: {why}; install the root certificates (Debian: ca-certificates)"))
        })?;
        let reference = name.reference().clone();
        let scheme = if name.is_loopback() { "http" } else { "https" };
        let base = format!("{scheme}://{}/v2/{}/", reference.resolve_registry(), reference.repository());
        let base = Url::parse(&base).map_err(|error| unreachable(format!("{base}: {error}")))?;
        let given = credentials.cloned();
        let shown = Mutex::new(given.clone().filter(|given| matches!(given, Credentials::Token(_))));
        Ok(Self { client, reference, base, given, shown, pace: Pace::default() })
    }

    /// Digests the name stands for (an index and its manifest), the configuration and the layers.
    pub async fn manifest(&self, name: &ImageName) -> Result<(Vec<Digest>, Descriptor, Vec<Descriptor>), ImageError> {
        let mut reference = self.reference.clone();
        let mut digests: Vec<Digest> = Vec::new();
        // An index, and the image it points to.
        for _ in 0..2 {
            let of = reference.digest().or(reference.tag()).unwrap_or("latest");
            let answer = self.get(&format!("manifests/{of}"), "manifest").await?;
            let told = answer.headers().get(DIGEST_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
            let raw = answer.body(MANIFEST_BYTES_MAX).await.map_err(|broken| self.broken(broken, "manifest"))?;
            let actual = Digest::of(&raw);
            for expected in [reference.digest(), told.as_deref()].into_iter().flatten().filter_map(Digest::parse) {
                check("manifest", &expected, &actual)?;
            }
            digests.push(actual);
            match Manifest::parse(&raw, "manifest")? {
                Manifest::Image { config, layers } => return Ok((digests, config, layers)),
                Manifest::Index(manifests) => {
                    let chosen = for_this_machine(&manifests, &name.canonical())?;
                    reference = self.reference.clone_with_digest(chosen.digest.to_string());
                }
            }
        }
        Err(self.failed("its index points to another index".into()))
    }

    pub async fn config(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        let what = "image configuration";
        let answer = self.get(&format!("blobs/{}", descriptor.digest), what).await?;
        let content = answer.body(CONFIG_BYTES_MAX).await.map_err(|broken| self.broken(broken, what))?;
        check(what, &descriptor.digest, &Digest::of(&content))?;
        Ok(content)
    }

    /// Writes a layer's blob to a file, and says how far it is. Its digest is for the reader of the file to check.
    pub async fn download(&self, layer: &Descriptor, to: &Path, progress: impl Fn(u64)) -> Result<(), ImageError> {
        let what = format!("layer {}", layer.digest);
        if layer.size > IMAGE_BYTES_MAX {
            return Err(ImageError::TooLarge { what, limit: format!("{} GiB", IMAGE_BYTES_MAX >> 30) });
        }
        let writing = || ImageError::io(format!("writing {}", to.display()));
        let mut answer = self.get(&format!("blobs/{}", layer.digest), &what).await?;
        let mut file = tokio::fs::File::create(to).await.map_err(writing())?;
        let mut done = 0;
        while let Some(bytes) = answer.chunk().await.map_err(|broken| self.broken(broken, &what))? {
            done += bytes.len() as u64;
            if done > layer.size {
                return Err(self.failed(format!("{what} is longer than the {} bytes of its manifest", layer.size)));
            }
            file.write_all(&bytes).await.map_err(writing())?;
            progress(done);
        }
        file.flush().await.map_err(writing())?;
        if done < layer.size {
            return Err(self.failed(format!("{what} ended after {done} of {} bytes", layer.size)));
        }
        Ok(())
    }

    /// The good answer for something of the repository. A challenge is met once, also where a token has run out.
    async fn get(&self, path: &str, what: &str) -> Result<Answer, ImageError> {
        let mut answer = self.ask(path, what).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            self.authorize(&answer).await?;
            answer = self.ask(path, what).await?;
        }
        match answer.status() {
            StatusCode::OK => Ok(answer),
            _ => Err(self.refusal(answer, what).await),
        }
    }

    /// Redirects are followed, and what is shown is left out where they lead to another host (reqwest sees to it).
    async fn ask(&self, path: &str, what: &str) -> Result<Answer, ImageError> {
        let mut request = self.client.get(format!("{}{path}", self.base)).header(ACCEPT, ACCEPTED);
        if let Some(shown) = &*self.shown.lock().expect("nobody panics while holding it") {
            request = shown.on(request);
        }
        Answer::to(request, self.pace).await.map_err(|broken| self.broken(broken, what))
    }

    async fn authorize(&self, answer: &Answer) -> Result<(), ImageError> {
        // A host that the registry led to has no say in where the credentials go.
        let challenge = Challenge::of(answer.headers()).filter(|_| answer.url().origin() == self.base.origin());
        let shown = match (challenge, &self.given) {
            (None, _) | (_, Some(Credentials::Token(_))) | (Some(Challenge::Basic), None) => {
                return Err(self.unauthorized("authorization failed"));
            }
            (Some(Challenge::Basic), Some(basic)) => basic.clone(),
            (Some(Challenge::Bearer { realm, service }), _) => {
                Credentials::Token(self.token(&realm, service.as_deref()).await?)
            }
        };
        *self.shown.lock().expect("nobody panics while holding it") = Some(shown);
        Ok(())
    }

    async fn token(&self, realm: &str, service: Option<&str>) -> Result<String, ImageError> {
        let scope = format!("repository:{}:pull", self.reference.repository());
        let service = service.map(|service| ("service", service));
        let query: Vec<(&str, &str)> = [("scope", scope.as_str())].into_iter().chain(service).collect();
        let mut request = self.client.get(realm).query(&query);
        if let Some(given) = &self.given {
            request = given.on(request);
        }
        let answer = Answer::to(request, self.pace).await.map_err(|broken| self.broken(broken, "token"))?;
        match answer.status() {
            StatusCode::OK => {}
            code if code.is_client_error() => {
                return Err(self.unauthorized(&format!("authentication failed: HTTP status {}", code.as_u16())));
            }
            code => return Err(self.failed(format!("token: HTTP status {}", code.as_u16()))),
        }
        let body = answer.body(PULL_TOKEN_BYTES_MAX).await.map_err(|broken| self.broken(broken, "token"))?;
        // What does not parse is not shown: it may be the token.
        let granted = serde_json::from_slice(&body).ok().and_then(Granted::token);
        granted.ok_or_else(|| self.failed("the token server's answer has no token".into()))
    }

    fn failed(&self, detail: String) -> ImageError {
        ImageError::Registry { reference: self.whole(), registry: self.registry(), detail }
    }

    fn unauthorized(&self, detail: &str) -> ImageError {
        let detail = format!("{detail}; it does not exist or needs credentials");
        ImageError::Unauthorized { reference: self.whole(), registry: self.registry(), detail }
    }

    fn whole(&self) -> String {
        self.reference.whole()
    }

    fn registry(&self) -> String {
        self.reference.registry().to_owned()
    }

    fn broken(&self, broken: Broken, what: &str) -> ImageError {
        match broken {
            Broken::Long { limit } => {
                ImageError::TooLarge { what: format!("the {what}"), limit: format!("{limit} bytes") }
            }
            // Nothing came: name, connection, TLS, time.
            Broken::Http(error) if !error.is_body() && !error.is_decode() => {
                ImageError::Unreachable { registry: self.registry(), detail: chain(&error) }
            }
            Broken::Http(_) | Broken::Slow { .. } => {
                ImageError::Unreachable { registry: self.registry(), detail: format!("{what} broke off: {broken}") }
            }
        }
    }

    async fn refusal(&self, answer: Answer, what: &str) -> ImageError {
        let code = answer.status();
        let not_found =
            |detail| ImageError::NotInRegistry { reference: self.whole(), registry: self.registry(), detail };
        if code == StatusCode::UNAUTHORIZED {
            return self.unauthorized("authorization failed");
        }
        let body = answer.beginning(PULL_REFUSAL_BYTES_MAX).await;
        if code.is_client_error()
            && let Ok(Refusal { errors }) = serde_json::from_slice(&body)
        {
            let detail = errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("; ");
            return match errors.first().map(|error| error.code.as_str()) {
                Some("MANIFEST_UNKNOWN" | "NAME_UNKNOWN" | "NOT_FOUND" | "BLOB_UNKNOWN" | "MANIFEST_BLOB_UNKNOWN") => {
                    not_found(format!("{what}: {detail}"))
                }
                Some("UNAUTHORIZED" | "DENIED") => self.unauthorized(&detail),
                Some(_) | None => self.failed(format!("{what}: {detail}")),
            };
        }
        match code {
            StatusCode::NOT_FOUND => not_found(format!("{what}: HTTP status 404")),
            StatusCode::FORBIDDEN => self.unauthorized("HTTP status 403"),
            code => {
                let text: String = String::from_utf8_lossy(&body).chars().take(REFUSAL_CHARS_SHOWN).collect();
                self.failed(format!("{what}: HTTP status {}: {text}", code.as_u16()))
            }
        }
    }
}

fn client(plain: bool) -> reqwest::Result<Client> {
    let build = |no_roots| {
        Client::builder()
            .danger_accept_invalid_certs(no_roots)
            .connect_timeout(Duration::from_secs(PULL_CONNECT_S_MAX))
            .read_timeout(Duration::from_secs(PULL_READ_S_MAX))
            .user_agent(concat!("kontiki/", env!("CARGO_PKG_VERSION")))
            .build()
    };
    match build(false) {
        // A machine without any root certificate can still speak plain HTTP, where none is looked at.
        Err(_) if plain => build(true),
        other => other,
    }
}

/// The errors that a registry tells, as the distribution specification has them.
#[derive(Deserialize)]
struct Refusal {
    errors: Vec<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    code: String,
    #[serde(default)]
    message: String,
}
