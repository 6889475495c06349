//! Ports of this machine on which something listens: no Service is to take them away. Told in an annotation of the node.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

use crate::limits::LISTENING_MAX;

/// States of sockets that take what comes: TCP's that listen, UDP's that are bound.
const LISTEN: &str = "0A";
const BOUND: &str = "07";

/// As in `22/TCP,53/UDP`. `None` where the kernel does not say.
pub fn told(node: IpAddr) -> Option<String> {
    let read = |name: &str| fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
    let tcp = fs::read_to_string("/proc/net/tcp").ok()?;
    // UDP's clients have ports of this range, each for a moment.
    let ephemeral = range(&fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?)?;
    let mut ports: BTreeSet<(u16, &str)> = BTreeSet::new();
    for (table, protocol, state) in
        [(tcp, "TCP", LISTEN), (read("tcp6"), "TCP", LISTEN), (read("udp"), "UDP", BOUND), (read("udp6"), "UDP", BOUND)]
    {
        let listening = listening(&table, state, node);
        let lasting = listening.into_iter().filter(|port| protocol == "TCP" || !ephemeral.contains(port));
        ports.extend(lasting.map(|port| (port, protocol)));
    }
    let ports = ports.into_iter().take(LISTENING_MAX);
    Some(ports.map(|(port, protocol)| format!("{port}/{protocol}")).collect::<Vec<_>>().join(","))
}

/// The ports of a table of sockets in a state. What listens for the machine alone is in nobody's way, unless that is the node's address.
fn listening(table: &str, state: &str, node: IpAddr) -> Vec<u16> {
    let of_line = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, found) = (fields.next()?, fields.next()?, fields.next()?);
        let (address, port) = local.split_once(':')?;
        let address = address_of(address)?;
        let is_reached = !address.is_loopback() || address == node;
        (found == state && is_reached).then(|| u16::from_str_radix(port, 16).ok())?
    };
    table.lines().skip(1).filter_map(of_line).collect()
}

/// The kernel prints words of an address as numbers of the machine.
fn address_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_mut(4).enumerate() {
                part.copy_from_slice(&word(at * 8)?);
            }
            Some(IpAddr::from(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut ends = text.split_whitespace().map(str::parse);
    Some(ends.next()?.ok()?..=ends.next()?.ok()?)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2407905
   1: 0100007F:1DB1 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2407906
   2: 0100000A:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2407907
   3: 0100000A:8000 0200000A:01BB 01 00000000:00000000 00:00000000 00000000     0        0 2407908
   4: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 1
   5: 00000000000000000000000001000000:01BC 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 1
   6: 0000000000000000FFFF00000100007F:01BD 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 1
";

    #[cfg(target_endian = "little")]
    #[test]
    fn what_others_can_reach_is_told() {
        let ports = |node: &str| listening(TABLE, LISTEN, node.parse().unwrap());
        assert_eq!(ports("10.0.0.1"), [22, 80, 443]);
        assert_eq!(ports("127.0.0.1"), [22, 7601, 80, 443, 445], "a node of its own");
        assert!(listening(TABLE, BOUND, IpAddr::from([10, 0, 0, 1])).is_empty());
        assert_eq!(range("32768\t60999\n"), Some(32768..=60999));
    }

    #[test]
    fn this_machine_says_where_it_listens() {
        let node = IpAddr::from([127, 0, 0, 1]);
        let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let told = told(node).unwrap();
        let is_told = |port: u16, protocol: &str| told.split(',').any(|one| one == format!("{port}/{protocol}"));
        assert!(is_told(tcp.local_addr().unwrap().port(), "TCP"), "{told}");
        assert!(!is_told(udp.local_addr().unwrap().port(), "UDP"), "it looks like a client's: {told}");
    }
}
