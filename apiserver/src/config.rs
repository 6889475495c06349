//! What the API server is told at its start. Only the binary reads arguments and files; this room gets values.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use crate::{admission::AdmissionConfig, audit, authn::AuthenticationSource, fairness, limits};

/// The API server's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// This server's name, which no other server of the cluster has.
    pub name: String,
    /// Where to listen; port 0 takes a free one, which a running server's configuration then names.
    pub listen: SocketAddr,
    /// The address under which pods and nodes reach this server: the endpoint of the `kubernetes` Service.
    pub advertise: IpAddr,
    /// Its port, where that is not the one it listens on.
    pub advertise_port: Option<u16>,
    /// Directory of the CA, certificates and keys; made at first start.
    pub pki_dir: PathBuf,
    /// Directory of the tokens that let machines join; made at first start.
    pub tokens_dir: PathBuf,
    /// Cluster addresses of Services come from here; the first one is the `kubernetes` Service's.
    pub service_cidr: Ipv4Cidr,
    /// Node ports of Services come from here.
    pub node_ports: RangeInclusive<u16>,
    /// DNS suffix of the cluster.
    pub cluster_domain: String,
    /// How often the server's certificate is looked at.
    pub certificate_check_interval: Duration,
    /// Further names and addresses of the server's certificate.
    pub names: Vec<String>,
    /// `token,user,uid[,"group,group"]` per line, as `--token-auth-file` of Kubernetes.
    pub token_file: Option<PathBuf>,
    /// PEM files with further keys whose signatures of service account tokens count: those of before, those of after.
    pub token_key_files: Vec<PathBuf>,
    /// PEM file of the key that signs service account tokens, instead of the cluster's own.
    pub token_signing_key_file: Option<PathBuf>,
    /// `iss` of service account tokens: the first one's is in new ones, tokens of all count.
    pub token_issuers: Vec<String>,
    /// Where relying parties are told to find the keys of service account tokens; this server's own endpoint, if absent.
    pub token_keys_uri: Option<String>,
    /// Who is believed besides the cluster itself.
    pub authentication: AuthenticationSource,
    /// Audiences this server answers to; a token request that names none gets these.
    pub token_audiences: Vec<String>,
    /// What admission's plugins are told.
    pub admission: AdmissionConfig,
    /// Requests in work at once, which priority levels share.
    pub seats: u32,
    /// Which requests are recorded, and where.
    pub audit: Option<audit::Settings>,
}

impl Config {
    /// Defaults for a server on this address.
    pub fn new(listen: SocketAddr, advertise: IpAddr, pki_dir: PathBuf) -> Self {
        Config {
            name: "kontiki".to_owned(),
            listen,
            advertise,
            advertise_port: None,
            tokens_dir: pki_dir.with_file_name("tokens"),
            pki_dir,
            service_cidr: Ipv4Cidr { base: Ipv4Addr::new(10, 96, 0, 0), prefix: 12 },
            node_ports: 30000..=32767,
            cluster_domain: "cluster.local".to_owned(),
            certificate_check_interval: limits::CERTIFICATE_CHECK_INTERVAL,
            names: Vec::new(),
            token_file: None,
            token_key_files: Vec::new(),
            token_signing_key_file: None,
            token_issuers: vec!["https://kubernetes.default.svc".to_owned()],
            token_keys_uri: None,
            authentication: AuthenticationSource::Nothing,
            token_audiences: vec!["https://kubernetes.default.svc".to_owned()],
            admission: AdmissionConfig::default(),
            seats: fairness::seats_default(),
            audit: None,
        }
    }

    /// `address:port` under which the server says it is reached.
    pub fn advertised(&self) -> String {
        SocketAddr::new(self.advertise, self.advertise_port.unwrap_or(self.listen.port())).to_string()
    }

    /// The address of the `kubernetes` Service.
    pub fn kubernetes_service(&self) -> Ipv4Addr {
        self.service_cidr.nth(1).unwrap_or(self.service_cidr.base)
    }

