//! Join tokens: what lets a machine into the cluster, and tells it which cluster that is.
//!
//! `K1.<SHA-256 of the CA certificate>.<role>.<secret>`: the digest lets the machine know the cluster's CA before it trusts
//! anything that is said, the secret lets the cluster know the machine.

use std::{fmt, path::Path, str::FromStr};

use ring::digest::{SHA256, digest};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use serde::{Deserialize, Serialize};

use super::{PkiError, store::Store};

const VERSION: &str = "K1";
const SECRET_BYTES: usize = 32;

/// What a machine becomes by joining.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JoinRole {
    Agent,
    Server,
}

/// A join token, taken apart. Its text is [`fmt::Display`]; `Debug` does not tell the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// SHA-256 of the CA certificate's DER, in hexadecimal digits.
    pub ca_digest: String,
    pub role: JoinRole,
    secret: String,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a join token: it has the form K1.<CA digest>.<server|agent>.<secret>, as `kontiki token` prints it")]
pub struct TokenError;

impl JoinRole {
    pub fn name(self) -> &'static str {
        match self {
            JoinRole::Agent => "agent",
            JoinRole::Server => "server",
        }
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}.{}.{}.{}", self.ca_digest, self.role.name(), self.secret)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("role", &self.role).finish_non_exhaustive()
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let parts: Vec<&str> = text.trim().split('.').collect();
        let [VERSION, ca_digest, role, secret] = parts.as_slice() else { return Err(TokenError) };
        let role = match *role {
            "agent" => JoinRole::Agent,
            "server" => JoinRole::Server,
            _ => return Err(TokenError),
        };
        let hexadecimal = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !hexadecimal(ca_digest) || !hexadecimal(secret) {
            return Err(TokenError);
        }
        Ok(JoinToken { ca_digest: ca_digest.to_ascii_lowercase(), role, secret: (*secret).to_owned() })
    }
}

/// The cluster's tokens, one per role, as files that only their owner may read.
#[derive(Clone, Debug)]
pub struct JoinTokens {
    pub agent: JoinToken,
    pub server: JoinToken,
}

impl JoinTokens {
    /// Reads the tokens of this cluster from the directory; makes those that are not there.
    pub fn open(dir: &Path, ca_pem: &str) -> Result<Self, PkiError> {
        let store = Store::open(dir)?;
        let _lock = store.lock()?;
        let ca_digest = ca_digest(ca_pem, &store.path("server"))?;
        let token = |role: JoinRole| -> Result<JoinToken, PkiError> {
            let kept = store.read(role.name())?.and_then(|text| text.parse::<JoinToken>().ok());
            if let Some(kept) = kept.filter(|kept| kept.ca_digest == ca_digest && kept.role == role) {
                return Ok(kept);
            }
            let secret = hex(&rand::random::<[u8; SECRET_BYTES]>());
            let made = JoinToken { ca_digest: ca_digest.clone(), role, secret };
            store.write(role.name(), &format!("{made}\n"))?;
            Ok(made)
        };
        Ok(JoinTokens { agent: token(JoinRole::Agent)?, server: token(JoinRole::Server)? })
    }

    /// Keeps the tokens that a joining server was given.
    pub fn adopt(dir: &Path, tokens: [&str; 2]) -> Result<(), PkiError> {
        let store = Store::open(dir)?;
        let _lock = store.lock()?;
        for text in tokens {
            let token: JoinToken = text.parse().map_err(|_| PkiError::Name("a join token".to_owned()))?;
            store.write(token.role.name(), &format!("{token}\n"))?;
        }
        Ok(())
    }

    /// The role that a token gives. Digests are compared: the time it takes tells nothing of how much of a guess was right.
    pub fn role_of(&self, text: &str) -> Option<JoinRole> {
        let asked = digest(&SHA256, text.trim().as_bytes());
        let same = |token: &JoinToken| digest(&SHA256, token.to_string().as_bytes()).as_ref() == asked.as_ref();
        [&self.agent, &self.server].into_iter().find(|token| same(token)).map(|token| token.role)
    }
}

/// SHA-256 of a certificate's DER, in hexadecimal digits.
pub fn ca_digest(pem: &str, path: &Path) -> Result<String, PkiError> {
    let unusable = |reason: String| PkiError::Certificate { path: path.to_owned(), reason };
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| unusable(error.to_string()))?;
    Ok(der_digest(&der))
}

pub fn der_digest(der: &[u8]) -> String {
    hex(digest(&SHA256, der).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tokens_are_read_as_they_are_printed_and_nothing_else_is() {
        let (digest, secret) = ("ab".repeat(32), "cd".repeat(32));
        let text = format!("K1.{digest}.agent.{secret}");
        let token: JoinToken = text.parse().unwrap();
        assert_eq!((token.role, token.to_string()), (JoinRole::Agent, text.clone()));
        assert!(!format!("{token:?}").contains(&secret));
        for wrong in [
            String::new(),
            format!("K2.{digest}.agent.{secret}"),
            format!("K1.{digest}.admin.{secret}"),
            format!("K1.{digest}.agent.{secret}.more"),
            format!("K1.{digest}.agent."),
            format!("K1.{}.agent.{secret}", "zz".repeat(32)),
        ] {
            assert_eq!(wrong.parse::<JoinToken>().unwrap_err(), TokenError, "{wrong}");
        }
    }
}
