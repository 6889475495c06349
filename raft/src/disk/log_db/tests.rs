#![allow(clippy::unwrap_used)]
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

const SMALL: Sizes = Sizes { segment: 2_000, ahead: 300 };
const MARKS: [&str; 2] = ["vote", "purged"];

/// What a log holds, kept in memory.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    entries: BTreeMap<u64, Vec<u8>>,
    marks: BTreeMap<&'static str, Vec<u8>>,
}

impl Model {
    fn apply(&mut self, op: &LogOp) {
        match op {
            LogOp::Entry(index, frame) => {
                self.entries.split_off(index);
                self.entries.insert(*index, frame.clone());
            }
            LogOp::Mark(name, frame) => _ = self.marks.insert(name, frame.clone()),
            LogOp::TruncateFrom(index) => _ = self.entries.split_off(index),
            LogOp::PurgeTo(index) => self.entries = self.entries.split_off(&(index + 1)),
        }
    }

    fn of(db: &LogDb) -> Model {
        let mut model = Model::default();
        let mut from = 0;
        loop {
            let read = db.read(from..u64::MAX).unwrap();
            let Some((last, _)) = read.last() else { break };
            from = last + 1;
            model.entries.extend(read);
        }
        assert_eq!(db.last().unwrap(), model.entries.last_key_value().map(|(index, frame)| (*index, frame.clone())));
        for name in MARKS {
            model.marks.extend(db.mark(name).unwrap().map(|frame| (name, frame)));
        }
        model
    }

    fn next(&self) -> u64 {
        self.entries.last_key_value().map_or(0, |(index, _)| index + 1)
    }
}

fn frame(random: &mut StdRng) -> Vec<u8> {
    let length = if random.random_ratio(1, 50) { 3_000 } else { random.random_range(0..120) };
    (0..length).map(|_| random.random()).collect()
}

/// What Raft asks of a log, in some order.
fn ops(random: &mut StdRng, model: &Model) -> Vec<LogOp> {
    let next = model.next();
    match random.random_range(0..20) {
        0 => vec![LogOp::TruncateFrom(next.saturating_sub(random.random_range(0..5)))],
        1 | 2 => {
            let to = next.saturating_sub(random.random_range(1..30));
            vec![LogOp::PurgeTo(to), LogOp::Mark("purged", to.to_le_bytes().to_vec())]
        }
        3 => vec![LogOp::Mark("vote", frame(random))],
        // As after a snapshot of the leader's.
        4 if random.random_ratio(1, 5) => {
            let ahead = next + random.random_range(0..100);
            vec![LogOp::TruncateFrom(0), LogOp::Entry(ahead, frame(random))]
        }
        _ => (next..next + random.random_range(1..4)).map(|index| LogOp::Entry(index, frame(random))).collect(),
    }
}

/// One of some frames that is in a file.
fn found_in_files<'a>(dir: &Path, frames: &'a [Vec<u8>]) -> Option<&'a Vec<u8>> {
    let files: Vec<_> = names(dir).unwrap().iter().map(|name| std::fs::read(dir.join(name)).unwrap()).collect();
    let is_in = |file: &Vec<u8>, frame: &Vec<u8>| file.windows(frame.len()).any(|part| part == frame);
    frames.iter().find(|frame| files.iter().any(|file| is_in(file, frame)))
}

fn segments(dir: &Path) -> Vec<u64> {
    numbers(dir).unwrap()
}

