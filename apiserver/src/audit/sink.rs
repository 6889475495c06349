//! From requests to the file: a bounded queue, and one thread that writes. A request never waits for it: what finds the queue full
//! is dropped and counted.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Instant,
};

use chrono::Utc;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::{
    event::Record,
    limits::{FLUSH_EVENTS, QUEUE_BYTES_MAX, QUEUE_EVENTS_MAX, REOPEN_INTERVAL},
    rotation::{RotatingFile, Rotation},
};

/// Where events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Stdout,
    File(PathBuf, Rotation),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PluginLabels {
    plugin: &'static str,
}

/// Under kube-apiserver's names.
#[derive(Clone)]
pub(crate) struct AuditMetrics {
    events: Counter,
    errors: Family<PluginLabels, Counter>,
}

pub(super) struct Sink {
    sender: SyncSender<Message>,
    /// Bytes of what clients sent and were answered in the queue.
    queued: Arc<AtomicUsize>,
    writer: Mutex<Option<JoinHandle<()>>>,
    metrics: AuditMetrics,
}

enum Message {
    Record(Box<Record>),
    Close,
}

impl AuditMetrics {
    pub fn new() -> Self {
        AuditMetrics { events: Counter::default(), errors: Family::default() }
    }

    pub fn register(&self, registry: &mut Registry) {
        registry.register("apiserver_audit_event", "Audit events made", self.events.clone());
        registry.register("apiserver_audit_error", "Audit events that were not written", self.errors.clone());
    }

    fn lost(&self, events: u64) {
        self.errors.get_or_create(&PluginLabels { plugin: "log" }).inc_by(events);
    }
}

impl Sink {
    /// Fails if the file cannot be opened now.
    pub fn open(target: Target, metrics: AuditMetrics) -> io::Result<Self> {
        let mut writer = Writer { output: None, target, tried: None, metrics: metrics.clone() };
        writer.reopen()?;
        let (sender, messages) = sync_channel(QUEUE_EVENTS_MAX);
        let queued = Arc::new(AtomicUsize::new(0));
        let counted = queued.clone();
        let thread = std::thread::Builder::new().name("audit".to_owned());
        let thread = thread.spawn(move || writer.run(&messages, &counted))?;
        Ok(Sink { sender, queued, writer: Mutex::new(Some(thread)), metrics })
    }

    pub fn put(&self, record: Record) {
        self.metrics.events.inc();
        let bytes = record.bytes();
        let fits = self.queued.fetch_add(bytes, Ordering::Relaxed) + bytes <= QUEUE_BYTES_MAX;
        if !fits || self.sender.try_send(Message::Record(Box::new(record))).is_err() {
            self.queued.fetch_sub(bytes, Ordering::Relaxed);
            self.metrics.lost(1);
        }
    }

    /// Writes what was put, and ends. Blocks.
    pub fn close(&self) {
        let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        // A writer that is gone has nothing left to write.
        if self.sender.send(Message::Close).is_ok() && writer.join().is_err() {
            tracing::error!("the audit's writer ended badly");
        }
    }
}

struct Writer {
    output: Option<Output>,
    target: Target,
    /// When the file was last opened, or could not be.
    tried: Option<Instant>,
    metrics: AuditMetrics,
}

enum Output {
    Stdout(io::Stdout),
    File(RotatingFile),
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>, queued: &AtomicUsize) {
        while let Ok(first) = messages.recv() {
            let mut open = true;
            let batch = std::iter::once(first).chain(messages.try_iter().take(FLUSH_EVENTS));
            let mut written = 0;
            for message in batch {
                let Message::Record(record) = message else {
                    open = false;
                    break;
                };
                queued.fetch_sub(record.bytes(), Ordering::Relaxed);
                let line = record.line();
                match self.write(&line) {
                    Ok(()) => written += 1,
                    Err(error) => self.failed(1, &error),
                }
            }
            if let Err(error) = self.flush() {
                self.failed(written, &error);
            }
            if !open {
                return;
            }
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.output.is_none() {
            if self.tried.is_some_and(|tried| tried.elapsed() < REOPEN_INTERVAL) {
                return Err(io::ErrorKind::NotConnected.into());
            }
            self.reopen()?;
        }
        match &mut self.output {
            Some(Output::Stdout(stdout)) => stdout.write_all(line),
            Some(Output::File(file)) => file.write(line, Utc::now()),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.output {
            Some(Output::Stdout(stdout)) => stdout.flush(),
            Some(Output::File(file)) => file.flush(),
            None => Ok(()),
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.tried = Some(Instant::now());
        self.output = Some(match &self.target {
            Target::Stdout => Output::Stdout(io::stdout()),
            Target::File(path, rotation) => Output::File(RotatingFile::open(path, *rotation)?),
        });
        Ok(())
    }

    /// The file is opened anew: its disk may have been full, or it was removed.
    fn failed(&mut self, events: u64, error: &io::Error) {
        if self.output.take().is_some() {
            tracing::error!(%error, "audit events are lost: the file cannot be written");
        }
        self.metrics.lost(events);
    }
}
