//! The file that `kubectl` reads.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::Credential;

/// A kubeconfig with everything embedded: `server` is the API server's URL, `ca_pem` the CA it is verified against.
pub fn kubeconfig(server: &str, ca_pem: &str, credential: &Credential) -> String {
    let ca = STANDARD.encode(ca_pem);
    let certificate = STANDARD.encode(&credential.certificate_pem);
    let key = STANDARD.encode(&credential.key_pem);
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: kontiki
  cluster:
    server: {server}
    certificate-authority-data: {ca}
users:
- name: kontiki-admin
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: kontiki
  context:
    cluster: kontiki
    user: kontiki-admin
current-context: kontiki
preferences: {{}}
"
    )
}
