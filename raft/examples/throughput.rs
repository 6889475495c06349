//! Writes per second and their latency with 1, 16 and 256 concurrent proposers: `throughput [DIR] [SECONDS]`.
//!
//! Each write is one object of about 1 KiB, durable when it is counted. One server; beside it, the disk's own limit: the same
//! bytes appended to a file with one `fdatasync` each.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kontiki_model::{Head, Key};
use kontiki_raft::{Command, Log, LogConfig, Mutation, ProposeError};

const BODY_BYTES: usize = 900;
const OBJECTS: usize = 1_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().map_or_else(|| std::env::temp_dir().join("kontiki-throughput"), PathBuf::from);
    let seconds: u64 = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let run = Duration::from_secs(seconds);
    std::fs::create_dir_all(&dir)?;
    let opened = Instant::now();
    let log = Log::open(LogConfig::new(dir.join("log"))).await?;
    println!("opened in {:?}", opened.elapsed());
    println!("{:>10} {:>10} {:>10} {:>10} {:>10}", "writers", "writes/s", "p50 ms", "p99 ms", "max ms");
    report("fdatasync", disk_limit(&dir, run)?, run);
    for writers in [1, 16, 256] {
        let latencies = write_from(&log, writers, run).await?;
        report(&writers.to_string(), latencies, run);
    }
    println!("{:?}", log.status());
    log.shutdown().await;
    drop(log);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

async fn write_from(log: &Log, writers: usize, run: Duration) -> Result<Vec<Duration>, Box<dyn std::error::Error>> {
    let end = Instant::now() + run;
    let tasks: Vec<_> = (0..writers).map(|writer| tokio::spawn(writes(log.clone(), writer, end))).collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    Ok(latencies)
}

async fn writes(log: Log, writer: usize, end: Instant) -> Result<Vec<Duration>, ProposeError> {
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let name = format!("object-{}", (writer * 31 + latencies.len()) % OBJECTS);
        let key = Key::new("configmaps", "default", name);
        let head = Head { uid: "7f1f2f6e-0000-4000-8000-000000000000".into(), ..Head::default() };
        let mutations = vec![Mutation::Put { key, head, body: vec![b'x'; BODY_BYTES] }];
        let started = Instant::now();
        log.propose(Command { mutations, ..Command::default() }).await?;
        latencies.push(started.elapsed());
    }
    Ok(latencies)
}

fn disk_limit(dir: &Path, run: Duration) -> std::io::Result<Vec<Duration>> {
    let mut file = File::create(dir.join("limit"))?;
    let (end, mut latencies) = (Instant::now() + run, Vec::new());
    while Instant::now() < end {
        let started = Instant::now();
        file.write_all(&[b'x'; BODY_BYTES])?;
        file.sync_data()?;
        latencies.push(started.elapsed());
    }
    Ok(latencies)
}

fn report(name: &str, mut latencies: Vec<Duration>, run: Duration) {
    latencies.sort();
    let at = |share: usize| latencies.get(latencies.len() * share / 1000).map_or(0.0, |took| took.as_secs_f64() * 1e3);
    let rate = latencies.len() as f64 / run.as_secs_f64();
    println!("{name:>10} {rate:>10.0} {:>10.2} {:>10.2} {:>10.2}", at(500), at(990), at(1000).max(at(999)));
}
