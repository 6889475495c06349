//! Joining: a machine that holds a token gets what it needs to be part of this cluster.
//!
//! A server gets the cluster's keys and is a member only once it has asked to be one ([`super::members`]), under the identity
//! it then has. An agent gets certificates for the node it says it is; later, with those, it has them renewed.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use futures::FutureExt as _;
use http::StatusCode;
use kontiki_kinds::Pool;
use kontiki_model::{Key, Status};
use serde::{Deserialize, Serialize};

use super::{Access, Asked, Body, Endpoint, members};
use crate::{
    authz, content,
    core::Core,
    failure::{self, Qualified},
    limits,
    negotiate::Form,
    pki::{JoinRole, NodeCertificates, NodeRequests, PkiError, SharedIdentity},
    request::{ApiRequest, ApiResponse},
    rest::{Ranges, View},
};

/// Where a machine asks to become a part of the cluster, with nothing but a token in the request's body.
pub const PATH: &str = "/apis/kontiki.dev/v1/join";

const NODES: Qualified<'static> = Qualified { group: "", resource: "nodes" };

pub(super) const JOIN: Endpoint = Endpoint {
    method: "POST",
    path: "join",
    access: Access::Own,
    body: Body::Read,
    long: false,
    answer: |core, asked| async move { join(&core, &asked).await }.boxed(),
};

/// What a machine says that wants to join.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "role", deny_unknown_fields)]
pub enum JoinRequest {
    #[serde(rename_all = "camelCase")]
    Server {
        token: String,
        name: String,
        /// `host:port` where the others will reach it.
        address: String,
    },
    #[serde(rename_all = "camelCase")]
    Agent {
        /// Empty where the request comes under the node's own certificate, for its renewal.
        #[serde(default)]
        token: String,
        name: String,
        addresses: Vec<IpAddr>,
        requests: NodeRequests,
    },
}

/// What a server gets.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerGrant {
    pub identity: SharedIdentity,
    pub tokens: [String; 2],
    pub settings: ClusterSettings,
    /// `host:port` of the members.
    pub servers: Vec<String>,
}

/// What an agent gets.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentGrant {
    pub ca_certificate: String,
    pub certificates: NodeCertificates,
    pub settings: ClusterSettings,
    pub servers: Vec<String>,
}

/// What is the same on all machines of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSettings {
    pub service_cidr: String,
    pub cluster_domain: String,
}

async fn join(core: &Arc<Core>, asked: &Asked) -> Result<ApiResponse, Status> {
    let wanted: JoinRequest = serde_json::from_slice(asked.request.body.bytes())
        .map_err(|error| failure::bad_request(format!("not a request to join: {error}")))?;
    if !is_let_in(core, &asked.request, &wanted) {
        tokio::time::sleep(limits::JOIN_REFUSAL_PAUSE).await;
        return Err(failure::unauthorized());
    }
    // Places are for those who are let in: nobody else can keep them out.
    let Ok(_place) = core.joining.try_acquire() else { return Err(failure::too_many_requests(limits::RETRY_AFTER_S)) };
    core.log.barrier().await.map_err(|error| crate::core::unreadable(&error))?;
    let servers: Vec<String> = core.log.members().into_iter().map(|member| member.address).collect();
    let settings = ClusterSettings {
        service_cidr: core.config.service_cidr.to_string(),
        cluster_domain: core.config.cluster_domain.clone(),
    };
    match wanted {
        JoinRequest::Server { name, address, .. } => {
            members::vacant(core, None, &name, &address)?;
            let identity = core.pki.shared().map_err(failed)?;
            let tokens = [core.join_tokens.server.to_string(), core.join_tokens.agent.to_string()];
            tracing::info!(name, address, "a server was given the cluster's identity");
            answer(&ServerGrant { identity, tokens, settings, servers })
        }
        JoinRequest::Agent { name, addresses, requests, token } => {
            // As clients compare them: an IPv4 address is itself in IPv6 clothes, too.
            let addresses: Vec<IpAddr> = addresses.iter().map(IpAddr::to_canonical).collect();
            a_nodes(core, &name, &addresses, asked.request.from)?;
            if !token.is_empty() {
                unregistered(core, &name)?;
            }
            let certificates = core.pki.sign_node(&name, &addresses, &requests).map_err(failed)?;
            answer(&AgentGrant { ca_certificate: core.pki.ca_pem().to_owned(), certificates, settings, servers })
        }
    }
}