#[test]
fn it_holds_what_was_written_whatever_is_cut_short_reopened_and_rewritten() {
    for seed in 0..10 {
        let random = &mut StdRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let mut db = LogDb::open_sized(dir.path(), SMALL).unwrap();
        let (mut model, mut synced) = (Model::default(), Model::default());
        let mut frames = Vec::new();
        let mut since = Vec::new();
        for _ in 0..300 {
            let written = ops(random, &model);
            db.write(&written).unwrap();
            for op in &written {
                if let LogOp::Entry(_, frame) = op {
                    frames.push(frame.clone());
                }
                model.apply(op);
                since.push(model.clone());
            }
            match random.random_range(0..12) {
                0..=5 => {
                    db.sync().unwrap();
                    (synced, since) = (model.clone(), Vec::new());
                }
                6 => {
                    db.rewrite().unwrap();
                    (synced, since) = (model.clone(), Vec::new());
                    let left: Vec<_> = frames.drain(..).filter(|frame| frame.len() > 20).collect();
                    let (left, gone) =
                        left.into_iter().partition(|frame| model.entries.values().any(|one| one == frame));
                    frames = left;
                    assert_eq!(found_in_files(dir.path(), &gone), None, "seed {seed}");
                }
                8 => {
                    // What was not synced may be gone, and is written again by whoever knows it.
                    db.reopen().unwrap();
                    model = Model::of(&db);
                    assert!(model == synced || since.contains(&model), "seed {seed}");
                    (synced, since) = (model.clone(), Vec::new());
                }
                7 => {
                    // As a machine that stops leaves it: what was not synced is there up to some write, or is not.
                    drop(db);
                    let seen = Model::of(&LogDb::open_to_read(dir.path()).unwrap());
                    db = LogDb::open_sized(dir.path(), SMALL).unwrap();
                    model = Model::of(&db);
                    assert_eq!(seen, model, "seed {seed}");
                    assert!(model == synced || since.contains(&model), "seed {seed}");
                    since.clear();
                    synced = model.clone();
                }
                _ => {}
            }
            assert_eq!(Model::of(&db), model, "seed {seed}");
            if since.is_empty() {
                // What is in memory is what is read from the files.
                let read = LogDb::over(dir.path(), SMALL, None, State::load(dir.path(), false).unwrap()).unwrap();
                assert_eq!(Model::of(&read), model, "seed {seed}");
            }
        }
        assert!(segments(dir.path())[0] > 5, "segments come and go: {:?}", segments(dir.path()));
    }
}

/// A log of a few segments: entries from 0 on, synced one by one.
fn some(dir: &Path, entries: u64) {
    let db = LogDb::open_sized(dir, SMALL).unwrap();
    for index in 0..entries {
        db.write(&[LogOp::Entry(index, vec![index as u8; 100]), LogOp::Mark("vote", vec![index as u8])]).unwrap();
        db.sync().unwrap();
    }
}

fn damaged(dir: &Path) -> String {
    let message = |opened: Result<LogDb, DiskError>| match opened {
        Err(DiskError::Damaged { message, .. }) => message,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was opened"),
    };
    assert_eq!(message(LogDb::open(dir)), message(LogDb::open_to_read(dir)));
    message(LogDb::open(dir))
}

fn left(dir: &Path) -> usize {
    Model::of(&LogDb::open_what_is_left(dir).unwrap()).entries.len()
}

#[test]
fn a_damaged_segment_is_told_and_what_lies_before_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    some(dir.path(), 40);
    let all = segments(dir.path());
    assert!(all.len() >= 3, "{all:?}");
    let files: Vec<_> = all.iter().map(|number| segment::path(dir.path(), *number)).collect();
    let whole: Vec<_> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();

    let mut bytes = whole[1].clone();
    bytes[700] ^= 1;
    std::fs::write(&files[1], &bytes).unwrap();
    assert!(damaged(dir.path()).starts_with("segment 2: what is at byte "), "{}", damaged(dir.path()));
    assert!((12..20).contains(&left(dir.path())), "{}", left(dir.path()));
    std::fs::write(&files[1], &whole[1][..700]).unwrap();
    assert!(damaged(dir.path()).starts_with("segment 2 ends early"), "{}", damaged(dir.path()));
    std::fs::remove_file(&files[1]).unwrap();
    assert_eq!(damaged(dir.path()), "segment 2 is missing");
    std::fs::write(&files[1], &whole[1]).unwrap();
    std::fs::remove_file(&files[0]).unwrap();
    assert_eq!(damaged(dir.path()), "segment 1 is missing");
    assert_eq!(left(dir.path()), 0);
    std::fs::write(&files[0], &whole[0]).unwrap();
    assert_eq!(left(dir.path()), 40);
    assert_eq!(segments(dir.path()), all, "looking changes nothing");
}

