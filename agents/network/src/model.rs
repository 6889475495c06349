//! What of Services, EndpointSlices and pods matters to packets. Pure: objects in, plain values out.

use std::{collections::BTreeMap, fmt, net::Ipv4Addr, str::FromStr};

use k8s_openapi::{
    api::{
        core::v1::{Pod, Service, ServicePort as ApiServicePort},
        discovery::v1::{Endpoint as ApiEndpoint, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

/// Everything a node's rules depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub ports: Vec<ServicePort>,
    pub host_ports: Vec<HostPort>,
    /// Every IPv4 cluster address, for the ports that nobody serves.
    pub cluster_ips: Vec<Ipv4Addr>,
    /// TCP ports that the node's own parts listen on: nothing leads what is meant for them elsewhere.
    pub own_ports: Vec<u16>,
}

/// One port of one Service that has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    pub namespace: String,
    pub service: String,
    pub cluster_ip: Ipv4Addr,
    pub protocol: Protocol,
    pub port: u16,
    pub node_port: Option<u16>,
    pub external_ips: Vec<Ipv4Addr>,
    /// Addresses that a load balancer has put before this node: what comes for them is the node's to deliver.
    pub balancer_ips: Vec<Ipv4Addr>,
    /// Who may use these; nobody is kept out where it is empty.
    pub source_ranges: Vec<Network>,
    /// `externalTrafficPolicy: Local`.
    pub external_local: bool,
    /// `internalTrafficPolicy: Local`.
    pub internal_local: bool,
    /// Seconds a client stays with its endpoint.
    pub affinity_s: Option<u32>,
    pub endpoints: Vec<Endpoint>,
}

/// Where a Service's packets may go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    pub address: Ipv4Addr,
    pub port: u16,
    /// On this node.
    pub local: bool,
    pub readiness: Readiness,
    /// Whether it is meant for traffic of this node, and of this node's zone.
    pub for_node: Hint,
    pub for_zone: Hint,
}

/// For whose traffic an endpoint is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hint {
    /// Nobody says.
    #[default]
    None,
    Ours,
    Others,
}

impl Hint {
    fn of<'a>(names: impl Iterator<Item = &'a str>, own: Option<&str>) -> Hint {
        names.fold(Hint::None, |hint, name| match hint {
            Hint::None | Hint::Others if Some(name) == own => Hint::Ours,
            Hint::Ours => Hint::Ours,
            Hint::None | Hint::Others => Hint::Others,
        })
    }
}

/// Where packets are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    pub node: &'a str,
    pub zone: Option<&'a str>,
}

/// Whether an endpoint is given packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Readiness {
    Ready,
    /// Still answering while it ends: used when there is no ready one (KEP-1669).
    Ending,
    Not,
}

/// A port of the node that leads to a pod of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    pub protocol: Protocol,
    /// `None`: on every address of the node.
    pub host_ip: Option<Ipv4Addr>,
    pub host_port: u16,
    pub address: Ipv4Addr,
    pub port: u16,
}

/// An IPv4 network (`10.0.0.0/8`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: Ipv4Addr,
    length: u8,
}

impl FromStr for Network {
    type Err = NotANetwork;

    /// What is written behind the prefix does not count.
    fn from_str(text: &str) -> Result<Network, NotANetwork> {
        let (address, length) = text.trim().split_once('/').ok_or(NotANetwork)?;
        let address: Ipv4Addr = address.parse().map_err(|_| NotANetwork)?;
        let length: u8 = length.parse().ok().filter(|length| *length <= 32).ok_or(NotANetwork)?;
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        Ok(Network { base: Ipv4Addr::from(u32::from(address) & mask), length })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.length)
    }
}

/// Not an IPv4 network.
#[derive(Debug)]
pub struct NotANetwork;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    fn parse(name: Option<&str>) -> Option<Self> {
        match name {
            None | Some("TCP") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some("SCTP") => Some(Self::Sctp),
            Some(_) => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// What has one of these labels is nobody's to serve here: another proxy does, or its clients find its endpoints themselves.
const FOREIGN_LABELS: [&str; 2] = ["service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"];
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
const AFFINITY_S_DEFAULT: u32 = 10_800;

/// Reads the objects as seen from here.
pub fn view<'a>(
    here: Here<'_>,
    services: impl IntoIterator<Item = &'a Service>,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    pods: impl IntoIterator<Item = &'a Pod>,
) -> View {
    let mut by_service: BTreeMap<(&str, &str), Vec<&EndpointSlice>> = BTreeMap::new();
    let served = |slice: &&EndpointSlice| slice.address_type == "IPv4" && !is_foreign(&slice.metadata);
    for slice in slices.into_iter().filter(served) {
        let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME_LABEL));
        if let (Some(service), Some(namespace)) = (service, &slice.metadata.namespace) {
            by_service.entry((namespace, service)).or_default().push(slice);
        }
    }
    let mut view = View::default();
    for service in services {
        let (Some(name), Some(namespace)) = (&service.metadata.name, &service.metadata.namespace) else { continue };
        let slices = by_service.get(&(namespace.as_str(), name.as_str())).map_or(&[][..], Vec::as_slice);
        read_service(here, service, (namespace, name), slices, &mut view);
    }
    for pod in pods {
        read_host_ports(pod, &mut view.host_ports);
    }
    view.cluster_ips.sort();
    view.cluster_ips.dedup();
    view.host_ports.sort();
    view
}