/// By a token of the right role, or by the certificate that is to be renewed.
fn is_let_in(core: &Core, request: &ApiRequest, wanted: &JoinRequest) -> bool {
    match wanted {
        JoinRequest::Server { token, .. } => core.join_tokens.role_of(token) == Some(JoinRole::Server),
        JoinRequest::Agent { token, name, .. } if token.is_empty() => {
            authz::node_name(&request.identity) == Some(name.as_str())
        }
        JoinRequest::Agent { token, .. } => core.join_tokens.role_of(token).is_some(),
    }
}

/// Nobody gets a certificate for the servers' names and addresses, or for Services'. A machine may be a server's as well: it asks
/// from the address that it is to have. Other nodes' addresses are no secret and pass on: who connects looks at whose a certificate is.
fn a_nodes(core: &Core, name: &str, addresses: &[IpAddr], from: Option<IpAddr>) -> Result<(), Status> {
    let members = core.log.members();
    let hosts: Vec<&str> = members.iter().map(|member| host(&member.address)).collect();
    let mut reserved = ["kubernetes", "localhost"].into_iter().chain(core.config.names.iter().map(String::as_str));
    let lower = name.to_ascii_lowercase();
    let is_servers = |own: &&str| own.eq_ignore_ascii_case(&lower);
    let domain = core.config.cluster_domain.to_ascii_lowercase();
    let within = |domain: &str| lower.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    if name.parse::<IpAddr>().is_ok()
        || lower.starts_with("kubernetes.default")
        || within("svc")
        || within(&domain)
        || reserved.any(|own| is_servers(&own))
        || hosts.iter().any(is_servers)
    {
        return Err(failure::bad_request(format!("{name:?} cannot be a node's name")));
    }
    let view = View::of(&core.log, true);
    let services = Ranges::of(Pool::ClusterIp, &view, &core.config)?;
    let is_services = |address: &IpAddr| {
        let configured = matches!(address, IpAddr::V4(four) if core.config.service_cidr.contains(*four));
        configured || services.containing(&address.to_string()).is_ok()
    };
    let refused = |address: &IpAddr, why: &str| Err(failure::bad_request(format!("{address} is {why}")));
    for address in addresses {
        if is_services(address) {
            return refused(address, "a Service's address, not a node's");
        }
        if address.is_unspecified() || address.is_multicast() || *address == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return refused(address, "no machine's address");
        }
        let is_here = |host: &str| host.parse::<IpAddr>().is_ok_and(|host| host.to_canonical() == *address);
        let servers = address.is_loopback()
            || *address == core.config.advertise.to_canonical()
            || hosts.iter().any(|host| is_here(host));
        if servers && from.map(|from| from.to_canonical()) != Some(*address) {
            return refused(address, "a server's address: a node has it only if it asks from there");
        }
    }
    Ok(())
}

/// The host of `host:port`.
fn host(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']'])
}

/// A token lets in new nodes only: it is no key to what another node holds.
fn unregistered(core: &Core, name: &str) -> Result<(), Status> {
    if core.log.head(&Key::new(NODES.resource, "", name)).is_none() {
        return Ok(());
    }
    let hint = format!(
        "a node of this name is registered already; if it is this machine's former self, `kubectl delete node {name}` first"
    );
    Err(failure::conflict(NODES, name, &hint))
}

fn failed(error: PkiError) -> Status {
    match error {
        PkiError::Name(_) | PkiError::Issue { .. } => failure::bad_request(error.to_string()),
        other => failure::internal(other),
    }
}

fn answer(grant: &impl Serialize) -> Result<ApiResponse, Status> {
    let value = serde_json::to_value(grant).map_err(failure::internal)?;
    content::answer_value(StatusCode::OK, Form::JSON, &value)
}
