//! `make fuzz`: each fuzz target for a while, from seeds that are made of the kinds' examples. What was found before stays in
//! `fuzz/corpus` and is begun with, too.

use std::{fs, process::Command};

use anyhow::{Context, Result, bail};

use crate::tool::{self, cargo, installed, run};

/// No input that finds something is larger, and none takes longer.
const INPUT_BYTES_MAX: usize = 64 * 1024;
const INPUT_SECONDS_MAX: u32 = 10;
const MEMORY_MIB_MAX: u32 = 2048;

/// How long each target is run.
pub enum Until {
    /// So many seconds, on other inputs each time: it searches.
    Seconds(u32),
    /// So many inputs, the same each time: it tells whether a change broke something, not whether luck found something old.
    Inputs(u64),
}

impl Until {
    fn flags(&self) -> Vec<String> {
        match self {
            Until::Seconds(seconds) => vec![format!("-max_total_time={seconds}")],
            Until::Inputs(count) => vec![format!("-runs={count}"), format!("-seed={SEED}")],
        }
    }
}

const SEED: u32 = 1;

/// Runs every target; fails with the input if one of them finds something.
pub fn fuzz(until: &Until) -> Result<()> {
    if !installed("cargo-fuzz") {
        run(Command::new("cargo").args(["install", "--locked", "cargo-fuzz"]))?;
    }
    let root = tool::root();
    let folder = root.join("fuzz");
    let mut seeds = cargo(&["run", "--quiet", "--locked", "--package", "kontiki-schema", "--example", "seeds", "--"])?;
    run(seeds.arg(root.join("apiserver/tests/fixtures/examples.json")).arg(folder.join("corpus")))?;
    for target in targets()? {
        // No sanitizer: they need a nightly compiler, and what is fuzzed is safe Rust.
        let mut fuzz = Command::new("cargo");
        fuzz.current_dir(&root).args(["fuzz", "run", "--dev", "--sanitizer", "none", &target, "--"]);
        fuzz.args(until.flags());
        fuzz.args([
            format!("-max_len={INPUT_BYTES_MAX}"),
            format!("-timeout={INPUT_SECONDS_MAX}"),
            format!("-rss_limit_mb={MEMORY_MIB_MAX}"),
            "-print_final_stats=1".to_owned(),
            "-print_funcs=0".to_owned(),
        ]);
        let output = fuzz.output().with_context(|| format!("cannot start {fuzz:?}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("the fuzzer of {target} found something, or did not run:\n{said}");
        }
        let count = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        println!("fuzzed {target}: {} inputs", count.map_or("?", str::trim));
    }
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let folder = tool::root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        names.extend(path.file_stem().and_then(|name| name.to_str()).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}