fn read_service(
    here: Here<'_>,
    service: &Service,
    (namespace, name): (&str, &str),
    slices: &[&EndpointSlice],
    view: &mut View,
) {
    let Some(spec) = &service.spec else { return };
    if is_foreign(&service.metadata) || spec.type_.as_deref() == Some("ExternalName") {
        return;
    }
    let addresses = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    // `None` (headless) is not an address, and neither is one of IPv6.
    let Some(cluster_ip) = addresses.filter_map(|address| address.parse().ok()).next() else { return };
    view.cluster_ips.push(cluster_ip);
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let client_ip = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        let seconds =
            client_ip.and_then(|config| config.timeout_seconds).and_then(|seconds| u32::try_from(seconds).ok());
        seconds.filter(|seconds| *seconds > 0).unwrap_or(AFFINITY_S_DEFAULT)
    });
    for port in spec.ports.iter().flatten() {
        let (Some(protocol), Some(number)) = (Protocol::parse(port.protocol.as_deref()), port_number(port.port)) else {
            continue;
        };
        view.ports.push(ServicePort {
            namespace: namespace.to_owned(),
            service: name.to_owned(),
            cluster_ip,
            protocol,
            port: number,
            node_port: port.node_port.and_then(port_number),
            external_ips: spec.external_ips.iter().flatten().filter_map(|address| address.parse().ok()).collect(),
            balancer_ips: balancer_ips(service),
            source_ranges: spec
                .load_balancer_source_ranges
                .iter()
                .flatten()
                .filter_map(|one| one.parse().ok())
                .collect(),
            external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            affinity_s: affinity,
            endpoints: endpoints(here, port, protocol, slices),
        });
    }
}

fn is_foreign(metadata: &ObjectMeta) -> bool {
    let labels = metadata.labels.as_ref();
    labels.is_some_and(|labels| FOREIGN_LABELS.iter().any(|label| labels.contains_key(*label)))
}

/// Of a balancer in `Proxy` mode the packets come with other addresses.
fn balancer_ips(service: &Service) -> Vec<Ipv4Addr> {
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let given = balancer.into_iter().flat_map(|balancer| balancer.ingress.iter().flatten());
    let ours = given.filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
    ours.filter_map(|ingress| ingress.ip.as_ref()?.parse().ok()).collect()
}

fn endpoints(
    here: Here<'_>,
    service_port: &ApiServicePort,
    protocol: Protocol,
    slices: &[&EndpointSlice],
) -> Vec<Endpoint> {
    let mut found: BTreeMap<(Ipv4Addr, u16), Endpoint> = BTreeMap::new();
    for slice in slices {
        let matching = slice.ports.iter().flatten().find(|port| {
            port.name.as_deref().unwrap_or_default() == service_port.name.as_deref().unwrap_or_default()
                && Protocol::parse(port.protocol.as_deref()) == Some(protocol)
        });
        let Some(port) = matching.and_then(|port| port.port).and_then(port_number) else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            let Some(address) = endpoint.addresses.first().and_then(|address| address.parse().ok()) else { continue };
            let hints = endpoint.hints.as_ref();
            let nodes = hints.into_iter().flat_map(|hints| hints.for_nodes.iter().flatten());
            let zones = hints.into_iter().flat_map(|hints| hints.for_zones.iter().flatten());
            let endpoint = Endpoint {
                address,
                port,
                local: endpoint.node_name.as_deref() == Some(here.node),
                readiness: readiness(endpoint),
                for_node: Hint::of(nodes.map(|node| node.name.as_str()), Some(here.node)),
                for_zone: Hint::of(zones.map(|zone| zone.name.as_str()), here.zone),
            };
            // While slices are rewritten an endpoint may be in two of them: the better news counts.
            found
                .entry((address, port))
                .and_modify(|known| known.readiness = known.readiness.min(endpoint.readiness))
                .or_insert(endpoint);
        }
    }
    found.into_values().collect()
}

fn readiness(endpoint: &ApiEndpoint) -> Readiness {
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
    let serving = conditions.and_then(|conditions| conditions.serving).unwrap_or(ready);
    let terminating = conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
    match (ready, serving && terminating) {
        (true, _) => Readiness::Ready,
        (false, true) => Readiness::Ending,
        (false, false) => Readiness::Not,
    }
}

fn read_host_ports(pod: &Pod, host_ports: &mut Vec<HostPort>) {
    let (Some(spec), Some(status)) = (&pod.spec, &pod.status) else { return };
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let address = status.pod_ip.as_ref().and_then(|address| address.parse().ok());
    // On the host's own network a container listens there itself.
    let (false, false, Some(address)) = (ended, spec.host_network == Some(true), address) else { return };
    let sidecars =
        spec.init_containers.iter().flatten().filter(|container| container.restart_policy.as_deref() == Some("Always"));
    for port in spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten()) {
        let host_port = port.host_port.and_then(port_number);
        let (Some(protocol), Some(host_port), Some(port_number)) =
            (Protocol::parse(port.protocol.as_deref()), host_port, port_number(port.container_port))
        else {
            continue;
        };
        let host_ip: Option<Ipv4Addr> = port.host_ip.as_ref().and_then(|address| address.parse().ok());
        let host_ip = host_ip.filter(|address| !address.is_unspecified());
        host_ports.push(HostPort { protocol, host_ip, host_port, address, port: port_number });
    }
}

fn port_number(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests;
