//! Imports that are killed at every stage: what is in the store afterwards is whole, and the rest is gone.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use kontiki_runtime::image::{ImageStore, ImportSource};

const LAYER_FILES: usize = 140;

/// A root filesystem whose content depends on the number: nothing is shared between imports.
fn rootfs(number: usize) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for file in 0..LAYER_FILES {
        let data = format!("{number} {file} ").repeat(400);
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        builder.append_data(&mut header, format!("d{}/f{file}", file % 7), data.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Not a test: what the tests below start and kill. Imports below the current directory until then.
#[tokio::test]
#[ignore = "the process that is killed"]
async fn importer() {
    let store = ImageStore::open("store").await.unwrap();
    // Bounded, should nobody come to kill it.
    for number in 0..2000 {
        let source = ImportSource::Stream(Box::pin(std::io::Cursor::new(rootfs(number))));
        store.import(Some(&format!("demo:{number}")), source).await.unwrap();
    }
}

fn start_importer(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "importer", "--ignored"])
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

type Reached = fn(&Path) -> bool;

/// How far an import has come when it is killed.
const STAGES: [(&str, Reached); 6] = [
    ("spooling", |store| {
        names(&store.join("tmp")).iter().any(|name| name.starts_with("work-") && !name.ends_with(".lock"))
    }),
    ("unpacking", |store| in_work(store, "layer-0-0/diff/d0")),
    ("unpacked", |store| in_work(store, "layer-0-0/layer.json")),
    ("layer in place", |store| !names(&store.join("layers")).is_empty()),
    ("image written", |store| !names(&store.join("images")).is_empty()),
    ("name written", |store| names(&store.join("names")).len() > 2),
];

fn in_work(store: &Path, path: &str) -> bool {
    names(&store.join("tmp")).iter().any(|work| store.join("tmp").join(work).join(path).exists())
}

#[tokio::test]
async fn killed_imports_leave_whole_images_only() {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED killed_imports_leave_whole_images_only: unpacking needs root");
        return;
    }
    for (stage, reached) in STAGES {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let mut importer = start_importer(dir.path());
        let deadline = Instant::now() + Duration::from_secs(60);
        while !reached(&path) {
            assert!(Instant::now() < deadline, "{stage} is never reached");
            assert_eq!(importer.try_wait().unwrap(), None, "the importer ended before {stage}");
        }
        importer.kill().unwrap();
        importer.wait().unwrap();

        let store = ImageStore::open(&path).await.unwrap();
        assert_eq!(names(&path.join("tmp")), Vec::<String>::new(), "{stage}");
        for image in store.list().await.unwrap() {
            let layers = store.layer_paths(&image);
            let files: usize = (0..7).map(|folder| names(&layers[0].join(format!("d{folder}"))).len()).sum();
            assert_eq!(files, LAYER_FILES, "{stage}");
            for name in &image.names {
                assert_eq!(store.resolve(name).await.unwrap().unwrap().id, image.id, "{stage}");
            }
        }
        // The import that was killed succeeds when it is done again, and gc finds nothing that it cannot remove.
        let source = ImportSource::Stream(Box::pin(std::io::Cursor::new(rootfs(0))));
        let image = store.import(Some("demo:0"), source).await.unwrap();
        assert_eq!(store.resolve("demo:0").await.unwrap(), Some(image), "{stage}");
        store.gc(&Default::default()).await.unwrap();
        let images = store.list().await.unwrap();
        assert_eq!(names(&path.join("layers")).len(), images.len(), "{stage}: a layer of no image is left");
    }
}
