//! Kubernetes' signers, and what each of them signs.

use std::collections::BTreeSet;

use super::request::Request;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// Clients of the API server, whoever they are.
    ApiServerClient,
    /// Node agents, as clients of the API server.
    ApiServerClientKubelet,
    /// Node agents, as servers.
    KubeletServing,
    /// Anything, as before there were signers.
    LegacyUnknown,
}

const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";
const CLIENT: [&str; 3] = ["client auth", "digital signature", "key encipherment"];
const SERVER: [&str; 3] = ["digital signature", "key encipherment", "server auth"];

impl Signer {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.strip_prefix("kubernetes.io/")? {
            "kube-apiserver-client" => Signer::ApiServerClient,
            "kube-apiserver-client-kubelet" => Signer::ApiServerClientKubelet,
            "kubelet-serving" => Signer::KubeletServing,
            "legacy-unknown" => Signer::LegacyUnknown,
            _ => return None,
        })
    }

    /// Whether it signs this, or why not.
    pub fn check(self, request: &Request, usages: &[String]) -> Result<(), String> {
        match self {
            Signer::ApiServerClient => client_usages(usages),
            Signer::ApiServerClientKubelet => {
                of_nodes(request)?;
                refuse(request.dns > 0, "DNS subjectAltNames are not allowed")?;
                refuse(request.emails > 0, "Email subjectAltNames are not allowed")?;
                refuse(request.ips > 0, "IP subjectAltNames are not allowed")?;
                refuse(request.uris > 0, "URI subjectAltNames are not allowed")?;
                named_as_node(request)?;
                exactly(usages, &CLIENT)
            }
            Signer::KubeletServing => {
                of_nodes(request)?;
                refuse(request.dns == 0 && request.ips == 0, "DNS or IP subjectAltName is required")?;
                refuse(request.emails > 0, "Email subjectAltNames are not allowed")?;
                refuse(request.uris > 0, "URI subjectAltNames are not allowed")?;
                exactly(usages, &SERVER)?;
                named_as_node(request)
            }
            Signer::LegacyUnknown => Ok(()),
        }
    }
}

fn refuse(when: bool, why: &str) -> Result<(), String> {
    if when { Err(why.to_owned()) } else { Ok(()) }
}

fn of_nodes(request: &Request) -> Result<(), String> {
    refuse(request.organizations != [NODES], "subject organization is not system:nodes")
}

fn named_as_node(request: &Request) -> Result<(), String> {
    refuse(!request.common_name.starts_with(NODE_PREFIX), "subject common name does not begin with system:node:")
}

/// These usages and no others; only keys of RSA can encipher others.
fn exactly(usages: &[String], required: &[&str]) -> Result<(), String> {
    let asked: BTreeSet<&str> = usages.iter().map(String::as_str).collect();
    let all: BTreeSet<&str> = required.iter().copied().collect();
    let without_rsa = all.iter().copied().filter(|usage| *usage != "key encipherment").collect();
    let fits = asked == all || asked == without_rsa;
    refuse(!fits, &format!("usages did not match [{}]", required.join(" ")))
}

fn client_usages(usages: &[String]) -> Result<(), String> {
    let [client, ..] = CLIENT;
    if let Some(other) = usages.iter().find(|usage| !CLIENT.contains(&usage.as_str())) {
        return Err(format!("invalid usage for client certificate: {other}"));
    }
    let asked = usages.iter().any(|usage| usage == client);
    refuse(!asked, &format!("missing required usage for client certificate: {client}"))
}
