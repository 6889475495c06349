//! Flags of `kontiki apply`.

use std::path::PathBuf;

use clap::Args;

use super::ClusterTarget;

#[derive(Args)]
pub struct Apply {
    /// All objects or none, as one entry of the log (kubectl applies one after the other); a CustomResourceDefinition goes
    /// before its objects, by itself
    #[arg(long, required = true)]
    pub atomic: bool,

    /// Say what would happen; change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// A file or folder of objects (YAML or JSON), or - for standard input; may be given more than once
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
