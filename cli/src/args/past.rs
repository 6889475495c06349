//! Flags of the commands about the past.

use clap::{Args, ValueEnum, value_parser};

use super::ClusterTarget;

/// Which object is meant.
#[derive(Args, Clone)]
pub struct ObjectTarget {
    /// The object, as in deployment/web; kinds are named as for kubectl
    #[arg(value_name = "KIND/NAME")]
    pub object: String,

    /// Its namespace; else the kubeconfig's
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,

    #[command(flatten)]
    pub cluster: ClusterTarget,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    Table,
    Json,
    Yaml,
}

#[derive(Args)]
pub struct History {
    #[command(flatten)]
    pub target: ObjectTarget,

    /// How many changes to show, newest first
    #[arg(long, default_value_t = 20, value_name = "COUNT", value_parser = value_parser!(u32).range(1..))]
    pub limit: u32,

    /// How to print
    #[arg(short, long, default_value = "table", value_name = "FORMAT")]
    pub output: Form,
}

#[derive(Args)]
pub struct Diff {
    #[command(flatten)]
    pub target: ObjectTarget,

    /// A revision, or an RFC 3339 time
    #[arg(value_name = "REVISION")]
    pub from: String,

    /// Another one; else now
    #[arg(value_name = "REVISION")]
    pub to: Option<String>,

    /// Show what Secrets hold; else *** stands for it
    #[arg(long)]
    pub show_secrets: bool,

    /// When to color
    #[arg(long, default_value = "auto", value_name = "WHEN")]
    pub color: Color,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Args)]
pub struct Undo {
    #[command(flatten)]
    pub target: ObjectTarget,

    /// Restore all of its content as of this revision, instead of taking back the last change
    #[arg(long, value_name = "REVISION")]
    pub to_revision: Option<u64>,

    /// Only say what would be changed
    #[arg(long)]
    pub dry_run: bool,

    /// Show what Secrets hold; else *** stands for it
    #[arg(long)]
    pub show_secrets: bool,
}

#[derive(Args)]
pub struct Undelete {
    #[command(flatten)]
    pub target: ObjectTarget,
}

#[derive(Args)]
pub struct Why {
    #[command(flatten)]
    pub target: ObjectTarget,

    /// Explain this change of it, instead of its creation and its last change
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<u64>,

    /// How to print
    #[arg(short, long, default_value = "text", value_name = "FORMAT")]
    pub output: WhyForm,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WhyForm {
    Text,
    Json,
}

#[derive(Args)]
pub struct Tail {
    /// Begin after this revision, at this RFC 3339 time, or at the `start` of what is retained; else now
    #[arg(long, value_name = "REVISION")]
    pub from: Option<String>,

    /// Only events of this kind of object; repeatable
    #[arg(long, value_name = "KIND")]
    pub resource: Vec<String>,

    /// Only events in this namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,

    /// Leave out what is kept only shortly (Events, Leases); the rest reaches further back
    #[arg(long)]
    pub lasting: bool,

    /// How to print
    #[arg(short, long, default_value = "json", value_name = "FORMAT")]
    pub output: TailForm,

    #[command(flatten)]
    pub cluster: ClusterTarget,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TailForm {
    /// One JSON object per line
    Json,
    /// One CloudEvent 1.0 in JSON per line
    Cloudevents,
    /// One line for people
    Text,
}
