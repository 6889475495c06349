//! The file that `kubectl` reads.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::Credential;

/// One way to the cluster: the name of a kubeconfig's cluster and context, and a server's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub name: String,
    pub url: String,
}

/// A kubeconfig with everything embedded, `ca_pem` being the CA that servers are verified against. Each server is a cluster
/// and a context of its own, the first one's is current.
pub fn kubeconfig(servers: &[Cluster], ca_pem: &str, credential: &Credential) -> String {
    let ca = STANDARD.encode(ca_pem);
    let certificate = STANDARD.encode(&credential.certificate_pem);
    let key = STANDARD.encode(&credential.key_pem);
    let clusters: String = servers
        .iter()
        .map(|Cluster { name, url }| {
            format!("- name: {name}\n  cluster:\n    server: {url}\n    certificate-authority-data: {ca}\n")
        })
        .collect();
    let contexts: String = servers
        .iter()
        .map(|Cluster { name, .. }| {
            format!("- name: {name}\n  context:\n    cluster: {name}\n    user: kontiki-admin\n")
        })
        .collect();
    let current = servers.first().map_or("", |cluster| &cluster.name);
    format!(
        "apiVersion: v1
kind: Config
clusters:
{clusters}users:
- name: kontiki-admin
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
{contexts}current-context: {current}
preferences: {{}}
"
    )
}
