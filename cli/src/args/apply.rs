//! Flags of `kontiki apply`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ClusterTarget;

#[derive(Args)]
pub struct Apply {
    /// All objects or none, as one entry of the log (kubectl applies one after the other)
    #[arg(long, required = true)]
    pub atomic: bool,

    /// Say what would happen; change nothing (as `--dry-run=server` for kubectl)
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_value = "none", default_missing_value = "server")]
    pub dry_run: DryRun,

    /// Own the fields that are given and leave others alone, as `kubectl apply --server-side` does. Nothing is noted in an annotation,
    /// so objects may be larger
    #[arg(long)]
    pub server_side: bool,

    /// Take fields over that somebody else owns
    #[arg(long, requires = "server_side")]
    pub force_conflicts: bool,

    /// What becomes of fields that a kind does not have: refused, told as a warning, or dropped without a word
    #[arg(long, value_name = "HOW", default_value = "strict")]
    pub validate: Validation,

    /// A file or folder of objects (YAML or JSON), or - for standard input; may be given more than once, for 1000 objects at the
    /// most. What is elsewhere comes in by a pipe: `kubectl kustomize DIR | kontiki apply --atomic -f -`
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    pub filenames: Vec<PathBuf>,

    /// Where objects go that name no namespace; else the kubeconfig's
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,

    /// Look into folders within folders
    #[arg(short = 'R', long)]
    pub recursive: bool,

    #[command(flatten)]
    pub cluster: ClusterTarget,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    None,
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Validation {
    Strict,
    Warn,
    Ignore,
}
