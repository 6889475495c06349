//! An agent's side of the identities: keys that never leave its machine, certificates that a server signed for them.

use std::path::Path;

use rcgen::{CertificateParams, KeyPair};
use serde::{Deserialize, Serialize};

use super::{Credential, NodeCredentials, PkiError, certificate, new_key, store::Store};

/// What an agent asks to have signed: two certificate requests, in PEM. Only their public keys count; who they are for is the
/// server's to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRequests {
    pub client: String,
    pub server: String,
}

/// What it gets, in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeCertificates {
    pub client: String,
    pub server: String,
}

/// Keys made for a request, not yet kept.
pub struct NodeKeys {
    client: KeyPair,
    server: KeyPair,
}

/// The directory of an agent's identities.
pub struct NodePki {
    store: Store,
}

const CLIENT: &str = "kubelet-client";
const SERVER: &str = "kubelet-server";
const CA: &str = "ca.crt";

impl NodeKeys {
    pub fn make() -> Result<Self, PkiError> {
        Ok(NodeKeys { client: new_key(CLIENT)?, server: new_key(SERVER)? })
    }

    pub fn requests(&self) -> Result<NodeRequests, PkiError> {
        let request = |name: &str, key: &KeyPair| {
            let made = CertificateParams::default().serialize_request(key).and_then(|request| request.pem());
            made.map_err(|source| PkiError::Issue { name: name.to_owned(), source })
        };
        Ok(NodeRequests { client: request(CLIENT, &self.client)?, server: request(SERVER, &self.server)? })
    }
}

impl NodePki {
    pub fn open(dir: &Path) -> Result<Self, PkiError> {
        let store = Store::open(dir)?;
        let _lock = store.lock()?;
        store.remove_leftovers()?;
        Ok(NodePki { store })
    }

    /// The CA that this agent trusts, once it has joined.
    pub fn ca_pem(&self) -> Result<Option<String>, PkiError> {
        self.store.read(CA)
    }

    /// Keeps what a join brought. The CA comes last: with it there, everything is.
    pub fn keep(&self, ca_pem: &str, keys: &NodeKeys, certificates: &NodeCertificates) -> Result<(), PkiError> {
        let _lock = self.store.lock()?;
        for (name, key, certificate) in
            [(CLIENT, &keys.client, &certificates.client), (SERVER, &keys.server, &certificates.server)]
        {
            if !certificate::belongs_to(certificate, key, &self.store.path(name))? {
                let reason = "it was not made for this machine's key".to_owned();
                return Err(PkiError::Certificate { path: self.store.path(name), reason });
            }
            // One file for both: a crash never leaves a key beside another key's certificate.
            self.store.write(&format!("{name}.pem"), &format!("{certificate}{}", key.serialize_pem()))?;
        }
        self.store.write(CA, ca_pem)
    }

    /// The kept identities; `None` before the first join.
    pub fn credentials(&self) -> Result<Option<NodeCredentials>, PkiError> {
        let (Some(client), Some(server)) = (self.credential(CLIENT)?, self.credential(SERVER)?) else {
            return Ok(None);
        };
        Ok(Some(NodeCredentials { client, server }))
    }

    fn credential(&self, name: &str) -> Result<Option<Credential>, PkiError> {
        let file = format!("{name}.pem");
        let path = self.store.path(&file);
        let Some(text) = self.store.read(&file)? else { return Ok(None) };
        let Some(at) = text.find("-----BEGIN PRIVATE KEY-----") else { return Ok(None) };
        let (certificate_pem, key_pem) = text.split_at(at);
        Ok(Some(Credential {
            certificate_pem: certificate_pem.to_owned(),
            key_pem: key_pem.to_owned(),
            certificate_path: path.clone(),
            key_path: path,
        }))
    }

    /// Whether the certificates should be asked for anew: they near their end.
    pub fn wants_renewal(&self) -> Result<bool, PkiError> {
        let Some(credentials) = self.credentials()? else { return Ok(true) };
        let soon = |one: &Credential| certificate::ends_soon(&one.certificate_pem);
        Ok(soon(&credentials.client) || soon(&credentials.server))
    }
}
