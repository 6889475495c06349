//! The keys of service account tokens as the configuration names them.

use std::path::{Path, PathBuf};

use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};

use super::{TokenFault, TokenSigner, VerificationKey};
use crate::{config::Config, pki::Pki, server::StartError};

/// The signer, and whose signatures count besides its own. The cluster's own key counts always: changing to another one ends no
/// token that lives.
pub(crate) fn open(config: &Config, pki: &Pki) -> Result<TokenSigner, StartError> {
    let own = pki.token_key()?;
    let mut others = Vec::new();
    for path in &config.token_key_files {
        others.extend(VerificationKey::read(&text(path)?).map_err(|fault| unusable(path, fault))?);
    }
    let Some(path) = &config.token_signing_key_file else {
        return TokenSigner::new(&own, others, config.token_issuer.clone()).map_err(StartError::TokenKey);
    };
    others.push(VerificationKey::of_private(&own).map_err(StartError::TokenKey)?);
    let key = PrivatePkcs8KeyDer::from_pem_slice(text(path)?.as_bytes());
    let key = key.map_err(|_| unusable(path, TokenFault::Key))?;
    let signer = TokenSigner::new(key.secret_pkcs8_der(), others, config.token_issuer.clone());
    signer.map_err(|fault| unusable(path, fault))
}

fn text(path: &Path) -> Result<String, StartError> {
    std::fs::read_to_string(path).map_err(|source| StartError::TokenKeyRead { path: PathBuf::from(path), source })
}

fn unusable(path: &Path, source: TokenFault) -> StartError {
    StartError::TokenKeyFile { path: PathBuf::from(path), source }
}
