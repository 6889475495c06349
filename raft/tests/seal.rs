//! Bodies that are sealed: in every file, and in clear to whoever reads through the log with the key.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Arc, Mutex};

use kontiki_model::{Head, Key, Retention, Scope};
use kontiki_raft::backup::{Archive, Founding, Origin, Skip};
use kontiki_raft::{
    Author, Command, EventKind, ListOptions, Log, LogConfig, Member, Mutation, ProposeError, ReadError, SEALED, Seal,
    SealFault, Standing, Subject, Watch, WatchItem,
};

/// What no file may hold. Nothing in it repeats, so that compression leaves it as it is.
const CLEAR: &str = "Zq7!xV#2mK@9wLr$4tYb%8nPd^1sFg&6hJc*3";

/// Turns bytes around and notes the path and the name of the key. Its keys are names; the first seals.
struct Toy(Mutex<Vec<&'static str>>);

impl Toy {
    fn with(keys: &[&'static str]) -> Arc<Self> {
        Arc::new(Toy(Mutex::new(keys.to_vec())))
    }

    fn set(&self, keys: &[&'static str]) {
        *self.0.lock().unwrap() = keys.to_vec();
    }

    fn prefix(name: &str) -> Vec<u8> {
        format!("k8s:enc:toy:v1:{name}:").into_bytes()
    }

    fn names(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

fn turned(key: &Key, body: &[u8]) -> Vec<u8> {
    let mask = key.name.bytes().fold(0x5a_u8, |mask, byte| mask.wrapping_mul(31) ^ byte) | 0x80;
    body.iter().map(|byte| byte ^ mask).collect()
}

impl Seal for Toy {
    fn seal(&self, key: &Key, body: &[u8]) -> Result<Option<Vec<u8>>, SealFault> {
        if !self.covers(&key.resource) {
            return Ok(None);
        }
        let name = *self.names().first().ok_or_else(|| SealFault("no key".to_owned()))?;
        Ok(Some([Toy::prefix(name), turned(key, body)].concat()))
    }

    fn open(&self, key: &Key, sealed: &[u8]) -> Result<Vec<u8>, SealFault> {
        let data = self.names().into_iter().find_map(|name| sealed.strip_prefix(&*Toy::prefix(name)));
        Ok(turned(key, data.ok_or_else(|| SealFault("no such key".to_owned()))?))
    }

    fn standing(&self, key: &Key, stored: &[u8]) -> Standing {
        let of = |name: &&'static str| stored.starts_with(&Toy::prefix(name));
        match self.names() {
            names if names.first().is_some_and(of) => Standing::Current,
            names if stored.starts_with(SEALED) && !names.iter().any(of) => Standing::Unopenable,
            _ if !stored.starts_with(SEALED) && !self.covers(&key.resource) => Standing::Current,
            _ => Standing::Outdated,
        }
    }

    fn covers(&self, resource: &str) -> bool {
        resource == "secrets"
    }
}

fn key(resource: &str, name: &str) -> Key {
    Key::new(resource, "default", name)
}

fn scope(resource: &str) -> Scope {
    Scope { resource: resource.into(), namespace: None }
}

fn put(resource: &str, name: &str, body: &str) -> Mutation {
    let retention = if resource == "secrets" { Retention::Sensitive } else { Retention::Normal };
    let head = Head { uid: name.into(), retention, ..Head::default() };
    Mutation::Put { key: key(resource, name), head, body: body.into() }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

async fn write(log: &Log, mutations: Vec<Mutation>) -> u64 {
    let command = Command { mutations, time_ms: now_ms(), ..Command::default() };
    log.propose(command).await.unwrap().events.last().unwrap().revision()
}

async fn open(dir: &Path, seal: Option<Arc<Toy>>) -> Log {
    let seal = seal.map(|seal| seal as Arc<dyn Seal>);
    Log::open(LogConfig { seal, ..LogConfig::new(dir) }).await.unwrap()
}

fn text(body: &[u8]) -> String {
    String::from_utf8(body.to_vec()).unwrap()
}

fn get(log: &Log, name: &str) -> Result<Option<String>, ReadError> {
    Ok(log.get(&key("secrets", name))?.map(|stored| text(&stored.body)))
}

fn list(log: &Log, at: Option<u64>) -> Result<Vec<String>, ReadError> {
    let page = log.list(&scope("secrets"), ListOptions { at, ..ListOptions::default() })?;
    Ok(page.items.iter().map(|stored| format!("{}={}", stored.key.name, text(&stored.body))).collect())
}

/// The next event as `name=body<previous body`.
async fn next(watch: &mut Watch) -> Result<String, ReadError> {
    loop {
        if let WatchItem::Event(event) = watch.next().await? {
            let previous = event.previous.as_ref().map(|stored| text(&stored.body)).unwrap_or_default();
            return Ok(format!("{}={}<{previous}", event.object.key.name, text(&event.object.body)));
        }
    }
}

/// Whether some file below a directory holds a text.
fn found(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() { found(&path, text) } else { holds(&std::fs::read(&path).unwrap_or_default(), text) }
    })
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn unopened(result: Result<impl std::fmt::Debug, ReadError>) -> String {
    match result {
        Err(ReadError::Sealed(unopened)) => unopened.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_sealed_lies_in_no_file_and_is_told_in_clear() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), Some(Toy::with(&["a"]))).await;
    let (first, second) = (format!("1{CLEAR}"), format!("2{CLEAR}"));
    let mut watch = log.watch(scope("secrets"), 0).unwrap();
    let created = write(&log, vec![put("secrets", "s", &first), put("configmaps", "c", "open")]).await - 1;
    let updated = write(&log, vec![put("secrets", "s", &second)]).await;
    let gone = write(&log, vec![put("secrets", "gone", &first)]).await;
    let last = Some((Head::default(), second.clone().into_bytes()));
    write(&log, vec![Mutation::Delete { key: key("secrets", "gone"), last }]).await;
    log.snapshot().await.unwrap();

    assert_eq!(get(&log, "s").unwrap().as_ref(), Some(&second));
    assert_eq!(list(&log, None).unwrap(), [format!("s={second}")]);
    assert_eq!(list(&log, Some(created)).unwrap(), [format!("s={first}")]);
    assert_eq!(text(&log.get_at(&key("secrets", "s"), created).unwrap().unwrap().body), first);
    let told = [
        format!("s={first}<"),
        format!("s={second}<{first}"),
        format!("gone={first}<"),
        format!("gone={second}<{first}"),
    ];
    for expected in &told {
        assert_eq!(next(&mut watch).await.unwrap(), *expected);
    }
    let event = log.event(updated).unwrap();
    assert_eq!((text(&event.object.body), event.object.is_sealed()), (second.clone(), false));
    let history = log.history(&key("secrets", "gone"), None, 10).unwrap();
    let bodies: Vec<_> = history.iter().map(|event| (event.kind, text(&event.object.body))).collect();
    assert_eq!(bodies, [(EventKind::Deleted, second.clone()), (EventKind::Created, first.clone())]);
    let (recent, _) = log.recent(&Subject::Everything, 0).unwrap();
    assert_eq!(recent.iter().filter(|event| event.object.is_sealed()).count(), 0);

    let backup = log.backup(Origin { cluster: "c".into(), server: "s".into(), program: "t".into(), taken_ms: 1 }).await;
    let backup: Vec<u8> = backup.unwrap().pieces().map(|piece| piece.unwrap()).collect::<Vec<_>>().concat();
    assert!(holds(&backup, "open") && !holds(&backup, CLEAR));
    let archive = log.open_backup(&*backup).unwrap();
    assert_eq!(text(&archive.get_at(&key("secrets", "gone"), gone).unwrap().unwrap().body), first);
    let keyless = Archive::unpack(&*backup, &dir.path().join("unpacked")).unwrap();
    assert_eq!(keyless.header().objects["secrets"], 1, "what is in it is told without a key");
    unopened(keyless.get_at(&key("secrets", "s"), updated));
    drop((archive, keyless, watch));
    log.shutdown().await;
    drop(log);
    assert!(found(dir.path(), "open") && !found(dir.path(), CLEAR));

    // From the disk, after a restart: a watch from the beginning, and the past.
    let log = open(dir.path(), Some(Toy::with(&["a"]))).await;
    let mut watch = log.watch(scope("secrets"), 0).unwrap();
    for expected in &told {
        assert_eq!(next(&mut watch).await.unwrap(), *expected);
    }
    // A cluster that is founded on the backup has the same, with the same key.
    let founded = tempfile::tempdir().unwrap();
    let founding = Founding { member: Member::default(), to: None, skip: Skip::Revisions(10) };
    let note =
        |_: &_| Command { author: Author::default(), mutations: vec![put("records", "r", "{}")], ..Command::default() };
    founding.from_backup(&*backup, &founded.path().join("log"), note).unwrap();
    assert!(!found(founded.path(), CLEAR));
    let log = open(&founded.path().join("log"), Some(Toy::with(&["a"]))).await;
    assert_eq!(get(&log, "s").unwrap(), Some(second));
}

#[tokio::test]
async fn without_its_key_one_object_is_told_to_be_missing_it_and_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let toy = Toy::with(&["a"]);
    let log = open(dir.path(), Some(toy.clone())).await;
    write(&log, vec![put("secrets", "s", "one"), put("configmaps", "c", "open")]).await;
    toy.set(&["b"]);
    let lost = "secrets default/s cannot be read: no such key";
    assert_eq!(unopened(get(&log, "s")), lost);
    write(&log, vec![put("secrets", "t", "two")]).await;
    assert_eq!(get(&log, "t").unwrap(), Some("two".to_owned()));
    assert_eq!(unopened(list(&log, None)), lost, "a list says which");
    assert!(log.get(&key("configmaps", "c")).unwrap().is_some());
    let mut watch = log.watch(scope("secrets"), 0).unwrap();
    assert_eq!(next(&mut watch).await.unwrap(), "s=one<", "what was opened while the key was there is in memory");
    let history = log.history(&key("secrets", "s"), None, 10).unwrap();
    assert!(history[0].object.is_sealed() && history[0].author == Arc::default(), "who did it is told");
    let census = log.seal_census().await.unwrap();
    assert_eq!((census.current, census.outdated, census.unopenable.count()), (1, 0, 1));
    log.shutdown().await;
    drop((watch, log));

    let log = open(dir.path(), Some(toy.clone())).await;
    let mut watch = log.watch(scope("secrets"), 0).unwrap();
    assert_eq!(unopened(next(&mut watch).await), lost);
    toy.set(&["b", "a"]);
    assert_eq!(next(&mut watch).await.unwrap(), "s=one<", "with the key it goes on where it stopped");
    assert_eq!(next(&mut watch).await.unwrap(), "t=two<");
    assert_eq!(list(&log, None).unwrap(), ["s=one", "t=two"]);
    log.shutdown().await;
    drop((watch, log));

    let log = open(dir.path(), None).await;
    assert!(unopened(get(&log, "s")).contains("no encryption configuration"));
    assert_eq!(log.seal_census().await.unwrap().unopenable.count(), 2);
    // What is not read can be removed; the answer tells what is known of it.
    let delete = Mutation::Delete { key: key("secrets", "s"), last: None };
    let applied = log.propose(Command { mutations: vec![delete], ..Command::default() }).await.unwrap();
    assert!(applied.events[0].object.is_sealed());
    assert!(log.recent(&scope("secrets").into(), log.revision() - 1).is_none());
}

#[tokio::test]
async fn with_another_first_key_what_was_sealed_before_is_old_until_it_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), None).await;
    let clear = write(&log, vec![put("secrets", "s", "one"), put("configmaps", "c", "open")]).await - 1;
    assert!(log.is_sealed_as_today(&key("secrets", "s"), clear).unwrap());
    log.shutdown().await;
    drop(log);

    let toy = Toy::with(&["a"]);
    let log = open(dir.path(), Some(toy.clone())).await;
    assert_eq!(get(&log, "s").unwrap(), Some("one".to_owned()));
    assert!(!log.is_sealed_as_today(&key("secrets", "s"), clear).unwrap());
    assert!(log.is_sealed_as_today(&key("configmaps", "c"), clear + 1).unwrap());
    let by_a = write(&log, vec![put("secrets", "s", "one"), put("secrets", "t", "two")]).await - 1;
    assert!(log.is_sealed_as_today(&key("secrets", "s"), by_a).unwrap());
    toy.set(&["b", "a"]);
    assert!(!log.is_sealed_as_today(&key("secrets", "s"), by_a).unwrap());
    write(&log, vec![put("secrets", "s", "one")]).await;
    let census = log.seal_census().await.unwrap();
    assert_eq!((census.current, census.outdated, census.unopenable.count()), (1, 1, 0));
    toy.set(&["b"]);
    assert_eq!(get(&log, "s").unwrap(), Some("one".to_owned()));
}

#[tokio::test]
async fn what_cannot_be_sealed_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), Some(Toy::with(&[]))).await;
    let mutations = vec![put("configmaps", "c", "open"), put("secrets", "s", CLEAR)];
    let refused = log.propose(Command { mutations, ..Command::default() }).await;
    assert!(matches!(refused, Err(ProposeError::Seal(_))), "{refused:?}");
    assert_eq!((log.revision(), get(&log, "s").unwrap()), (0, None));
    log.shutdown().await;
    assert!(!found(dir.path(), CLEAR));
}
