//! The servers under test: started, killed, paused, starved and started again, each by its own pid.

use std::{
    fs::{self, File},
    io::{self, Seek, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    client::{Client, Credentials},
    limits::{POLL, SHUTDOWN_TIME_MAX, WAIT_MAX},
    network::{Hub, Netns, report, succeed},
};

const PORT: u16 = 6443;
/// What somebody else writes at a time, and how often before they begin anew.
const BUSY_BLOCK_BYTES: usize = 256 * 1024;
const BUSY_BLOCKS: usize = 256;

/// What a server's data folder lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// The disk of the machine that runs the scenario.
    Shared,
    /// A file system of its own with this many MiB, which a scenario can fill.
    Small(u32),
}

pub struct Server {
    pub name: String,
    pub machine: Netns,
    folder: PathBuf,
    disk: Disk,
    process: Option<Child>,
}

/// A control plane of three.
pub struct Servers {
    // Before the namespaces: processes end first.
    pub servers: Vec<Server>,
    pub hub: Hub,
    pub credentials: Credentials,
    binary: PathBuf,
    // Last: the folders go when nobody is in them.
    dir: tempfile::TempDir,
}

impl Servers {
    /// Starts three servers on empty folders and waits until each is ready. Moves the calling thread into the hub.
    pub async fn start(binary: &Path, disk: Disk) -> io::Result<Self> {
        let (dir, hub) = (tempfile::tempdir()?, Hub::new()?);
        hub.enter()?;
        let mut servers = Vec::new();
        for number in 1..=3 {
            let name = format!("server-{number}");
            let folder = dir.path().join(&name);
            fs::create_dir(&folder)?;
            if let Disk::Small(mebibytes) = disk {
                let size = format!("size={mebibytes}m");
                succeed(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&folder))?;
            }
            servers.push(Server { name, machine: hub.machine(number)?, folder, disk, process: None });
        }
        let first = servers[0].address().to_string();
        servers[0].spawn(binary, &["--init"])?;
        let kubeconfig = servers[0].folder.join("data/kubeconfig");
        wait("the first server's kubeconfig", || kubeconfig.exists().then_some(()).ok_or("not there".to_owned()))?;
        let credentials = Credentials::read(&kubeconfig)?;
        let token = fs::read_to_string(servers[0].folder.join("data/tokens/server"))?;
        for server in &mut servers[1..] {
            server.spawn(binary, &["--join", &first, "--token", token.trim()])?;
        }
        let servers = Servers { servers, hub, credentials, binary: binary.to_owned(), dir };
        for server in &servers.servers {
            servers.wait_ready(server).await?;
        }
        Ok(servers)
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(Server::address).collect()
    }

    /// A client that starts with one server and moves on when it does not answer.
    pub fn client(&self, first: usize) -> Client {
        let mut addresses = self.addresses();
        let start = first % addresses.len();
        addresses.rotate_left(start);
        Client::new(addresses, &self.credentials)
    }

    /// Waits until a server says that it is ready.
    pub async fn wait_ready(&self, server: &Server) -> io::Result<()> {
        let mut client = Client::new(vec![server.address()], &self.credentials);
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let answer = client.get("/readyz").await;
            if answer.code == 200 {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("{} is not ready: {answer:?}\n{}", server.name, server.log())));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The server that leads, as those that live agree.
    pub async fn leader(&self) -> io::Result<usize> {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let answer = self.client(0).get("/apis/kontiki.dev/v1/members").await;
            let members = answer.body["items"].as_array().cloned().unwrap_or_default();
            let leader = members.iter().find(|member| member["leader"] == true);
            let name = leader.and_then(|member| member["name"].as_str());
            let position = self.servers.iter().position(|server| Some(server.name.as_str()) == name);
            match position {
                Some(position) if self.servers[position].process.is_some() => return Ok(position),
                _ if Instant::now() > deadline => return Err(io::Error::other(format!("nobody leads: {answer:?}"))),
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// How often a server became the leader, as their logs tell.
    pub fn elections(&self) -> io::Result<usize> {
        let mut won = 0;
        for server in &self.servers {
            won += fs::read_to_string(server.log_file())?.matches("leader=true").count();
        }
        Ok(won)
    }

    /// Writes and syncs on the servers' disk until it is ended.
    pub fn keep_disk_busy(&self) -> io::Result<Busy> {
        let (stop, path) = (Arc::new(AtomicBool::new(false)), self.dir.path().join("busy"));
        let stopped = stop.clone();
        let writing = move || {
            let (mut file, block) = (File::create(&path)?, vec![0x5a; BUSY_BLOCK_BYTES]);
            while !stopped.load(Ordering::SeqCst) {
                for _ in 0..BUSY_BLOCKS {
                    file.write_all(&block)?;
                    file.sync_data()?;
                }
                file.rewind()?;
            }
            Ok(())
        };
        Ok(Busy { stop, thread: Some(thread::Builder::new().name("busy-disk".into()).spawn(writing)?) })
    }

    /// Starts a server that was killed, on the data it left.
    pub fn restart(&mut self, position: usize) -> io::Result<()> {
        let binary = self.binary.clone();
        self.servers[position].spawn(&binary, &[])
    }
}

/// A disk whose syncs fail for one process.
pub struct FailingSyncs(Child);

impl Drop for FailingSyncs {
    fn drop(&mut self) {
        // It has ended already if the process has.
        report(self.0.kill());
        report(self.0.wait().map(drop));
    }
}

/// Somebody else on the same disk.
pub struct Busy {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Busy {
    /// Ends it; fails if the disk was not busy all the time.
    pub fn end(mut self) -> io::Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().expect("it is ended once");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for server in &self.servers {
                eprintln!("--- {}\n{}", server.name, server.log());
            }
        }
        for server in &mut self.servers {
            server.kill();
            if let Disk::Small(_) = server.disk {
                report(succeed(Command::new("umount").arg(&server.folder)).map(drop));
            }
        }
        let _ = &self.dir;
    }
}

