//! Files that Kubernetes gives every container: `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`. Contents are pure.

use std::{
    fs,
    io::{self, Read},
    net::IpAddr,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::{HostAlias, Pod, PodDNSConfig, PodSpec};
use kontiki_runtime::spec::Mount;

use crate::{pod, spec::hostname};

/// The search list a resolver takes.
const SEARCHES_MAX: usize = 32;
const NAMESERVERS_MAX: usize = 3;

/// Their names in the pod's folder, and where containers see them.
const FILES: [(&str, &str); 3] =
    [("etc-hosts", "/etc/hosts"), ("etc-hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf")];

/// Where a pod's files are. Containers may write to them.
pub fn paths(folder: &Path) -> [PathBuf; 3] {
    FILES.map(|(name, _)| folder.join(name))
}

pub struct HostFiles<'a> {
    pub node_name: &'a str,
    pub cluster_dns: &'a [IpAddr],
    pub cluster_domain: &'a str,
    /// `None` on the host's network.
    pub pod_ip: Option<IpAddr>,
}

impl HostFiles<'_> {
    /// Writes the files into `folder` and says where they go; blocking.
    pub fn write(&self, pod: &Pod, folder: &Path) -> io::Result<Vec<Mount>> {
        let spec = pod::spec(pod);
        let (host, domain) = hostname(pod, self.node_name, self.cluster_domain);
        let aliases = spec.host_aliases.as_deref().unwrap_or_default();
        let hosts = match self.pod_ip {
            Some(address) => hosts(address, &host, domain.as_deref(), aliases),
            None => host_network_hosts(&fs::read_to_string("/etc/hosts").unwrap_or_default(), aliases),
        };
        let machine = fs::read_to_string(crate::facts::resolv_conf()).unwrap_or_default();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let resolv = self.resolv_conf(&spec, namespace, &machine);
        fs::create_dir_all(folder)?;
        let contents = [hosts, format!("{host}\n"), resolv];
        let mut mounts = Vec::new();
        for ((name, destination), content) in FILES.into_iter().zip(contents) {
            let source: PathBuf = folder.join(name);
            // Written in place: running containers have this very file mounted.
            if !fs::File::open(&source).is_ok_and(|file| holds(file, content.as_bytes())) {
                fs::write(&source, content)?;
            }
            mounts.push(Mount {
                source,
                destination: destination.into(),
                read_only: false,
                recursive_read_only: false,
                propagation: Default::default(),
            });
        }
        Ok(mounts)
    }

    fn resolv_conf(&self, spec: &PodSpec, namespace: &str, machine: &str) -> String {
        let on_host = pod::on_host_network(spec);
        let mut found = match spec.dns_policy.as_deref() {
            Some("None") => Resolver::default(),
            Some("Default") => Resolver::parse(machine),
            Some("ClusterFirstWithHostNet") => self.cluster_resolver(namespace, machine),
            _ if on_host => Resolver::parse(machine),
            _ => self.cluster_resolver(namespace, machine),
        };
        if let Some(config) = &spec.dns_config {
            found.add(config);
        }
        found.to_string()
    }

    fn cluster_resolver(&self, namespace: &str, machine: &str) -> Resolver {
        let machine = Resolver::parse(machine);
        if self.cluster_dns.is_empty() {
            return machine;
        }
        let domain = self.cluster_domain;
        let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()];
        searches.extend(machine.searches);
        Resolver {
            nameservers: self.cluster_dns.iter().map(IpAddr::to_string).collect(),
            searches,
            options: vec!["ndots:5".to_owned()],
        }
    }
}

/// Whether a file is just this. Containers write to it: of what is longer, no more is read than shows that.
fn holds(file: impl Read, content: &[u8]) -> bool {
    let mut found = Vec::with_capacity(content.len() + 1);
    let read = file.take(content.len() as u64 + 1).read_to_end(&mut found);
    read.is_ok() && found == content
}

#[derive(Default)]
struct Resolver {
    nameservers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

impl Resolver {
    fn parse(text: &str) -> Resolver {
        let mut found = Resolver::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let keyword = words.next().unwrap_or_default();
            let rest = words.map(str::to_owned);
            match keyword {
                "nameserver" => found.nameservers.extend(rest.take(1)),
                "search" | "domain" => found.searches = rest.filter(|search| search != ".").collect(),
                "options" => found.options = rest.collect(),
                _ => {}
            }
        }
        found
    }

    fn add(&mut self, config: &PodDNSConfig) {
        let append = |list: &mut Vec<String>, more: Option<&Vec<String>>| {
            for item in more.into_iter().flatten() {
                if !list.contains(item) {
                    list.push(item.clone());
                }
            }
        };
        append(&mut self.nameservers, config.nameservers.as_ref());
        append(&mut self.searches, config.searches.as_ref());
        for option in config.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            self.options.retain(|known| known.split(':').next() != Some(name));
            let text = option.value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}:{value}"));
            self.options.push(text);
        }
    }
}

