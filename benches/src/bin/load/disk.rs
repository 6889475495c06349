//! The yardstick: the same bytes appended to a file with one `fdatasync` each. Several writers stand for several servers that
//! share a disk.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::storm::Outcome;

pub fn run(dir: &Path, writers: usize, time: Duration, payload: usize) -> Result<Outcome> {
    let end = Instant::now() + time;
    let latencies = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..writers)
            .map(|writer| {
                let path = dir.join(format!("disk-{writer}"));
                scope.spawn(move || append(&path, end, payload))
            })
            .collect();
        let mut all = Vec::new();
        for writer in writers {
            all.extend(writer.join().ok().context("a writer panicked")??);
        }
        anyhow::Ok(all)
    })?;
    Ok(Outcome::of(latencies, time.as_secs_f64()))
}

fn append(path: &Path, end: Instant, payload: usize) -> Result<Vec<Duration>> {
    let mut file = File::create(path)?;
    let bytes = vec![b'x'; payload];
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let start = Instant::now();
        file.write_all(&bytes)?;
        file.sync_data()?;
        latencies.push(start.elapsed());
    }
    std::fs::remove_file(path)?;
    Ok(latencies)
}
