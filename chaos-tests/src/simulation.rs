//! Runs a plan against a real log on a real disk, and holds every answer against the model.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::future::join_all;
use kontiki_model::{Key, Revision, Scope};
use kontiki_raft::{
    Command, DiskError, HistoryLimits, ListOptions, Log, LogConfig, OpenError, ProposeError, ReadError, Retain, Watch,
    WatchItem,
};
use tempfile::TempDir;

use crate::crash;
use crate::invariants::watch::Watched;
use crate::invariants::{Violation, reads, revisions, violated};
use crate::model::{Ages, Model};
use crate::plan::{Plan, RESOURCES, Step};

/// The ring holds less than a watcher may lag, so that watches fall back to disk all the time.
const RING_EVENTS: usize = 8;
/// How long a log that was closed may hold its files.
const LET_GO: Duration = Duration::from_secs(30);
const AGES: Ages = Ages { normal_ms: 1_500, short_ms: 300 };

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub seed: u64,
    pub revision: Revision,
    /// Every step and what became of it; the same for the same seed.
    pub trace: String,
}

#[derive(Debug, thiserror::Error)]
#[error("seed {seed}, step {step} ({what}): {source}")]
pub struct Failure {
    pub seed: u64,
    pub step: usize,
    pub what: String,
    #[source]
    pub source: Fault,
}