impl std::fmt::Display for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.searches.is_empty() {
            writeln!(f, "search {}", self.searches[..self.searches.len().min(SEARCHES_MAX)].join(" "))?;
        }
        for nameserver in self.nameservers.iter().take(NAMESERVERS_MAX) {
            writeln!(f, "nameserver {nameserver}")?;
        }
        if !self.options.is_empty() {
            writeln!(f, "options {}", self.options.join(" "))?;
        }
        Ok(())
    }
}

fn hosts(address: IpAddr, host: &str, domain: Option<&str>, aliases: &[HostAlias]) -> String {
    let names = match domain {
        Some(domain) => {
            // With setHostnameAsFQDN the host's name has the domain in it.
            let short = host.strip_suffix(domain).and_then(|short| short.strip_suffix('.')).unwrap_or(host);
            format!("{short}.{domain}\t{short}")
        }
        None => host.to_owned(),
    };
    let mut text = String::from("# Kubernetes-managed hosts file.\n");
    text.push_str("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    text.push_str("fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
    text.push_str(&format!("{address}\t{names}\n"));
    text + &alias_lines(aliases)
}

fn host_network_hosts(machine: &str, aliases: &[HostAlias]) -> String {
    format!("# Kubernetes-managed hosts file (host network).\n{machine}{}", alias_lines(aliases))
}

fn alias_lines(aliases: &[HostAlias]) -> String {
    if aliases.is_empty() {
        return String::new();
    }
    let lines = aliases.iter().map(|alias| {
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        format!("{}\t{names}\n", alias.ip)
    });
    format!("\n# Entries added by HostAliases.\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_file_that_a_container_has_blown_up_is_written_anew_without_being_read() {
        let scratch = tempfile::tempdir().unwrap();
        let pod = Pod { metadata: Default::default(), spec: Some(PodSpec::default()), status: None };
        let files = HostFiles {
            node_name: "n",
            cluster_dns: &[],
            cluster_domain: "cluster.local",
            pod_ip: Some([10, 0, 0, 2].into()),
        };
        files.write(&pod, scratch.path()).unwrap();
        let hosts = scratch.path().join("etc-hosts");
        let (content, written) = (fs::read(&hosts).unwrap(), fs::metadata(&hosts).unwrap().modified().unwrap());
        files.write(&pod, scratch.path()).unwrap();
        assert_eq!(fs::metadata(&hosts).unwrap().modified().unwrap(), written, "nothing new, nothing written");
        fs::OpenOptions::new().write(true).open(&hosts).unwrap().set_len(1 << 40).unwrap();
        files.write(&pod, scratch.path()).unwrap();
        assert_eq!(fs::read(&hosts).unwrap(), content);
        // It has no end: whoever reads more than it takes never returns.
        assert!(!holds(io::repeat(b'x'), b"xxx"));
    }

    #[test]
    fn resolvers_follow_the_policy() {
        let machine = "# x\nnameserver 9.9.9.9\nsearch lan\noptions edns0\n";
        let dns: [IpAddr; 1] = ["10.0.0.10".parse().unwrap()];
        let cluster =
            "search n.svc.cluster.local svc.cluster.local cluster.local lan\nnameserver 10.0.0.10\noptions ndots:5\n";
        let host = "search lan\nnameserver 9.9.9.9\noptions edns0\n";
        for (spec, dns, expected) in [
            (json!({}), &dns[..], cluster),
            (json!({}), &[], host),
            (json!({"dnsPolicy": "Default"}), &dns, host),
            (json!({"hostNetwork": true, "dnsPolicy": "ClusterFirst"}), &dns, host),
            (json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}), &dns, cluster),
            (
                json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["a.b"],
                    "options": [{"name": "ndots", "value": "2"}]}}),
                &dns,
                "search a.b\nnameserver 1.1.1.1\noptions ndots:2\n",
            ),
        ] {
            let mut spec = spec;
            spec["containers"] = json!([]);
            let spec: PodSpec = serde_json::from_value(spec).unwrap();
            let files = HostFiles { node_name: "m", cluster_dns: dns, cluster_domain: "cluster.local", pod_ip: None };
            assert_eq!(files.resolv_conf(&spec, "n", machine), expected);
        }
    }

    #[test]
    fn hosts_name_the_pod_and_its_aliases() {
        let aliases: Vec<HostAlias> =
            serde_json::from_value(json!([{"ip": "1.2.3.4", "hostnames": ["a", "b"]}])).unwrap();
        for host in ["web-0", "web-0.web.n.svc.cluster.local"] {
            let text = hosts("10.1.0.2".parse().unwrap(), host, Some("web.n.svc.cluster.local"), &aliases);
            assert!(text.contains("10.1.0.2\tweb-0.web.n.svc.cluster.local\tweb-0\n"), "{text}");
            assert!(text.ends_with("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"));
        }
    }
}
