//! TLS as a client under an identity of this server's own, which is looked at before each connection and issued anew when it nears
//! its end: a server that runs for years never shows an expired certificate.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::TlsConnector;

use super::client_tls;
use crate::pki::{self, Credential, Pki, PkiError};

type Issue = Box<dyn Fn(&Pki) -> Result<Credential, PkiError> + Send + Sync>;

pub struct Renewing {
    pki: Arc<Pki>,
    protocols: &'static [&'static [u8]],
    issue: Issue,
    current: Mutex<Option<Current>>,
}

struct Current {
    certificate_pem: String,
    connector: TlsConnector,
}

impl Renewing {
    pub fn new(
        pki: Arc<Pki>,
        protocols: &'static [&'static [u8]],
        issue: impl Fn(&Pki) -> Result<Credential, PkiError> + Send + Sync + 'static,
    ) -> Self {
        Renewing { pki, protocols, issue: Box::new(issue), current: Mutex::new(None) }
    }

    /// For the next connection. Touches the disk only when there is none yet, or a new one is due.
    pub fn connector(&self) -> Result<TlsConnector, PkiError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = &*current
            && !pki::ends_soon(&current.certificate_pem)
        {
            return Ok(current.connector.clone());
        }
        let credential = (self.issue)(&self.pki)?;
        let connector = client_tls(self.pki.ca_pem(), &credential, self.protocols)?;
        let kept = Current { certificate_pem: credential.certificate_pem, connector };
        Ok(current.insert(kept).connector.clone())
    }
}
