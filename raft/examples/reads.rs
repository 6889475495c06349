//! What reading costs: `reads [DIR] [OBJECTS]`. Lists, gets, the past, and a watch that replays everything from disk.

use std::path::PathBuf;
use std::time::Instant;

use kontiki_model::{Head, Key, Scope};
use kontiki_raft::{Command, ListOptions, Log, LogConfig, Mutation, WatchItem};

const BODY_BYTES: usize = 1_000;
const BATCH: usize = 500;

fn put(number: usize, filling: u8) -> Mutation {
    let key = Key::new("pods", format!("ns-{}", number % 50), format!("pod-{number}"));
    let labels = [("app".to_owned(), format!("app-{}", number % 100))].into();
    let head = Head { uid: format!("uid-{number}"), labels, ..Head::default() };
    Mutation::Put { key, head, body: vec![filling; BODY_BYTES] }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().map_or_else(|| std::env::temp_dir().join("kontiki-reads"), PathBuf::from);
    let objects: usize = arguments.next().map_or(Ok(30_000), |text| text.parse())?;
    let time_ms = i64::MAX / 2;
    let log = Log::open(LogConfig::new(&dir)).await?;
    for filling in *b"abc" {
        for start in (0..objects).step_by(BATCH) {
            let mutations = (start..objects.min(start + BATCH)).map(|number| put(number, filling)).collect();
            log.propose(Command { mutations, time_ms, ..Command::default() }).await?;
        }
    }
    let middle = log.revision() - objects as u64 / 2;
    let everything = Scope { resource: "pods".into(), namespace: None };
    let one = Scope { resource: "pods".into(), namespace: Some("ns-7".into()) };
    let timed = |what: &str, run: &mut dyn FnMut() -> Result<usize, kontiki_raft::ReadError>| {
        let started = Instant::now();
        let count = run()?;
        println!("{what:>32}: {count:>6} objects in {:>10.3?}", started.elapsed());
        Ok::<_, kontiki_raft::ReadError>(())
    };
    let list = |scope: &Scope, options: ListOptions<'_>| Ok(log.list(scope, options)?.items.len());
    for round in ["list", "list again"] {
        timed(round, &mut || list(&everything, ListOptions::default()))?;
    }
    timed("list one namespace", &mut || list(&one, ListOptions::default()))?;
    timed("a page of 500", &mut || list(&everything, ListOptions { limit: Some(500), ..ListOptions::default() }))?;
    let past = || ListOptions { at: Some(middle), ..ListOptions::default() };
    timed("list of the past", &mut || list(&everything, past()))?;
    timed("a page of 500 of the past", &mut || list(&everything, ListOptions { limit: Some(500), ..past() }))?;
    let label = |_: &Key, head: &Head| head.labels.get("app").is_some_and(|app| app == "app-1");
    timed("list by label", &mut || list(&everything, ListOptions { filter: Some(&label), ..ListOptions::default() }))?;
    timed("get, each", &mut || {
        for number in 0..objects {
            log.get(put(number, b'c').key())?;
        }
        Ok(objects)
    })?;
    let started = Instant::now();
    let (mut watch, mut events) = (log.watch(everything, 0)?, 0);
    while let WatchItem::Event(_) = watch.next().await? {
        events += 1;
    }
    println!("{:>32}: {events:>6} events in {:>10.3?}", "watch from the beginning", started.elapsed());
    drop(watch);
    let started = Instant::now();
    log.shutdown().await;
    drop(log);
    let log = Log::open(LogConfig::new(&dir)).await?;
    println!("{:>32}: {:>6} objects in {:>10.3?}", "shut down and open", log.status().objects, started.elapsed());
    log.shutdown().await;
    drop(log);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
