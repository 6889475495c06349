//! Every flag, once: help, completions and the manual derive from these declarations.

mod apply;
mod authentication;
mod past;
mod requests;
mod server;
mod snapshot;
mod tokens;

use std::{net::IpAddr, net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use kontiki_apiserver::AdmissionConfig;

pub use self::apply::{Apply, DryRun, Validation};
pub use self::authentication::Authentication;
pub use self::past::{Color, Diff, Form, History, ObjectTarget, Tail, TailForm, Undelete, Undo, Why, WhyForm};
pub use self::requests::Requests;
pub use self::server::{Agent, Members, MembersAction, Server, Token, TokenRole, server_name};
pub use self::snapshot::{AcceptLoss, Recover, Restore, Save, Snapshot, SnapshotAction};
pub use self::tokens::ServiceAccountTokens;

/// Runs containers on a cluster and speaks the Kubernetes API.
#[derive(Parser)]
#[command(name = "kontiki", version, propagate_version = true)]
pub struct Arguments {
    /// What to log: a level, or `crate=level` pairs.
    #[arg(
        long,
        global = true,
        default_value = "info,openraft=error,kube=warn,tower=warn",
        env = "KONTIKI_LOG",
        value_name = "FILTER"
    )]
    pub log: String,

    /// How to log
    #[arg(long, global = true, default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
pub enum Command {
    /// Run this machine's containers for a cluster whose servers are elsewhere
    Agent(Agent),
    /// Create objects, or bring them to what files say: all of them or none
    Apply(Apply),
    /// Show what differs between two moments of an object
    Diff(Diff),
    /// Stop the cluster of a data folder and remove its containers; its objects stay
    Down(Down),
    /// Show what was changed of an object, when, by whom and why
    History(History),
    /// Import, list and remove container images
    Image(Image),
    /// The servers of a cluster: list, add, remove, hand leadership over
    Members(Members),
    /// Make one surviving server a cluster of its own, after the majority of the servers was lost
    Recover(Recover),
    /// Run one server of a cluster of several: found it, join it, or go on being it
    Server(Server),
    /// Save the cluster to a file, look into such a file, and restore from it
    Snapshot(Snapshot),
    /// Follow every change of the cluster, in order and without a gap
    Tail(Tail),
    /// Print what lets a machine join the cluster of this server
    Token(Token),
    /// Make a deleted object again, with its last content
    Undelete(Undelete),
    /// Take the last change of an object back, or restore it as of a revision
    Undo(Undo),
    /// Run a one-machine cluster: API server, controllers, scheduler and node agent in one process
    Up(Up),
    /// Trace an object back through its causes to whoever asked for it
    Why(Why),
}

/// Where a cluster keeps everything.
#[derive(Args, Clone)]
pub struct DataDir {
    /// Folder of the log, certificates, images, containers and the kubeconfig
    #[arg(long, default_value = "/var/lib/kontiki", env = "KONTIKI_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,
}

/// Which cluster is meant, and who asks.
#[derive(Args, Clone)]
pub struct ClusterTarget {
    /// Where the cluster is; else $KUBECONFIG says it, else the kubeconfig in --data-dir
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    #[command(flatten)]
    pub data: DataDir,
}

#[derive(Args)]
pub struct Up {
    #[command(flatten)]
    pub data: DataDir,

    /// Start in the background, wait until the node is Ready, and print what to type next
    #[arg(long)]
    pub detach: bool,

    /// Address and port of the API server
    #[arg(long, default_value = "127.0.0.1:6443", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,

    /// Run only the control plane
    #[arg(long)]
    pub no_node: bool,

    /// Address under which this machine's node agent is reached, by the API server and as InternalIP
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub node_address: IpAddr,

    /// Name of this machine's Node; the host name if absent
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,

    /// Port of the node agent; 0 takes a free one
    #[arg(long, default_value_t = 10250, value_name = "PORT")]
    pub node_port: u16,

    #[command(flatten)]
    pub pods: PodNetwork,

    #[command(flatten)]
    pub sysctls: PodSysctls,

    /// Cluster addresses of Services
    #[arg(long, default_value = "10.96.0.0/12", value_name = "CIDR")]
    pub service_cidr: String,

