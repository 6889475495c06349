//! Flags of `kontiki snapshot` and `kontiki recover`.

use std::path::PathBuf;

use clap::{Args, Subcommand, value_parser};
use kontiki_raft::backup::Skip;

use super::{DataDir, Output};

#[derive(Args)]
pub struct Snapshot {
    #[command(subcommand)]
    pub action: SnapshotAction,
}

#[derive(Subcommand)]
pub enum SnapshotAction {
    /// Show what is in a snapshot, and verify every checksum in it
    Inspect {
        /// The snapshot; - is standard input
        file: PathBuf,
        /// How to print
        #[arg(short, long, default_value = "table", value_name = "FORMAT")]
        output: Output,
    },
    /// Take a running cluster back to a snapshot, by new writes; or make an empty folder a cluster of one server
    Restore(Box<Restore>),
    /// Save the whole log, history included, to one file; writes go on meanwhile
    Save(Save),
}

#[derive(Args)]
pub struct Save {
    /// Where to; - is standard output
    pub file: PathBuf,

    /// Where the cluster is; else $KUBECONFIG says it
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    pub kubeconfig: Option<PathBuf>,

    /// Data folder of a server; if it is stopped, its log is read from there. If nothing says where the cluster is, the server
    /// that runs in /var/lib/kontiki is asked
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    #[command(flatten)]
    pub loss: AcceptLoss,
}

#[derive(Args)]
pub struct AcceptLoss {
    /// Take what is left of a stopped server's log that is damaged, without the entries that are gone
    #[arg(long)]
    pub accept_loss: bool,
}

#[derive(Args)]
pub struct Restore {
    /// The snapshot; - is standard input
    pub file: PathBuf,

    /// The cluster to take back; else $KUBECONFIG says it
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    pub kubeconfig: Option<PathBuf>,

    /// Make a new cluster of one server in this folder instead, which holds no log yet
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// To this revision; else to the snapshot's last
    #[arg(long, value_name = "REVISION", conflicts_with = "to_time", value_parser = value_parser!(u64).range(1..))]
    pub to_revision: Option<u64>,

    /// To this time, as in 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub to_time: Option<String>,

    /// Show what would change, and change nothing
    #[arg(long, conflicts_with = "data_dir")]
    pub dry_run: bool,

    /// Only objects of this namespace; may be repeated
    #[arg(short, long, value_name = "NAMESPACE", conflicts_with = "data_dir")]
    pub namespace: Vec<String>,

    /// Only objects of this resource, as in configmaps or deployments.apps; may be repeated
    #[arg(long, value_name = "RESOURCE", conflicts_with = "data_dir")]
    pub resource: Vec<String>,

    /// The snapshot may be another cluster's: its objects replace all of this one's
    #[arg(long, conflicts_with = "data_dir")]
    pub any_cluster: bool,

    #[command(flatten)]
    pub skip: SkipRevisions,

    /// How to print
    #[arg(short, long, default_value = "table", value_name = "FORMAT")]
    pub output: Output,
}

#[derive(Args)]
pub struct SkipRevisions {
    /// How many revisions a new cluster skips: more than were given out since. Else the clock tells, so that none is given out twice
    #[arg(long, value_name = "COUNT")]
    pub skip_revisions: Option<u64>,
}

impl SkipRevisions {
    pub fn at(&self, now_ms: i64) -> Skip {
        self.skip_revisions.map_or(Skip::ByClock { now_ms }, Skip::Revisions)
    }
}

#[derive(Args)]
pub struct Recover {
    #[command(flatten)]
    pub data: DataDir,

    /// Yes, the other servers are lost for good, and what only they have is given up
    #[arg(long)]
    pub yes: bool,

    #[command(flatten)]
    pub loss: AcceptLoss,

    #[command(flatten)]
    pub skip: SkipRevisions,

    /// How to print
    #[arg(short, long, default_value = "table", value_name = "FORMAT")]
    pub output: Output,
}
