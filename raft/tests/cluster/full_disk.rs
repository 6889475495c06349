//! One of three servers has a full disk: the others go on, and it catches up by itself. Small file systems in a mount namespace
//! of the test's own.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use kontiki_raft::{Log, ProposeError, Role, Start};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::harness::{Net, PATIENCE, member, open_log, put, state, until};

const NAMES: [&str; 3] = ["a", "b", "c"];

fn fill(dir: &Path) {
    let (mut file, zeros) = (File::create(dir.join("filler")).unwrap(), vec![0; 1 << 20]);
    for size in [1 << 20, 1 << 12, 1] {
        let full = loop {
            if let Err(error) = file.write_all(&zeros[..size]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull);
    }
}

async fn write(log: &Log, name: &str) {
    let deadline = Instant::now() + PATIENCE;
    for number in 0..200 {
        // Until leadership has moved, the leader refuses: then nothing was done, and it is asked again.
        while let Err(error) = log.propose(put(name, &number.to_string())).await {
            assert!(matches!(error, ProposeError::DiskFull(_)) && Instant::now() < deadline, "{error}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn caught_up(log: &Log, with: &Log) {
    until("the same state", || (state(log) == state(with)).then_some(())).await;
}

/// Three servers, each on a small disk of its own.
async fn servers(root: &Path, net: &Net, mib: usize) -> Vec<Log> {
    let mut logs = Vec::new();
    for name in NAMES {
        let dir = root.join(name);
        fs::create_dir(&dir).unwrap();
        let size = format!("size={mib}m");
        mount(Some("tmpfs"), &dir, Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).unwrap();
        let start = if name == "a" { Start::Alone } else { Start::Join };
        let log = open_log(net, &dir.join("log"), name, start, 50_000).await;
        if name != "a" {
            let first: &Log = &logs[0];
            first.add_member(log.node_id(), member(name)).await.unwrap();
        }
        logs.push(log);
    }
    logs
}

/// The disks are filled by what is written: at no time is more taken than gets to the disk, so another leader can apply what it must
/// before it is read from.
async fn disks_that_fill_up(root: &Path) {
    let net = Net::default();
    let mut logs = servers(root, &net, 140).await;
    for name in NAMES {
        fs::write(root.join(name).join("filler"), vec![0; 24 << 20]).unwrap();
    }
    // Nothing that a disk's compression would make small.
    let body = |number: usize| {
        let mut sum = number as u64;
        let letters = (0..400_000).map(|_| {
            sum = sum.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'!' + (sum >> 58) as u8)
        });
        letters.collect::<String>()
    };
    let mut taken = 0;
    let refused = loop {
        assert!(taken < 400, "more than the disks hold");
        match logs[taken % 3].propose(put(&format!("large-{taken}"), &body(taken))).await {
            Ok(_) => taken += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, ProposeError::DiskFull(_)), "{refused}");
    assert!(taken > 30, "{taken} are taken");
    let leader = until("a leader", || logs.iter().position(|log| log.status().role == Role::Leader)).await;
    let former = logs.remove(leader);
    former.abort().await;
    drop(former);
    for log in &logs {
        let read = tokio::time::timeout(PATIENCE, log.barrier()).await.expect("reads go on");
        assert!(read.unwrap() >= taken as u64);
    }
    NAMES.iter().for_each(|name| fs::remove_file(root.join(name).join("filler")).unwrap());
    write(&logs[0], "with room again").await;
    for log in &logs {
        assert_eq!(log.status().failure, None);
        log.shutdown().await;
    }
}

async fn one_full_disk_after_another(root: &Path) {
    let net = Net::default();
    let logs = servers(root, &net, 192).await;
    write(&logs[1], "before").await;
    let leader = until("a leader", || logs.iter().position(|log| log.status().role == Role::Leader)).await;
    let other = &logs[(leader + 1) % 3];

    fill(&root.join(NAMES[leader]));
    until("another leader", || {
        logs.iter().position(|log| log.status().role == Role::Leader).filter(|now| *now != leader)
    })
    .await;
    write(other, "without the former leader").await;
    assert!(logs[leader].status().shortage.is_some());
    write(&logs[leader], "through the server with the full disk").await;
    assert!(!state(&logs[leader]).is_empty(), "what it has can be read");
    fs::remove_file(root.join(NAMES[leader]).join("filler")).unwrap();
    caught_up(&logs[leader], other).await;

    let leader = until("a leader", || logs.iter().position(|log| log.status().role == Role::Leader)).await;
    let (full, third) = ((leader + 1) % 3, (leader + 2) % 3);
    fill(&root.join(NAMES[full]));
    write(&logs[third], "without a follower").await;
    assert_eq!(
        logs.iter().position(|log| log.status().role == Role::Leader),
        Some(leader),
        "a follower's disk moves no leader"
    );
    fs::remove_file(root.join(NAMES[full]).join("filler")).unwrap();
    caught_up(&logs[full], &logs[third]).await;
    without_a_majority_with_room(root, &logs, leader).await;
    for log in &logs {
        assert_eq!(log.status().failure, None);
        log.shutdown().await;
    }
}

/// Both followers' disks are full: the leader refuses writes before anybody's fate is in doubt, and takes them again by itself.
async fn without_a_majority_with_room(root: &Path, logs: &[Log], leader: usize) {
    let full = [(leader + 1) % 3, (leader + 2) % 3];
    full.iter().for_each(|server| fill(&root.join(NAMES[*server])));
    let refused = async |log: &Log, name: &str| match log.propose(put(name, "refused?")).await {
        Ok(_) => None,
        Err(ProposeError::DiskFull(shortage)) => Some(shortage),
        Err(other) => panic!("{other:?}"),
    };
    let deadline = Instant::now() + PATIENCE;
    let shortage = loop {
        if let Some(shortage) = refused(&logs[leader], "before it is known").await {
            break shortage;
        }
        assert!(Instant::now() < deadline, "the leader takes writes that no majority has room for");
    };
    assert!(full.iter().any(|server| shortage.dir.starts_with(&format!("{}:/", NAMES[*server]))), "{shortage}");
    for log in logs {
        assert!(refused(log, "afterwards").await.is_some());
        log.barrier().await.unwrap();
    }
    assert_eq!(logs[leader].status().shortage, None, "its own disk has room");
    fs::remove_file(root.join(NAMES[full[0]]).join("filler")).unwrap();
    write(&logs[full[0]], "with one of them").await;
    fs::remove_file(root.join(NAMES[full[1]]).join("filler")).unwrap();
    caught_up(&logs[full[1]], &logs[leader]).await;
}

fn on_small_disks(test: impl AsyncFnOnce(&Path) + Send + 'static) {
    let run = || {
        let dir = tempfile::tempdir().unwrap();
        if !nix::unistd::geteuid().is_root() || unshare(CloneFlags::CLONE_NEWNS).is_err() {
            return eprintln!("not run: it takes root to mount small file systems");
        }
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(test(dir.path()));
        drop(runtime);
        NAMES.iter().for_each(|name| umount2(&dir.path().join(name), MntFlags::MNT_DETACH).unwrap());
    };
    std::thread::spawn(run).join().unwrap();
}

#[test]
fn a_full_disk_moves_leadership_and_hurts_nobody_else() {
    on_small_disks(one_full_disk_after_another);
}

#[test]
fn reads_go_on_when_all_disks_have_filled_up() {
    on_small_disks(disks_that_fill_up);
}