    #[command(flatten)]
    pub api: ApiServer,
}

/// How an API server judges, works and keeps what it is asked, wherever it runs.
#[derive(Args)]
pub struct ApiServer {
    #[command(flatten)]
    pub tokens: ServiceAccountTokens,

    #[command(flatten)]
    pub admission: Admission,

    #[command(flatten)]
    pub requests: Requests,

    #[command(flatten)]
    pub encryption: Encryption,

    #[command(flatten)]
    pub authentication: Authentication,

    /// Where Services of type LoadBalancer without a class have their addresses from: the cluster's nodes, or none because
    /// another program gives them; the same on every server
    #[arg(long, value_enum, default_value_t = LoadBalancers::Nodes)]
    pub load_balancers: LoadBalancers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LoadBalancers {
    Nodes,
    None,
}

/// What judges writes besides who may write.
#[derive(Args, Clone, Default)]
pub struct Admission {
    /// AdmissionConfiguration file of kube-apiserver, read at the start; only PodSecurity can be configured. The same on every server
    #[arg(long = "admission-control-config-file", value_name = "FILE")]
    pub file: Option<PathBuf>,
}

impl Admission {
    pub fn configure(&self, config: &mut kontiki_apiserver::Config) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        // Files that it names are found from where it is.
        let mut open = |named: &str| {
            let path = file.parent().map_or_else(|| named.into(), |folder| folder.join(named));
            std::fs::read_to_string(path).map_err(|error| error.to_string())
        };
        let read = AdmissionConfig::read(&text, &mut open);
        config.admission = read.with_context(|| format!("--admission-control-config-file {}", file.display()))?;
        Ok(())
    }
}

/// How objects are encrypted where they are stored.
#[derive(Args, Clone, Default)]
pub struct Encryption {
    /// Encrypt what this EncryptionConfiguration (apiserver.config.k8s.io/v1) names where it is stored: log, snapshots and
    /// backups too. All servers of a cluster need the same keys
    #[arg(id = "encryption", long = "encryption-provider-config", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Use a changed --encryption-provider-config without a restart
    #[arg(long = "encryption-provider-config-automatic-reload", requires = "encryption", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", value_name = "true|false")]
    pub reload: bool,
}

/// Which kernel parameters pods may set.
#[derive(Args, Clone, Default)]
pub struct PodSysctls {
    /// Let pods set these kernel parameters, too, or those that begin with what stands before a *; several with commas
    #[arg(id = "sysctls", long = "allowed-unsafe-sysctls", value_name = "NAMES", value_delimiter = ',')]
    pub allowed: Vec<String>,
}

#[derive(Args)]
pub struct PodNetwork {
    /// Addresses of pods on this machine; the first is their gateway
    #[arg(long, default_value = "10.244.0.0/24", value_name = "CIDR")]
    pub pod_cidr: String,
}

#[derive(Args)]
pub struct Down {
    #[command(flatten)]
    pub data: DataDir,

    #[command(flatten)]
    pub pods: PodNetwork,
}

#[derive(Args)]
pub struct Image {
    #[command(subcommand)]
    pub action: ImageAction,
}

/// Which image store is meant: a cluster's nodes, or this machine's data folder.
#[derive(Args)]
pub struct Target {
    /// Reach the nodes of this cluster through its API server; without it, the store in --data-dir is meant
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Only this node of the cluster
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    pub node: Option<String>,

    #[command(flatten)]
    pub data: DataDir,

    /// How to print
    #[arg(short, long, default_value = "table", value_name = "FORMAT")]
    pub output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

#[derive(Subcommand)]
pub enum ImageAction {
    /// Import an image: a root filesystem as tar, a docker archive, or an OCI layout (tar or folder), compressed or not
    Import {
        /// Name and tag, as pods will ask for it; needed for a root filesystem
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// The archive or folder
        file: PathBuf,
        #[command(flatten)]
        target: Target,
    },
    /// List images
    Ls {
        #[command(flatten)]
        target: Target,
    },
    /// Remove an image by name or id
    Rm {
        #[arg(value_name = "IMAGE")]
        image: String,
        #[command(flatten)]
        target: Target,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_declarations_hold_together() {
        super::Arguments::command().debug_assert();
    }
}