impl Server {
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.machine.address.into(), PORT)
    }

    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    fn spawn(&mut self, binary: &Path, more: &[&str]) -> io::Result<()> {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let log = File::options().create(true).append(true).open(self.log_file())?;
        let mut command = self.machine.command(binary);
        command.arg("server").arg("--data-dir").arg(self.folder.join("data"));
        command.args(["--name", &self.name, "--listen", &self.address().to_string()]).args(more);
        command.env_remove("KUBECONFIG").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn()?);
        Ok(())
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        report(process.kill());
        report(process.wait().map(drop));
    }

    /// SIGTERM, and waits until the process has ended in order; the clients go on meanwhile.
    pub async fn terminate(&mut self) -> io::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        kill(pid_of(&process), Signal::SIGTERM)?;
        let deadline = Instant::now() + SHUTDOWN_TIME_MAX;
        loop {
            if let Some(status) = process.try_wait()? {
                return if status.success() { Ok(()) } else { Err(io::Error::other(format!("ended with {status}"))) };
            }
            if Instant::now() > deadline {
                report(process.kill());
                report(process.wait().map(drop));
                return Err(io::Error::other(format!("{} did not end within {SHUTDOWN_TIME_MAX:?}", self.name)));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// SIGSTOP: alive for the kernel, silent for everybody.
    pub fn pause(&self) -> io::Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    pub fn resume(&self) -> io::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// From now on every sync that the process asks for fails, as on a disk that is dying; until it is dropped.
    pub fn fail_syncs(&self) -> io::Result<FailingSyncs> {
        let pid = self.pid().ok_or_else(|| io::Error::other(format!("{} does not run", self.name)))?.to_string();
        let mut strace = Command::new("strace");
        strace.args(["--quiet=all", "--follow-forks", "--trace=fdatasync,fsync", "--inject=fdatasync,fsync:error=EIO"]);
        strace.args(["--output=/dev/null", "--attach", &pid]).stdin(Stdio::null()).stdout(Stdio::null());
        let tracer = FailingSyncs(strace.spawn()?);
        let status = format!("/proc/{pid}/status");
        wait("the process to be traced", || {
            let status = fs::read_to_string(&status).map_err(|error| error.to_string())?;
            let traced = status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"));
            traced.then_some(()).ok_or(status)
        })?;
        Ok(tracer)
    }

    /// Waits until the process has ended by itself, and not as if nothing had happened.
    pub async fn gives_up(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + WAIT_MAX;
        while self.lives()? {
            if Instant::now() > deadline {
                return Err(io::Error::other(format!(
                    "{} goes on as if nothing had happened\n{}",
                    self.name,
                    self.log()
                )));
            }
            tokio::time::sleep(POLL).await;
        }
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let status = process.wait()?;
        if status.success() { Err(io::Error::other(format!("{} ended with {status}", self.name))) } else { Ok(()) }
    }

    /// Whether the process lives.
    pub fn lives(&mut self) -> io::Result<bool> {
        self.process.as_mut().map_or(Ok(false), |process| Ok(process.try_wait()?.is_none()))
    }

    /// Fills the file system of the data folder to its last byte.
    pub fn fill_disk(&self) -> io::Result<()> {
        assert!(matches!(self.disk, Disk::Small(_)), "the machine's own disk is not filled");
        let mut filler = File::create(self.filler())?;
        let block = vec![0; 64 * 1024];
        for size in [block.len(), 512, 1] {
            while Write::write(&mut filler, &block[..size]).is_ok_and(|written| written > 0) {}
        }
        Ok(())
    }

    pub fn free_disk(&self) -> io::Result<()> {
        fs::remove_file(self.filler())
    }

    /// What the server printed, its end.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.log_file()).unwrap_or_else(|error| error.to_string());
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Outside of the data folder's file system where that is small.
    fn log_file(&self) -> PathBuf {
        self.folder.with_extension("log")
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        self.process.as_ref().map_or(Ok(()), |process| Ok(kill(pid_of(process), signal)?))
    }
}

fn pid_of(process: &Child) -> Pid {
    Pid::from_raw(i32::try_from(process.id()).expect("process numbers are positive and small"))
}

fn wait(what: &str, mut condition: impl FnMut() -> Result<(), String>) -> io::Result<()> {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        match condition() {
            Ok(()) => return Ok(()),
            Err(state) if Instant::now() > deadline => return Err(io::Error::other(format!("{what}: {state}"))),
            Err(_) => std::thread::sleep(POLL),
        }
    }
}
