//! What is asked of an issuer: its discovery document and its keys, over TLS, kept for a while, and never asked for more often
//! than a bound allows, whatever tokens come.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use http::Uri;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use super::keys::IssuerKey;
use crate::{
    authn::{algorithm::Algorithm, jws::Jws},
    limits::{ISSUER_ANSWER_TIME_MAX, ISSUER_ASK_INTERVAL_MIN, ISSUER_KEYS_AGE_MAX, ISSUER_KEYS_STALE_MAX},
    peers::{Question, ask},
};

/// An issuer and what it has told.
pub struct Provider {
    issuer: String,
    /// Where the discovery document is.
    discovery: String,
    tls: TlsConnector,
    known: RwLock<Option<Arc<Known>>>,
    /// Held by the one who asks; when that was last.
    asking: Mutex<Option<Instant>>,
}

struct Known {
    keys: Vec<IssuerKey>,
    at: Instant,
}

/// Why an issuer's keys do not vouch for a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderFault {
    #[error("no key of the issuer signed it")]
    Signature,
    #[error("the issuer {issuer} cannot be asked: {reason}")]
    Unavailable { issuer: String, reason: String },
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Provider {
    /// `discovery` is the URL of the document, if it is not where the issuer's own URL says.
    pub fn new(issuer: &str, discovery: Option<&str>, tls: TlsConnector) -> Self {
        let well_known = || format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        Provider {
            issuer: issuer.to_owned(),
            discovery: discovery.map_or_else(well_known, str::to_owned),
            tls,
            known: RwLock::new(None),
            asking: Mutex::new(None),
        }
    }

    /// Gets the keys before the first token comes.
    pub async fn prepare(&self) -> Result<(), ProviderFault> {
        self.refresh(None).await.map(drop)
    }

    /// Whether a key of the issuer signed the token. Where none that is known did, or they are old, it is asked again.
    pub async fn verify(&self, jws: &Jws<'_>, algorithm: Algorithm) -> Result<(), ProviderFault> {
        let signed = |known: &Known| known.keys.iter().any(|key| key.signed(jws, algorithm));
        let usable = |known: &Known| signed(known) && known.at.elapsed() < ISSUER_KEYS_STALE_MAX;
        let known = self.known();
        let by_known = known.as_deref().is_some_and(usable);
        if by_known && known.as_ref().is_some_and(|known| known.at.elapsed() < ISSUER_KEYS_AGE_MAX) {
            return Ok(());
        }
        // An issuer that is away for a while must not lock everybody out, nor keep them waiting while somebody asks it.
        if by_known && self.asking.try_lock().is_err() {
            return Ok(());
        }
        match self.refresh(known.as_ref()).await {
            Ok(fresh) if usable(&fresh) => Ok(()),
            Ok(_) => Err(ProviderFault::Signature),
            Err(_) if by_known => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    fn known(&self) -> Option<Arc<Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Newer keys than those that were seen, if there are any or the issuer may be asked now; else what is known.
    async fn refresh(&self, seen: Option<&Arc<Known>>) -> Result<Arc<Known>, ProviderFault> {
        let mut asked = self.asking.lock().await;
        let known = self.known();
        let newer = |known: &&Arc<Known>| seen.is_none_or(|seen| !Arc::ptr_eq(seen, known));
        if let Some(known) = known.as_ref().filter(newer) {
            return Ok(known.clone());
        }
        if asked.is_some_and(|at| at.elapsed() < ISSUER_ASK_INTERVAL_MIN) {
            return known.ok_or_else(|| self.unavailable("it was asked just now, without success"));
        }
        *asked = Some(Instant::now());
        let keys = self.fetch().await;
        // Whoever waited meanwhile does not ask at once again.
        *asked = Some(Instant::now());
        if let Err(error) = &keys {
            tracing::warn!(issuer = self.issuer, %error, "an issuer of tokens does not tell its keys");
        }
        let fresh = Arc::new(Known { keys: keys?, at: Instant::now() });
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(fresh.clone());
        Ok(fresh)
    }

    async fn fetch(&self) -> Result<Vec<IssuerKey>, ProviderFault> {
        let document = self.get(&self.discovery).await?;
        let document: Discovery = serde_json::from_slice(&document)
            .map_err(|error| self.unavailable(format!("{} is no discovery document: {error}", self.discovery)))?;
        if document.issuer != self.issuer {
            return Err(self.unavailable(format!("{} is the document of {:?}", self.discovery, document.issuer)));
        }
        let set = self.get(&document.jwks_uri).await?;
        IssuerKey::read(&set).ok_or_else(|| self.unavailable(format!("{} is no key set", document.jwks_uri)))
    }

    async fn get(&self, url: &str) -> Result<bytes::Bytes, ProviderFault> {
        let (address, path) = place(url).ok_or_else(|| self.unavailable(format!("{url:?} is no https URL")))?;
        let answer = ask(&self.tls, Question::get(&address, &path, ISSUER_ANSWER_TIME_MAX).of_anybody()).await;
        let answer = answer.map_err(|error| self.unavailable(format!("{url}: {error}")))?;
        if !answer.status.is_success() {
            return Err(self.unavailable(format!("{url} answers {}", answer.status)));
        }
        Ok(answer.body)
    }

    fn unavailable(&self, reason: impl Into<String>) -> ProviderFault {
        ProviderFault::Unavailable { issuer: self.issuer.clone(), reason: reason.into() }
    }
}

/// `host:port` and path of an https URL.
fn place(url: &str) -> Option<(String, String)> {
    let url: Uri = url.parse().ok()?;
    let path = url.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let host = url.host().filter(|_| url.scheme_str() == Some("https"))?;
    Some((format!("{host}:{}", url.port_u16().unwrap_or(443)), path))
}

/// TLS to an issuer: by its own authority's certificates, or by those that the system trusts.
pub fn tls(authority: Option<&str>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    match authority {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|error| error.to_string())?;
                roots.add(certificate).map_err(|error| error.to_string())?;
            }
            if roots.is_empty() {
                return Err("data does not contain any valid RSA or ECDSA certificates".to_owned());
            }
        }
        None => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::authn::key_file::PrivateKey;

    #[tokio::test]
    async fn keys_of_an_issuer_that_is_away_are_believed_for_a_day_and_no_longer() {
        let key = PrivateKey::read(include_str!("../../../tests/keys/p256-sec1.pem")).unwrap();
        // {"alg":"ES256"}
        let mut jws = Jws::split("eyJhbGciOiJFUzI1NiJ9.e30.").unwrap();
        jws.signature = key.sign(jws.signed).unwrap();
        let set = json!({"keys": [key.public().json()]}).to_string();
        let asked = async |age: Duration| {
            // It has no URL that anybody could be asked at.
            let provider = Provider::new("away", None, tls(None).unwrap());
            let at = Instant::now().checked_sub(age).unwrap();
            *provider.known.write().unwrap() =
                Some(Arc::new(Known { keys: IssuerKey::read(set.as_bytes()).unwrap(), at }));
            provider.verify(&jws, Algorithm::Es256).await
        };
        assert_eq!(asked(Duration::ZERO).await, Ok(()));
        assert_eq!(asked(ISSUER_KEYS_AGE_MAX + Duration::from_secs(1)).await, Ok(()));
        assert_eq!(asked(ISSUER_KEYS_STALE_MAX - Duration::from_secs(60)).await, Ok(()));
        let late = asked(ISSUER_KEYS_STALE_MAX + Duration::from_secs(1)).await;
        assert!(matches!(late, Err(ProviderFault::Unavailable { .. })), "{late:?}");
    }
}
