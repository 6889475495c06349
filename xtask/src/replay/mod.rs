//! `make replay`: what a real API server answered, asked of the servers of this checkout: of one without controllers, and of a whole
//! cluster of three, once through its leader and once through a follower. The recordings and the tool that compares lie beside the checkout; where
//! they are absent, the end-to-end tests cover the same topics.

mod expected;
mod servers;
mod verdict;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, bail};

use self::{
    servers::{Reached, Servers},
    verdict::{Summary, Verdict},
};
use crate::{
    build, rocksdb,
    setup::{self, Need},
    tool::{self, cargo, installed, run},
};

/// Transcripts at once: half of their time is waiting for what must not happen.
const JOBS: usize = 4;

/// What a transcript is replayed against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// One server without controllers.
    Alone,
    /// The leader of a whole cluster.
    Leader,
    /// Another server of it.
    Follower,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Target::Alone => "a server without controllers",
            Target::Leader => "a whole cluster's leader",
            Target::Follower => "a whole cluster's follower",
        }
    }

    /// Whether controllers run there, which some transcripts do not bear.
    fn controllers(self) -> &'static str {
        match self {
            Target::Alone => "off",
            Target::Leader | Target::Follower => "on",
        }
    }
}

/// The recordings and the tool, and where its answers go.
struct Replay {
    tool: PathBuf,
    transcripts: PathBuf,
    scratch: PathBuf,
}

/// Replays everything against everything; fails if something is not answered as recorded and was not known to.
pub fn replay() -> Result<()> {
    let shared = tool::root().join("../shared");
    let replay = shared.join("tools/replay.py");
    if !replay.exists() {
        println!("SKIPPED replay: {} is absent; the end-to-end tests cover the same topics", replay.display());
        return Ok(());
    }
    for (program, why) in [("openssl", "make the key that signs tokens"), ("python3", "run the tool that compares")] {
        if !installed(program) {
            println!("SKIPPED replay: there is no {program} to {why}");
            return Ok(());
        }
    }
    setup::install(Need::Run)?;
    rocksdb::ensure()?;
    // As `make test` has built it: with other features, all that it links would be built again.
    run(&mut cargo(&["test", "--quiet", "--no-run", "--locked", "--workspace", "--test", "cluster"])?)?;
    let target = build::target_dir()?;
    let binary = target.join("debug/kontiki");
    let scratch = Scratch::new(&target)?;
    let replay =
        Replay { tool: replay, transcripts: shared.join("kubernetes-api/transcripts"), scratch: scratch.0.clone() };

    let key = signing_key(&scratch.0)?;

    let mut failed = 0;
    let mut against = |target: Target, reached: &Reached| -> Result<()> {
        let verdict = replay.against(target, reached)?;
        failed += verdict.unexpected.len();
        Ok(())
    };
    let alone = Servers::start(&binary, &key, scratch.0.join("alone"), 1, false)?;
    against(Target::Alone, &alone.leader()?)?;
    drop(alone);
    let whole = Servers::start(&binary, &key, scratch.0.join("whole"), 3, true)?;
    against(Target::Leader, &whole.leader()?)?;
    against(Target::Follower, &whole.follower()?)?;
    drop(whole);
    if failed > 0 {
        bail!("{failed} transcripts are not answered as recorded, as said above");
    }
    Ok(())
}

/// As the recorded server had: an RSA key that signs the tokens of service accounts.
fn signing_key(dir: &Path) -> Result<PathBuf> {
    let key = dir.join("service-accounts.key");
    tool::output(Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048"))?;
    Ok(key)
}

impl Replay {
    fn against(&self, target: Target, reached: &Reached) -> Result<Verdict> {
        let start = Instant::now();
        let first = self.run(target, reached, std::slice::from_ref(&self.transcripts), JOBS)?;
        let verdict = Verdict::of(target, &first, expected::EXPECTED);
        // A moment of a busy machine is no difference: what failed is tried once more, by itself.
        let again: Vec<PathBuf> =
            first.files.iter().filter(|file| verdict.names(file)).map(|file| file.file.clone()).collect();
        let (verdict, said) = if again.is_empty() {
            (verdict, String::new())
        } else {
            let second = self.run(target, reached, &again, 1)?;
            (verdict.after(target, &second, expected::EXPECTED), second.said)
        };
        println!("replay against {}, {} s: {verdict}", target.name(), start.elapsed().as_secs());
        for block in verdict::blocks(&said).filter(|block| verdict.unexpected.iter().any(|name| block.is_of(name))) {
            println!("{}", block.text);
        }
        Ok(verdict)
    }

    /// Runs the tool, whose exit status says no more than its summary.
    fn run(&self, target: Target, reached: &Reached, paths: &[PathBuf], jobs: usize) -> Result<Summary> {
        let summary = self.scratch.join("summary.json");
        let mut command = Command::new("python3");
        command.arg(&self.tool).args(["--server", &reached.url, "--ca"]).arg(reached.pki.join("ca.crt"));
        command.arg("--cert").arg(reached.pki.join("admin.crt")).arg("--key").arg(reached.pki.join("admin.key"));
        command.args(["--controllers", target.controllers(), "--jobs", &jobs.to_string(), "--json"]).arg(&summary);
        let output = command.args(paths).output().with_context(|| format!("cannot start {command:?}"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let text = fs::read(&summary)
            .with_context(|| format!("no summary of the replay: {said}{}", String::from_utf8_lossy(&output.stderr)))?;
        fs::remove_file(&summary)?;
        let mut summary: Summary = serde_json::from_slice(&text).context("reading the replay's summary")?;
        summary.said = said;
        Ok(summary)
    }
}

/// A folder on the disk that builds use, gone at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(target: &Path) -> Result<Self> {
        let dir = target.join("replay").join(std::process::id().to_string());
        fs::create_dir_all(&dir)?;
        Ok(Scratch(fs::canonicalize(dir)?))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("removing {}: {error}", self.0.display());
        }
    }
}
