//! Forgets UDP connections that the rules would lead elsewhere now: the kernel decides once for a connection, and a client that
//! keeps sending from one port keeps it alive. TCP notices by itself. Speaks nfnetlink's conntrack part.

use std::{collections::BTreeSet, io, net::Ipv4Addr};

use rtnetlink::{
    packet_core::NlasIterator,
    sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER},
};

use crate::model::{Protocol, Readiness, View};

/// Connections that must go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// Address and port of endpoints that no longer serve.
    backends: BTreeSet<(Ipv4Addr, u16)>,
    /// Addresses (`None`: the node's) and ports that are served now and were not: connections made before lead nowhere.
    fronts: BTreeSet<(Option<Ipv4Addr>, u16)>,
    /// Where it is not known what was before: the endpoints of now. Whatever else a front of now leads to no longer serves.
    serving: Option<BTreeSet<(Ipv4Addr, u16)>>,
}

impl Stale {
    /// The same where nobody knows what the rules were: after a start, or a failure.
    pub fn since_unknown(new: &View) -> Self {
        Self { backends: BTreeSet::new(), fronts: fronts(new), serving: Some(backends(new)) }
    }

    pub fn between(old: &View, new: &View) -> Self {
        Self {
            backends: backends(old).difference(&backends(new)).copied().collect(),
            fronts: fronts(new).difference(&fronts(old)).copied().collect(),
            serving: None,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.backends.is_empty() && self.fronts.is_empty()
    }

    fn covers(&self, original: &Tuple, reply: &Tuple) -> bool {
        if original.protocol != IPPROTO_UDP {
            return false;
        }
        let port = original.destination_port;
        let comes_by_front =
            self.fronts.contains(&(Some(original.destination), port)) || self.fronts.contains(&(None, port));
        let is_translated = original.destination != reply.source || port != reply.source_port;
        if !is_translated {
            return comes_by_front;
        }
        let backend = (reply.source, reply.source_port);
        let serves_no_more = self.serving.as_ref().is_some_and(|serving| !serving.contains(&backend));
        self.backends.contains(&backend) || comes_by_front && serves_no_more
    }
}

fn backends(view: &View) -> BTreeSet<(Ipv4Addr, u16)> {
    let udp = view.ports.iter().filter(|port| port.protocol == Protocol::Udp);
    let serving = udp.flat_map(|port| &port.endpoints).filter(|endpoint| endpoint.readiness != Readiness::Not);
    let host_ports = view.host_ports.iter().filter(|port| port.protocol == Protocol::Udp);
    serving
        .map(|endpoint| (endpoint.address, endpoint.port))
        .chain(host_ports.map(|port| (port.address, port.port)))
        .collect()
}

fn fronts(view: &View) -> BTreeSet<(Option<Ipv4Addr>, u16)> {
    let mut fronts = BTreeSet::new();
    for port in view.ports.iter().filter(|port| port.protocol == Protocol::Udp) {
        if port.endpoints.iter().all(|endpoint| endpoint.readiness == Readiness::Not) {
            continue;
        }
        fronts.insert((Some(port.cluster_ip), port.port));
        fronts.extend(port.external_ips.iter().chain(&port.balancer_ips).map(|address| (Some(*address), port.port)));
        fronts.extend(port.node_port.map(|node_port| (None, node_port)));
    }
    let host_ports = view.host_ports.iter().filter(|port| port.protocol == Protocol::Udp);
    fronts.extend(host_ports.map(|port| (port.host_ip, port.host_port)));
    fronts
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tuple {
    protocol: u8,
    source: Ipv4Addr,
    source_port: u16,
    destination: Ipv4Addr,
    destination_port: u16,
}

const IPPROTO_UDP: u8 = 17;
// linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h
const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
// linux/netlink.h
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const HEADER_BYTES: usize = 16;
const FAMILY_BYTES: usize = 4;
const NLA_F_NESTED: u16 = 0x8000;

/// Deletes the stale connections of the calling thread's network namespace; gives their number. Blocking.
pub fn flush(stale: &Stale) -> io::Result<usize> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&request(GET, NLM_F_REQUEST | NLM_F_DUMP, &[]), 0)?;
    let mut doomed = Vec::new();
    for_each_message(&socket, |body| {
        if let Some((original, reply, raw)) = connection(body)
            && stale.covers(&original, &reply)
        {
            doomed.push(raw);
        }
    })?;
    let mut flushed = 0;
    for tuple in &doomed {
        socket.send(&request(DELETE, NLM_F_REQUEST | NLM_F_ACK, tuple), 0)?;
        match for_each_message(&socket, |_| ()) {
            Ok(()) => flushed += 1,
            // It ended by itself meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(flushed)
}

/// Reads until the end of the answer, which an error is too.
fn for_each_message(socket: &Socket, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    loop {
        let (data, _) = socket.recv_from_full()?;
        let mut rest = &data[..];
        while rest.len() >= HEADER_BYTES {
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            let body = rest.get(HEADER_BYTES..length).ok_or(io::ErrorKind::InvalidData)?;
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    let code =
                        body.first_chunk().map(|code| i32::from_ne_bytes(*code)).ok_or(io::ErrorKind::InvalidData)?;
                    return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
                }
                _ => each(body.get(FAMILY_BYTES..).unwrap_or_default()),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn request(kind: u16, flags: u16, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER_BYTES + FAMILY_BYTES + attributes.len()).expect("requests are small");
    let mut message = Vec::with_capacity(length as usize);
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[libc::AF_INET as u8, 0, 0, 0]);
    message.extend_from_slice(attributes);
    message
}

/// Both directions, and the original one as an attribute to name the connection by.
fn connection(attributes: &[u8]) -> Option<(Tuple, Tuple, Vec<u8>)> {
    let mut original = None;
    let mut reply = None;
    let mut raw = Vec::new();
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute.ok()?;
        match attribute.kind() {
            CTA_TUPLE_ORIG => {
                original = tuple(attribute.value());
                let length = u16::try_from(attribute.value().len() + 4).ok()?;
                raw.extend_from_slice(&length.to_ne_bytes());
                raw.extend_from_slice(&(CTA_TUPLE_ORIG | NLA_F_NESTED).to_ne_bytes());
                raw.extend_from_slice(attribute.value());
            }
            CTA_TUPLE_REPLY => reply = tuple(attribute.value()),
            _ => {}
        }
    }
    Some((original?, reply?, raw))
}

fn tuple(attributes: &[u8]) -> Option<Tuple> {
    let (mut source, mut destination) = (None, None);
    let (mut protocol, mut source_port, mut destination_port) = (None, None, None);
    let address = |value: &[u8]| value.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets));
    let port = |value: &[u8]| value.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes));
    for part in NlasIterator::new(attributes) {
        let part = part.ok()?;
        for field in NlasIterator::new(part.value()) {
            let field = field.ok()?;
            match (part.kind(), field.kind()) {
                (CTA_TUPLE_IP, CTA_IP_V4_SRC) => source = address(field.value()),
                (CTA_TUPLE_IP, CTA_IP_V4_DST) => destination = address(field.value()),
                (CTA_TUPLE_PROTO, CTA_PROTO_NUM) => protocol = field.value().first().copied(),
                (CTA_TUPLE_PROTO, CTA_PROTO_SRC_PORT) => source_port = port(field.value()),
                (CTA_TUPLE_PROTO, CTA_PROTO_DST_PORT) => destination_port = port(field.value()),
                _ => {}
            }
        }
    }
    Some(Tuple {
        protocol: protocol?,
        source: source?,
        // ICMP has none.
        source_port: source_port.unwrap_or_default(),
        destination: destination?,
        destination_port: destination_port.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tuple_of(source: (&str, u16), destination: (&str, u16)) -> Tuple {
        Tuple {
            protocol: IPPROTO_UDP,
            source: source.0.parse().unwrap(),
            source_port: source.1,
            destination: destination.0.parse().unwrap(),
            destination_port: destination.1,
        }
    }

    #[test]
    fn only_udp_that_leads_to_the_wrong_place_is_stale() {
        let stale = Stale {
            backends: BTreeSet::from([("10.244.0.2".parse().unwrap(), 53)]),
            fronts: BTreeSet::from([(None, 30053), (Some("10.96.0.10".parse().unwrap()), 53)]),
            serving: None,
        };
        let client = ("10.244.0.9", 4000);
        let covers =
            |to: (&str, u16), answers: (&str, u16)| stale.covers(&tuple_of(client, to), &tuple_of(answers, client));
        assert!(covers(("10.96.0.10", 53), ("10.244.0.2", 53)), "translated to what is gone");
        assert!(!covers(("10.96.0.10", 53), ("10.244.0.3", 53)), "translated to what is there");
        assert!(!covers(("10.244.0.2", 53), ("10.244.0.2", 53)), "not by a service");
        assert!(covers(("192.0.2.1", 30053), ("192.0.2.1", 30053)), "made before the port was served");
        assert!(covers(("10.96.0.10", 53), ("10.96.0.10", 53)));
        assert!(!covers(("192.0.2.1", 53), ("192.0.2.1", 53)));
        let mut tcp = tuple_of(client, ("10.96.0.10", 53));
        tcp.protocol = 6;
        assert!(!stale.covers(&tcp, &tuple_of(("10.244.0.2", 53), client)));
        let serving = Some(BTreeSet::from([("10.244.0.3".parse().unwrap(), 53)]));
        let unknown = Stale { backends: BTreeSet::new(), serving, ..stale };
        let covers =
            |to: (&str, u16), answers: (&str, u16)| unknown.covers(&tuple_of(client, to), &tuple_of(answers, client));
        assert!(covers(("10.96.0.10", 53), ("10.244.0.2", 53)), "what it was led to is not there now");
        assert!(!covers(("10.96.0.10", 53), ("10.244.0.3", 53)));
        assert!(!covers(("198.51.100.1", 53), ("10.244.0.2", 53)), "somebody else's translation");
    }
}
