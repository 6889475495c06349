//! Tokens of issuers outside of the cluster: OpenID Connect as its relying party. Each token is judged by the one issuer that it
//! names, with that issuer's keys, audiences and mappings; the cluster's own issuers are never among them.
mod claims;
mod configuration;
mod expressions;
mod flags;
mod keys;
mod provider;
#[cfg(test)]
mod tests;

use std::sync::{Arc, PoisonError, RwLock};

use serde::Deserialize;
use serde_json::Value;

use self::{
    claims::{ClaimFault, Mapping},
    configuration::Configured,
    provider::{Provider, ProviderFault},
};
pub use self::{configuration::AuthenticationError, flags::OidcFlags};
use super::{
    TokenFault,
    algorithm::Algorithm,
    jws::{self, CLOCK_LEEWAY_S, Jws},
};
use crate::request::Identity;

/// Who is believed: issuers of tokens, and where those who show nothing are let in. May be replaced while it is in use.
pub struct Authentication {
    current: RwLock<Arc<Configured>>,
}

/// What the configuration is read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuthenticationSource {
    #[default]
    Nothing,
    Flags(OidcFlags),
    /// The text of an AuthenticationConfiguration.
    Document(String),
}

/// Where a request without credentials is the anonymous user's; elsewhere it is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    #[default]
    Everywhere,
    Nowhere,
    At(Vec<String>),
}

/// An issuer, and what its tokens are good for.
pub struct Issuer {
    url: String,
    audiences: Vec<String>,
    algorithms: Vec<Algorithm>,
    provider: Provider,
    mapping: Mapping,
}

/// Why a token of an issuer is not believed. Never told to the client in detail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OidcFault {
    #[error(transparent)]
    Token(#[from] TokenFault),
    #[error("signed with {0:?}, which this issuer's tokens may not be")]
    Algorithm(String),
    #[error("signed with {0:?}, which this server's cryptography has no means to check")]
    Unknown(String),
    #[error(transparent)]
    Provider(#[from] ProviderFault),
    #[error(transparent)]
    Claims(#[from] ClaimFault),
}

/// What is looked at before the claims are mapped.
#[derive(Deserialize)]
struct Standard {
    #[serde(default, deserialize_with = "jws::one_or_many")]
    aud: Vec<String>,
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
}

/// The issuer that a token names, which proves nothing.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    iss: String,
}

impl Authentication {
    /// `own` are the issuers of the cluster's own tokens.
    pub fn new(source: &AuthenticationSource, own: &[String]) -> Result<Self, AuthenticationError> {
        let configured = match source {
            AuthenticationSource::Nothing => Configured::default(),
            AuthenticationSource::Flags(flags) => flags::configured(flags, own)?,
            AuthenticationSource::Document(text) => configuration::read(text, own)?,
        };
        Ok(Authentication { current: RwLock::new(Arc::new(configured)) })
    }

    /// From now on another document counts. One that is not sound changes nothing.
    pub fn replace(&self, text: &str, own: &[String]) -> Result<(), AuthenticationError> {
        let new = configuration::read(text, own)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        Ok(())
    }

    fn current(&self) -> Arc<Configured> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks every issuer for its keys, before the first token comes. Those that do not answer are asked again then.
    pub async fn prepare(&self) {
        for issuer in &self.current().issuers {
            // Whoever was asked has told why.
            _ = issuer.provider.prepare().await;
        }
    }

    /// Whether a request to this path may come from nobody in particular.
    pub fn lets_in_anybody(&self, path: &str) -> bool {
        match &self.current().anonymous {
            Anonymous::Everywhere => true,
            Anonymous::Nowhere => false,
            Anonymous::At(paths) => paths.iter().any(|one| one == path),
        }
    }

    /// Who holds a token of one of the issuers; `None` for a token that names none of them. `now` in seconds since the epoch.
    pub async fn believe(&self, token: &str, now: i64) -> Option<Result<Identity, OidcFault>> {
        let configured = self.current();
        if configured.issuers.is_empty() {
            return None;
        }
        let jws = Jws::split(token).ok()?;
        let Named { iss } = jws.claims().ok()?;
        // So Google's tokens name it, too.
        let named = if iss == "accounts.google.com" { "https://accounts.google.com" } else { &iss };
        let issuer = configured.issuers.iter().find(|issuer| issuer.url == named)?;
        Some(issuer.believe(&jws, now).await)
    }
}

impl Issuer {
    async fn believe(&self, jws: &Jws<'_>, now: i64) -> Result<Identity, OidcFault> {
        let named = jws.header.alg.as_str();
        let algorithm = Algorithm::named(named).ok_or_else(|| OidcFault::Unknown(named.to_owned()))?;
        if !self.algorithms.contains(&algorithm) {
            return Err(OidcFault::Algorithm(named.to_owned()));
        }
        // What is over or meant for others is not worth asking the issuer about.
        self.check(&jws.claims()?, now)?;
        self.provider.verify(jws, algorithm).await?;
        Ok(self.mapping.identity(&jws.claims::<Value>()?)?)
    }

    fn check(&self, Standard { aud, exp, nbf, iat }: &Standard, now: i64) -> Result<(), TokenFault> {
        let ahead = |time: &f64| *time > (now + CLOCK_LEEWAY_S) as f64;
        if *exp <= now as f64 {
            return Err(TokenFault::Expired);
        }
        if nbf.as_ref().is_some_and(ahead) || iat.as_ref().is_some_and(ahead) {
            return Err(TokenFault::NotYet);
        }
        if !aud.iter().any(|audience| self.audiences.contains(audience)) {
            return Err(TokenFault::Audience { found: aud.clone(), wanted: self.audiences.clone() });
        }
        Ok(())
    }
}