#[test]
fn a_segment_that_was_sealed_or_dropped_when_the_machine_stopped_is_gone_on_from() {
    let dir = tempfile::tempdir().unwrap();
    some(dir.path(), 40);
    let all = segments(dir.path());
    let (newest, last) = (*all.last().unwrap(), segment::path(dir.path(), *all.last().unwrap()));
    // It was sealed, and the next one never came: what was in that is not synced in this story.
    std::fs::rename(&last, last.with_added_extension(DRAFT)).unwrap();
    let db = LogDb::open_sized(dir.path(), SMALL).unwrap();
    let next = Model::of(&db).next();
    db.write(&[LogOp::Entry(next, vec![1])]).unwrap();
    db.sync().unwrap();
    assert!(last.exists() && !last.with_added_extension(DRAFT).exists());
    // What said so is durable, and the files are still there.
    let first = segment::path(dir.path(), all[0]);
    let kept = std::fs::read(&first).unwrap();
    db.write(&[LogOp::PurgeTo(next)]).unwrap();
    db.sync().unwrap();
    assert_eq!(segments(dir.path()), [newest]);
    drop(db);
    std::fs::write(&first, kept).unwrap();
    let db = LogDb::open_sized(dir.path(), SMALL).unwrap();
    assert_eq!(Model::of(&db).entries.len(), 0);
    db.write(&[LogOp::Mark("vote", vec![7])]).unwrap();
    assert_eq!(segments(dir.path()), [newest]);
}

#[test]
fn what_was_torn_is_overwritten_and_never_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    some(dir.path(), 3);
    let file = segment::path(dir.path(), 1);
    let synced = std::fs::read(&file).unwrap();
    let db = LogDb::open_sized(dir.path(), SMALL).unwrap();
    for index in 3..6 {
        db.write(&[LogOp::Entry(index, vec![9; 40])]).unwrap();
    }
    db.sync().unwrap();
    drop(db);
    // The first of the three never reached the disk, the others did: none was known to be durable.
    let mut torn = std::fs::read(&file).unwrap();
    let end = synced.iter().rposition(|byte| *byte != 0).unwrap().next_multiple_of(8);
    torn[end..end + 40].fill(0);
    std::fs::write(&file, &torn).unwrap();
    let db = LogDb::open_sized(dir.path(), SMALL).unwrap();
    assert_eq!(Model::of(&db).next(), 3);
    // As long as the one that was lost: what follows must not be the next of the old ones.
    db.write(&[LogOp::Entry(3, vec![8; 40])]).unwrap();
    db.sync().unwrap();
    drop(db);
    assert_eq!(Model::of(&LogDb::open(dir.path()).unwrap()).next(), 4);
}

#[test]
fn a_sync_that_failed_is_never_followed_by_one_that_did_not() {
    let dir = tempfile::tempdir().unwrap();
    let db = LogDb::open(dir.path()).unwrap();
    db.write(&[LogOp::Entry(0, vec![1])]).unwrap();
    let failed = db.state().settle(Err(io::ErrorKind::StorageFull.into()));
    assert!(failed.is_err_and(|error| !error.is_full()));
    let refused = [db.write(&[LogOp::Entry(1, vec![1])]), db.sync(), db.reopen(), db.rewrite()];
    assert!(refused.iter().all(Result::is_err), "{refused:?}");
}

#[test]
fn a_segment_without_its_first_record_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    some(dir.path(), 40);
    let newest = segment::path(dir.path(), *segments(dir.path()).last().unwrap());
    let mut bytes = std::fs::read(&newest).unwrap();
    bytes[PREFIX_BYTES + 20] ^= 1;
    bytes.truncate(PREFIX_BYTES + 60);
    std::fs::write(&newest, bytes).unwrap();
    assert!(damaged(dir.path()).contains("cannot be read"), "{}", damaged(dir.path()));
}

#[test]
fn one_process_writes_and_a_gap_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let db = LogDb::open(dir.path()).unwrap();
    assert!(matches!(LogDb::open(dir.path()), Err(DiskError::Locked { .. })));
    db.write(&[LogOp::Entry(4, vec![1])]).unwrap();
    let refused = db.write(&[LogOp::Entry(6, vec![1])]).unwrap_err();
    assert_eq!(refused.to_string(), "a part of the log (entry 6 follows entry 4) is missing");
    assert!(db.write(&[LogOp::Entry(5, vec![1])]).is_err() && db.sync().is_err() && db.rewrite().is_err());
    drop(db);
    assert_eq!(Model::of(&LogDb::open(dir.path()).unwrap()), Model::default(), "nothing of it gets to the disk");
    let former = tempfile::tempdir().unwrap();
    std::fs::write(former.path().join(FORMER), "MANIFEST-000001").unwrap();
    assert!(damaged(former.path()).contains("before the first release"));
}