#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error("the log cannot be opened: {0}")]
    Open(#[from] OpenError),
    #[error("the log does not answer: {0}")]
    Read(#[from] ReadError),
    #[error("the log takes no write: {0}")]
    Propose(#[from] ProposeError),
    #[error("the scratch directory fails: {0}")]
    Io(#[from] io::Error),
}

struct Watcher {
    watch: Watch,
    watched: Watched,
}

/// One server's life, from one seed.
pub struct Simulation {
    seed: u64,
    plan: Plan,
    model: Model,
    dir: TempDir,
    /// Closed only within a step.
    log: Option<Log>,
    watchers: BTreeMap<usize, Watcher>,
    trace: String,
}

impl Simulation {
    /// Runs so many steps, then lets every watcher catch up.
    pub async fn run(seed: u64, steps: usize) -> Result<Outcome, Failure> {
        let failure = |step, what: &str, source| Failure { seed, step, what: what.to_owned(), source };
        let mut simulation = Self::start(seed).await.map_err(|fault| failure(0, "start", fault))?;
        for number in 1..=steps {
            let step = simulation.plan.next(&simulation.model);
            let what = name(&step);
            let told = simulation.step(step).await.map_err(|fault| failure(number, what, fault))?;
            _ = writeln!(simulation.trace, "{number} {what} {told}");
        }
        simulation.finish().await.map_err(|fault| failure(steps, "finish", fault))
    }

    async fn start(seed: u64) -> Result<Self, Fault> {
        let dir = tempfile::tempdir()?;
        let log = Some(open(dir.path()).await?);
        Ok(Simulation {
            seed,
            plan: Plan::new(seed),
            model: Model::default(),
            dir,
            log,
            watchers: BTreeMap::new(),
            trace: String::new(),
        })
    }

    async fn step(&mut self, step: Step) -> Result<String, Fault> {
        match step {
            Step::Propose(command) => self.propose(command).await,
            Step::Burst(commands) => self.burst(commands).await,
            Step::Watch { watcher, scope, from } => self.watch(watcher, scope, from),
            Step::Follow { watcher, events } => self.follow(watcher, events).await,
            Step::List { scope, at, limit } => self.list(&scope, at, limit),
            Step::Get { key, at } => self.get(&key, at),
            Step::History { key } => self.history(&key),
            Step::Compact { now_ms } => self.compact(now_ms).await,
            Step::Snapshot => self.snapshot().await,
            Step::Restart => self.restart().await,
            Step::Crash => self.crash().await,
        }
    }

    async fn propose(&mut self, command: Command) -> Result<String, Fault> {
        let expected = self.model.apply(&command);
        match (self.log().propose(command).await, expected) {
            (Ok(applied), Ok(expected)) => {
                revisions::check(&applied.events, &expected)?;
                Ok(format!("{}", self.model.revision()))
            }
            (Err(ProposeError::Rejected(seen)), Err(expected)) if seen == expected => Ok("rejected".into()),
            (Err(ProposeError::Rejected(seen)), expected) => {
                Ok(violated("preconditions decide", format!("{seen} instead of {expected:?}"))?)
            }
            (Ok(_), Err(expected)) => Ok(violated("preconditions decide", format!("accepted despite {expected}"))?),
            (Err(error), _) => Err(error.into()),
        }
    }

    async fn burst(&mut self, commands: Vec<Command>) -> Result<String, Fault> {
        let answers = join_all(commands.iter().map(|command| self.log().propose(command.clone()))).await;
        let mut applied = Vec::new();
        for (command, answer) in commands.into_iter().zip(answers) {
            applied.push((answer?, command));
        }
        applied.sort_by_key(|(applied, _)| applied.index);
        for (applied, command) in applied {
            match self.model.apply(&command) {
                Ok(expected) => revisions::check(&applied.events, &expected)?,
                Err(rejection) => return Ok(violated("a burst has no preconditions", rejection.to_string())?),
            }
        }
        Ok(format!("{}", self.model.revision()))
    }

    fn watch(&mut self, watcher: usize, scope: Scope, from: Revision) -> Result<String, Fault> {
        let answer = self.log().watch(scope.clone(), from);
        let Some(watch) = reads::check_retained(&self.model, &scope.resource, from, answer)? else {
            return Ok(format!("{} {from} refused", scope.resource));
        };
        let told = format!("{} {from}", scope.resource);
        self.watchers.insert(watcher, Watcher { watch, watched: Watched { scope, told: from } });
        Ok(told)
    }

    async fn follow(&mut self, number: usize, events: usize) -> Result<String, Fault> {
        let Some(watcher) = self.watchers.get_mut(&number) else { return Ok("nobody".into()) };
        for _ in 0..events {
            if watcher.watched.caught_up(&self.model) {
                let progress = watcher.watch.progress();
                watcher.watched.progress(&self.model, progress.max(watcher.watched.told))?;
                return Ok(format!("{number} caught up"));
            }
            match watcher.watch.next().await {
                Ok(WatchItem::Event(event)) => watcher.watched.event(&self.model, &event)?,
                Ok(WatchItem::Progress(revision)) => watcher.watched.progress(&self.model, revision)?,
                Err(ReadError::Compacted { .. }) => {
                    watcher.watched.compacted(&self.model)?;
                    self.watchers.remove(&number);
                    return Ok(format!("{number} compacted"));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(format!("{number} {}", watcher.watched.told))
    }

    /// The whole of a scope, page by page, at the first page's revision.
    fn list(&self, scope: &Scope, at: Option<Revision>, limit: usize) -> Result<String, Fault> {
        let revision = at.unwrap_or(self.model.revision());
        let (mut items, mut rest, mut left) = (Vec::new(), None, None);
        loop {
            let options = ListOptions { at, limit: Some(limit), rest, ..ListOptions::default() };
            let answer = self.log().list(scope, options);
            let Some(page) = reads::check_retained(&self.model, &scope.resource, revision, answer)? else {
                return Ok(format!("{} {revision} refused", scope.resource));
            };
            if page.revision != revision {
                return Ok(violated(
                    "a list says which revision it is of",
                    format!("{} not {revision}", page.revision),
                )?);
            }
            let remaining = page.rest.as_ref().map_or(Some(0), |rest| rest.left);
            let behind = remaining.map(|remaining| page.items.len() as u64 + remaining);
            let before = std::mem::replace(&mut left, remaining);
            if remaining.is_none() || (before.is_some() && before != behind) {
                return Ok(violated("a page says how much is left", format!("{behind:?}"))?);
            }
            items.extend(page.items);
            rest = page.rest;
            if rest.is_none() {
                break;
            }
        }
        reads::check_list(&items, &self.model.live_at(revision), scope, revision)?;
        Ok(format!("{} {revision} {}", scope.resource, items.len()))
    }

    fn get(&self, key: &Key, at: Option<Revision>) -> Result<String, Fault> {
        let Some(at) = at else {
            let seen = self.log().get(key)?;
            reads::check_get(seen.as_ref(), self.model.live().get(key), self.model.revision())?;
            return Ok(format!("{}", seen.is_some()));
        };
        let answer = self.log().get_at(key, at);
        let Some(seen) = reads::check_retained(&self.model, &key.resource, at, answer)? else {
            return Ok(format!("{at} refused"));
        };
        reads::check_get(seen.as_ref(), self.model.live_at(at).get(key), at)?;
        Ok(format!("{at} {}", seen.is_some()))
    }

    /// Everything above the floor is told; below it only what made a version that is still needed.
    fn history(&self, key: &Key) -> Result<String, Fault> {
        let seen = self.log().history(key, None, usize::MAX)?;
        let floor = self.model.floor_of(&key.resource);
        let mut expected = self.model.events_of(key).rev();
        for event in &seen {
            match expected.next() {
                Some(one) if event.revision() == one.revision && event.object.body[..] == one.body[..] => {}
                other => {
                    return Ok(violated("a history tells what happened", format!("{event:?} instead of {other:?}"))?);
                }
            }
        }
        match expected.next() {
            Some(missing) if missing.revision > floor => {
                Ok(violated("what is retained is told", format!("{missing:?} above {floor}"))?)
            }
            _ => Ok(format!("{}", seen.len())),
        }
    }

    async fn compact(&mut self, now_ms: i64) -> Result<String, Fault> {
        self.log().compact_history(now_ms).await?;
        self.model.compact(now_ms, AGES);
        let (seen, expected) = (self.log().floor(), self.model.floor());
        if !self.model.accept_floor(seen) {
            return Ok(violated("history ends where its age says", format!("{seen} instead of {expected}"))?);
        }
        Ok(format!("{seen}"))
    }

    async fn snapshot(&mut self) -> Result<String, Fault> {
        self.log().snapshot().await?;
        Ok(String::new())
    }

    async fn restart(&mut self) -> Result<String, Fault> {
        let watched = self.close().await;
        self.resume(watched).await
    }

    async fn crash(&mut self) -> Result<String, Fault> {
        let image = crash::image(self.dir.path())?;
        let watched = self.close().await;
        self.dir = image;
        self.resume(watched).await
    }

    /// Ends the log and whatever holds its files; says where its watchers were.
    async fn close(&mut self) -> Vec<(usize, Watched)> {
        let watchers = std::mem::take(&mut self.watchers);
        if let Some(log) = self.log.take() {
            log.shutdown().await;
        }
        watchers.into_iter().map(|(number, watcher)| (number, watcher.watched)).collect()
    }

    /// Goes on with what is in the directory, which must be all that was acknowledged; watchers resume where they were.
    async fn resume(&mut self, watched: Vec<(usize, Watched)>) -> Result<String, Fault> {
        let log = open(self.dir.path()).await?;
        let revision = log.barrier().await?;
        self.log = Some(log);
        if revision != self.model.revision() {
            let seen = format!("{revision} instead of {}", self.model.revision());
            return Ok(violated("what was acknowledged survives", seen)?);
        }
        let floors = RESOURCES.map(|resource| (resource.to_owned(), self.log().floor_of(resource)));
        if !self.model.remember(self.log().floor(), &floors.clone().into()) {
            return Ok(violated("a crash forgets no more than was forgotten", format!("{floors:?}"))?);
        }
        for (number, Watched { scope, told }) in watched {
            self.watch(number, scope, told)?;
        }
        Ok(format!("{revision}"))
    }

    fn log(&self) -> &Log {
        self.log.as_ref().expect("the log is open between steps")
    }

    async fn finish(mut self) -> Result<Outcome, Fault> {
        let numbers: Vec<_> = self.watchers.keys().copied().collect();
        for number in numbers {
            let told = self.follow(number, usize::MAX).await?;
            _ = writeln!(self.trace, "end {told}");
        }
        let scopes = RESOURCES.map(|resource| Scope { resource: resource.into(), namespace: None });
        for scope in &scopes {
            self.list(scope, None, usize::MAX)?;
        }
        self.log().wait_for(self.model.revision(), Duration::from_secs(60)).await?;
        let revision = self.log().revision();
        self.close().await;
        Ok(Outcome { seed: self.seed, revision, trace: self.trace })
    }
}

async fn open(dir: &Path) -> Result<Log, OpenError> {
    let retain = |age_ms: i64| Retain { bytes: u64::MAX, age: Duration::from_millis(age_ms.unsigned_abs()) };
    let history =
        HistoryLimits { normal: retain(AGES.normal_ms), short: retain(AGES.short_ms), ..HistoryLimits::default() };
    let config = LogConfig { history, ring_events: RING_EVENTS, clock_slack: Duration::MAX, ..LogConfig::new(dir) };
    let deadline = Instant::now() + LET_GO;
    loop {
        match Log::open(config.clone()).await {
            // What the former one did beside its work holds its files until it is done.
            Err(OpenError::Disk(DiskError::Locked { .. })) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            opened => return opened,
        }
    }
}

fn name(step: &Step) -> &'static str {
    match step {
        Step::Propose(_) => "propose",
        Step::Burst(_) => "burst",
        Step::Watch { .. } => "watch",
        Step::Follow { .. } => "follow",
        Step::List { .. } => "list",
        Step::Get { .. } => "get",
        Step::History { .. } => "history",
        Step::Compact { .. } => "compact",
        Step::Snapshot => "snapshot",
        Step::Restart => "restart",
        Step::Crash => "crash",
    }
}
