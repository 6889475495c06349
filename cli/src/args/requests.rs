//! Flags about requests as such: how many are in work at once, and what is recorded of them.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, value_parser};
use kontiki_apiserver::{
    Config,
    audit::{Policy, Rotation, Settings, Target},
};

#[derive(Args, Clone)]
pub struct Requests {
    /// Requests in work at once, which the priority levels share; 50 for each processor, from 100 to 600, if absent
    #[arg(long, value_name = "NUMBER", value_parser = value_parser!(u32).range(1..))]
    pub max_requests_inflight: Option<u32>,

    /// Audit policy (audit.k8s.io/v1) that says which requests are recorded, and how much of them
    #[arg(long, value_name = "FILE", requires = "audit_log_path")]
    pub audit_policy_file: Option<PathBuf>,

    /// Where they are recorded, an event a line; - is standard output
    #[arg(long, value_name = "FILE", requires = "audit_policy_file")]
    pub audit_log_path: Option<PathBuf>,

    /// Days that a full audit log is kept; 0: for ever
    #[arg(long, value_name = "DAYS", default_value_t = 366)]
    pub audit_log_maxage: u32,

    /// Full audit logs that are kept; 0: all
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub audit_log_maxbackup: u32,

    /// Megabytes at which an audit log is full; 0: never
    #[arg(long, value_name = "MEGABYTES", default_value_t = 100)]
    pub audit_log_maxsize: u32,

    /// Of the requests that change nothing and that the policy selects, record one in so many
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = value_parser!(u64).range(1..))]
    pub audit_reads_every: u64,
}

impl Requests {
    pub fn configure(&self, config: &mut Config) -> Result<()> {
        if let Some(seats) = self.max_requests_inflight {
            config.seats = seats;
        }
        if let (Some(policy), Some(path)) = (&self.audit_policy_file, &self.audit_log_path) {
            let text = std::fs::read_to_string(policy).with_context(|| format!("reading {}", policy.display()))?;
            let policy = Policy::read(&text).with_context(|| format!("the audit policy {}", policy.display()))?;
            config.audit =
                Some(Settings { policy, target: self.target(path.clone()), reads_every: self.audit_reads_every });
        }
        Ok(())
    }

    fn target(&self, path: PathBuf) -> Target {
        if path.as_os_str() == "-" {
            return Target::Stdout;
        }
        let rotation = Rotation {
            age_days_max: self.audit_log_maxage,
            backups_max: self.audit_log_maxbackup,
            megabytes_max: self.audit_log_maxsize,
        };
        Target::File(path, rotation)
    }
}
