//! Other people's clients that the end-to-end tests drive: what the committed lists pin, below the user's cache folder, from the
//! package registries that this machine's own pip and npm are set up for.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::tool::{self, installed, run};

/// Installs what is missing, for the interpreters that are there.
pub fn install() -> Result<()> {
    let lists = tool::root().join("cli/tests/clients");
    let python = Client { interpreter: "python3", lists: lists.join("python"), list: "requirements.txt", install: pip };
    let javascript =
        Client { interpreter: "node", lists: lists.join("javascript"), list: "package-lock.json", install: npm };
    // Not JavaScript at all: npm is who brings them.
    let go = Client { interpreter: "npm", lists: lists.join("go"), list: "package-lock.json", install: go };
    python.ensure(&tool::cache()?.join("clients/python"))?;
    javascript.ensure(&tool::cache()?.join("clients/javascript"))?;
    go.ensure(&tool::cache()?.join("clients/go"))
}

/// Whether Python is here, but cannot make environments, as Debian's cannot by itself.
pub fn lacks_venv() -> bool {
    let modules = ["-c", "import ensurepip, venv"];
    installed("python3") && tool::output(Command::new("python3").args(modules)).is_err()
}

struct Client {
    interpreter: &'static str,
    lists: PathBuf,
    /// What is installed, to the version; a copy of it beside the installed says that it is whole.
    list: &'static str,
    install: fn(lists: &Path, dir: &Path) -> Result<()>,
}

impl Client {
    fn ensure(&self, dir: &Path) -> Result<()> {
        if !installed(self.interpreter) {
            println!("SKIPPED: there is no {} on this machine; tests with its clients are left out", self.interpreter);
            return Ok(());
        }
        let wanted = fs::read(self.lists.join(self.list)).with_context(|| format!("reading {}", self.list))?;
        if fs::read(dir.join(self.list)).is_ok_and(|found| found == wanted) {
            return Ok(());
        }
        println!("installing clients for the tests into {}", dir.display());
        let aside = dir.with_extension(std::process::id().to_string());
        if dir.exists() {
            // Somebody may be using it: it goes as a whole.
            fs::rename(dir, &aside).and_then(|()| fs::remove_dir_all(&aside))?;
        }
        fs::create_dir_all(dir)?;
        (self.install)(&self.lists, dir)?;
        fs::write(dir.join(self.list), wanted).context("noting what is installed")
    }
}

/// In place: an environment's programs name the folder they were made in.
fn pip(lists: &Path, dir: &Path) -> Result<()> {
    run(Command::new("python3").args(["-m", "venv"]).arg(dir))?;
    let mut pip = Command::new(dir.join("bin/pip"));
    run(pip
        .args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(lists.join("requirements.txt")))
}

fn npm(lists: &Path, dir: &Path) -> Result<()> {
    // npm wants both in the folder it fills; what is to be noted at the end is taken away until then.
    for file in ["package.json", "package-lock.json"] {
        fs::copy(lists.join(file), dir.join(file))?;
    }
    let mut npm = Command::new("npm");
    npm.current_dir(dir).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    // What a package would be used with by those it was made for is not wanted here.
    let done = run(npm.arg("--legacy-peer-deps"));
    fs::remove_file(dir.join("package-lock.json"))?;
    done
}

/// kubectl and Helm in several releases: each package is an archive of programs, which is unpacked to a folder of the package's name.
fn go(lists: &Path, dir: &Path) -> Result<()> {
    npm(lists, dir)?;
    let packages = dir.join("node_modules");
    for package in fs::read_dir(packages.join("@aws-cdk"))? {
        let package = package?;
        let mut unzip = Command::new("unzip");
        unzip.arg("-q").arg(package.path().join("lib/layer.zip")).arg("-d").arg(dir.join(package.file_name()));
        run(&mut unzip)?;
    }
    fs::remove_dir_all(&packages).context("removing the archives")
}
