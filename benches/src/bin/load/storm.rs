//! Closed-loop clients: each sends its next request when the last one is answered.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use serde::Serialize;

use crate::target::{Connection, Target};

/// A client that was refused waits this long, so that refusals do not become the load.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// Linux tells processor time to programs in this unit, whatever the kernel counts in.
const TICKS_PER_SECOND: f64 = 100.0;

/// What clients do: write new objects, or each its own one again, or read a page of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Verb {
    #[default]
    Create,
    Update,
    List,
}

const PAGE: usize = 500;

/// What a storm came to.
#[derive(Debug, Default, Serialize)]
pub struct Outcome {
    pub ops: usize,
    pub errors: usize,
    /// The first refusal, as a sample of what they were.
    pub error: Option<String>,
    pub seconds: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    /// User and system time of the servers while the clients wrote.
    pub server_cpu_seconds: f64,
}

impl Outcome {
    /// Of the writes that were acknowledged within the time.
    pub fn of(mut latencies: Vec<Duration>, seconds: f64) -> Self {
        latencies.sort_unstable();
        let at = |share: f64| {
            let last = latencies.len().saturating_sub(1) as f64;
            latencies.get((last * share).round() as usize).map_or(0.0, |took| took.as_secs_f64() * 1e3)
        };
        Outcome {
            ops: latencies.len(),
            seconds,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            max_ms: at(1.0),
            ..Outcome::default()
        }
    }
}

/// Connects everybody first, then asks for a while.
pub async fn run(
    (target, verb): (&Target, Verb),
    prefix: &str,
    clients: usize,
    time: Duration,
    servers: &[u32],
) -> Result<Outcome> {
    let connections = try_join_all((0..clients).map(|client| target.connect(client))).await.context("connecting")?;
    let cpu = processor_seconds(servers)?;
    let end = Instant::now() + time;
    let writers = connections
        .into_iter()
        .enumerate()
        .map(|(client, connection)| ask_until((target, verb), connection, format!("{prefix}-{client}"), end));
    let mut latencies = Vec::new();
    let (mut errors, mut error) = (0, None);
    for done in futures::future::join_all(writers).await {
        latencies.extend(done.latencies);
        errors += done.errors;
        error = error.or(done.error);
    }
    let server_cpu_seconds = processor_seconds(servers)? - cpu;
    Ok(Outcome { errors, error, server_cpu_seconds, ..Outcome::of(latencies, time.as_secs_f64()) })
}

#[derive(Default)]
struct Done {
    latencies: Vec<Duration>,
    errors: usize,
    error: Option<String>,
}

async fn ask_until((target, verb): (&Target, Verb), mut connection: Connection, prefix: String, end: Instant) -> Done {
    let mut done = Done::default();
    if verb == Verb::Update
        && let Err(error) = target.write(&mut connection, &prefix).await
    {
        return Done { errors: 1, error: Some(format!("{error:#}")), ..done };
    }
    for number in 0.. {
        let sent = Instant::now();
        if sent >= end {
            break;
        }
        let written = match verb {
            Verb::Create => target.write(&mut connection, &format!("{prefix}-{number}")).await,
            Verb::Update => target.update(&mut connection, &prefix, number).await,
            Verb::List => target.list(&mut connection, PAGE).await,
        };
        match written {
            Ok(()) if Instant::now() < end => done.latencies.push(sent.elapsed()),
            Ok(()) => {}
            Err(error) => {
                done.errors += 1;
                done.error.get_or_insert_with(|| format!("{error:#}"));
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
    done
}

/// User and system time of processes so far.
pub fn processor_seconds(pids: &[u32]) -> Result<f64> {
    let mut ticks = 0.0;
    for pid in pids {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
        // The name, in parentheses, may hold anything; behind it, user and system time are the twelfth and thirteenth field.
        let fields = stat.rsplit_once(')').context("a process without a name")?.1.split_whitespace();
        for field in fields.skip(11).take(2) {
            ticks += field.parse::<f64>()?;
        }
    }
    Ok(ticks / TICKS_PER_SECOND)
}
