//! Where a benchmark runs: a folder on the disk that builds use, and a network namespace of its own, so that ports are free and
//! nothing else talks.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::Result;

use crate::{build, tool};

/// A folder and a network namespace, both gone at the end.
pub struct Scratch {
    pub dir: PathBuf,
    netns: String,
}

impl Scratch {
    pub fn new() -> Result<Self> {
        let name = format!("kt-bench-{}", std::process::id());
        // Not the system's temporary folder: that may be memory, on which a sync costs nothing.
        let dir = build::target_dir()?.join("bench").join(&name);
        fs::create_dir_all(&dir)?;
        tool::run(Command::new("ip").args(["netns", "add", &name]))?;
        for step in [
            "link set lo up",
            // A host has a default route: without one, Service addresses are unreachable.
            "link add uplink type veth peer name nowhere",
            "address add 192.0.2.2/24 dev uplink",
            "link set uplink up",
            "link set nowhere up",
            "route add default via 192.0.2.1 dev uplink onlink",
        ] {
            tool::run(Command::new("ip").args(["-n", &name]).args(step.split(' ')))?;
        }
        Ok(Scratch { dir, netns: name })
    }

    /// A command inside the namespace.
    pub fn inside(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.netns)).arg("--").arg(program);
        command.current_dir(&self.dir).stdin(Stdio::null());
        command
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for cleaned in [
            Command::new("ip").args(["netns", "delete", &self.netns]).status(),
            Command::new("rm").args(["-rf", "--one-file-system"]).arg(&self.dir).status(),
        ] {
            if let Err(error) = cleaned {
                eprintln!("cleaning up: {error}");
            }
        }
    }
}
