//! Flags of servers, agents, members and tokens: what makes a cluster of several machines.

use std::net::{IpAddr, SocketAddr};

use clap::{ArgAction, ArgGroup, Args, Subcommand, ValueEnum, builder::NonEmptyStringValueParser};

use super::{ApiServer, ClusterTarget, DataDir, Output, PodSysctls};

#[derive(Args)]
#[command(group = ArgGroup::new("begin").args(["init", "join"]))]
pub struct Server {
    #[command(flatten)]
    pub data: DataDir,

    /// Start in the background and wait until this server is ready
    #[arg(long)]
    pub detach: bool,

    /// Found a new cluster. A server that has its data needs neither this nor --join
    #[arg(long)]
    pub init: bool,

    /// Join the cluster of these servers
    #[arg(long, value_name = "ADDRESS:PORT", value_delimiter = ',', requires = "token")]
    pub join: Vec<String>,

    /// Server token of that cluster, as `kontiki token` prints it there
    #[arg(long, value_name = "TOKEN", env = "KONTIKI_TOKEN", hide_env_values = true)]
    pub token: Option<String>,

    /// Set this server's damaged log aside and take everything from these servers of its cluster, under its old name
    #[arg(long, value_name = "ADDRESS:PORT", value_delimiter = ',', conflicts_with = "begin")]
    pub rebuild: Vec<String>,

    /// Name of this server, which no other one has; the host name if absent
    #[arg(long, value_name = "NAME", value_parser = server_name)]
    pub name: Option<String>,

    /// Address and port of the API server [default: 0.0.0.0:6443]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,

    /// Where the other servers, agents and pods reach this one; if absent, where it listens, or the machine's own address
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub advertise: Option<SocketAddr>,

    /// Run controllers and scheduler here while this server leads
    #[arg(long, default_value_t = true, action = ArgAction::Set, value_name = "true|false")]
    pub controllers: bool,

    /// Cluster addresses of Services, decided by --init [default: 10.96.0.0/12]
    #[arg(long, value_name = "CIDR", conflicts_with = "join")]
    pub service_cidr: Option<String>,

    #[command(flatten)]
    pub api: ApiServer,
}

#[derive(Args)]
pub struct Agent {
    #[command(flatten)]
    pub data: DataDir,

    /// Start in the background and wait until the node is Ready
    #[arg(long)]
    pub detach: bool,

    /// Servers of the cluster; needed once, others are learnt from it
    #[arg(long, value_name = "ADDRESS:PORT", value_delimiter = ',', requires = "token")]
    pub join: Vec<String>,

    /// Agent token of the cluster, as `kontiki token --role agent` prints it on a server
    #[arg(long, value_name = "TOKEN", env = "KONTIKI_TOKEN", hide_env_values = true)]
    pub token: Option<String>,

    /// Name of this machine's Node; the host name if absent
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Address of this machine, as servers and other nodes reach it; the one it reaches the servers from if absent
    #[arg(long, value_name = "ADDRESS")]
    pub node_address: Option<IpAddr>,

    /// Port of the node agent; 0 takes a free one
    #[arg(long, default_value_t = 10250, value_name = "PORT")]
    pub node_port: u16,

    /// Addresses of pods on this machine, which no other machine has; the first is their gateway
    #[arg(long, value_name = "CIDR")]
    pub pod_cidr: Option<String>,

    /// Addresses of all pods of the cluster: what goes elsewhere leaves with the machine's own address
    #[arg(long, default_value = "10.244.0.0/16", value_name = "CIDR")]
    pub cluster_cidr: String,

    #[command(flatten)]
    pub sysctls: PodSysctls,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TokenRole {
    Agent,
    Server,
}

#[derive(Args)]
pub struct Token {
    #[command(flatten)]
    pub data: DataDir,

    /// What a machine becomes by it
    #[arg(long, default_value = "server", value_name = "ROLE")]
    pub role: TokenRole,
}

#[derive(Args)]
pub struct Members {
    #[command(subcommand)]
    pub action: MembersAction,
}

#[derive(Subcommand)]
pub enum MembersAction {
    /// Say what to run on a machine that is to become a server (it joins, catches up and is promoted by itself)
    Add {
        /// Name of the new server
        #[arg(value_name = "NAME", value_parser = server_name)]
        name: Option<String>,
        #[command(flatten)]
        target: ClusterTarget,
    },
    /// List the servers: who leads, who votes, who is ready
    List {
        /// How to print
        #[arg(short, long, default_value = "table", value_name = "FORMAT")]
        output: Output,
        #[command(flatten)]
        target: ClusterTarget,
    },
    /// Let go of a server, living or dead; writes go on meanwhile
    Remove {
        #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        member: String,
        /// Even if those that answer would be no majority of those that are left
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        target: ClusterTarget,
    },
    /// Hand leadership over
    Transfer {
        /// To this server; to the one that has caught up best if absent
        #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        to: Option<String>,
        #[command(flatten)]
        target: ClusterTarget,
    },
}

/// A name that a server can have: it is in its certificate, and in what others are told to run.
pub fn server_name(text: &str) -> Result<String, String> {
    let may = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    match begins && text.len() <= 63 && text.bytes().all(may) {
        true => Ok(text.to_owned()),
        false => Err("lower-case letters, digits, '-' and '.' make a server's name, 63 at most".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_servers() {
        for sound in ["a", "server-1", "1.example.com", &"a".repeat(63)] {
            assert_eq!(server_name(sound).as_deref(), Ok(sound));
        }
        for bad in ["", "-a", ".a", "A", "bad name", "a_b", "ü", "a;b", &"a".repeat(64)] {
            assert!(server_name(bad).is_err(), "{bad:?}");
        }
    }
}
