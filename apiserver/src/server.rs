//! The API server as a whole: starting it, asking it from within, stopping it.

use crate::{
    authn::{TokenFault, TokenFileError},
    pki::PkiError,
};

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error("cannot use the key of service account tokens")]
    TokenKey(#[source] TokenFault),
    #[error(transparent)]
    Tokens(#[from] TokenFileError),
}