    /// Every name and address that the server's certificate must carry.
    pub fn certificate_names(&self) -> Vec<String> {
        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default"]
            .into_iter()
            .chain(["kubernetes.default.svc"])
            .map(str::to_owned)
            .collect();
        names.push(format!("kubernetes.default.svc.{}", self.cluster_domain));
        names.push(self.kubernetes_service().to_string());
        names.push(self.name.clone());
        names.push(self.advertise.to_string());
        if !self.listen.ip().is_unspecified() {
            names.push(self.listen.ip().to_string());
        }
        names.extend(self.names.iter().cloned());
        names.sort();
        names.dedup();
        names
    }
}

/// A block of IPv4 addresses, as `10.96.0.0/12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Cidr {
    pub base: Ipv4Addr,
    pub prefix: u8,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    #[error("{0:?} is not an IPv4 address block such as 10.96.0.0/12")]
    Malformed(String),
    #[error("{0} has too few addresses: a block ends in /30 or less")]
    Small(Ipv4Cidr),
    #[error("{given} is an address within a block; the block is {block}")]
    Within { given: Ipv4Cidr, block: Ipv4Cidr },
}

impl Ipv4Cidr {
    /// Number of addresses.
    pub fn size(&self) -> u64 {
        1 << (32 - u32::from(self.prefix))
    }

    /// The `n`th address, counted from the base.
    pub fn nth(&self, n: u64) -> Option<Ipv4Addr> {
        let offset = u32::try_from(n).ok().filter(|_| n < self.size())?;
        self.base.to_bits().checked_add(offset).map(Ipv4Addr::from_bits)
    }

    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let offset = u64::from(address.to_bits()).checked_sub(u64::from(self.base.to_bits()));
        offset.is_some_and(|offset| offset < self.size())
    }
}

impl FromStr for Ipv4Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let refused = || CidrError::Malformed(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(refused)?;
        let base: Ipv4Addr = address.parse().map_err(|_| refused())?;
        let prefix: u8 = prefix.parse().map_err(|_| refused())?;
        let cidr = Ipv4Cidr { base, prefix };
        match prefix {
            0 | 33.. => return Err(refused()),
            31..=32 => return Err(CidrError::Small(cidr)),
            1..=30 => {}
        }
        match u64::from(base.to_bits()) % cidr.size() {
            0 => Ok(cidr),
            beyond => {
                let base = Ipv4Addr::from_bits(base.to_bits() - beyond as u32);
                Err(CidrError::Within { given: cidr, block: Ipv4Cidr { base, prefix } })
            }
        }
    }
}

impl std::fmt::Display for Ipv4Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn address_blocks() {
        let cidr: Ipv4Cidr = "10.96.0.0/12".parse().unwrap();
        assert_eq!(cidr.size(), 1 << 20);
        assert_eq!(cidr.nth(1), Some(Ipv4Addr::new(10, 96, 0, 1)));
        assert_eq!(cidr.nth(1 << 20), None);
        assert!(cidr.contains(Ipv4Addr::new(10, 111, 255, 255)) && !cidr.contains(Ipv4Addr::new(10, 112, 0, 0)));
        assert!(!cidr.contains(Ipv4Addr::new(10, 95, 255, 255)));
        assert_eq!(cidr.to_string(), "10.96.0.0/12");
        for wrong in ["10.96.0.0", "10.96.0.0/33", "10.96.0.0/0", "x/12", "::/12"] {
            assert_eq!(wrong.parse::<Ipv4Cidr>(), Err(CidrError::Malformed(wrong.to_owned())));
        }
        let refused = |text: &str| text.parse::<Ipv4Cidr>().unwrap_err().to_string();
        assert_eq!(refused("10.0.0.0/31"), "10.0.0.0/31 has too few addresses: a block ends in /30 or less");
        assert_eq!(refused("10.96.0.5/12"), "10.96.0.5/12 is an address within a block; the block is 10.96.0.0/12");
    }
}
