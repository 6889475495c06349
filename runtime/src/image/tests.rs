//! The store with archives made here; real tools and a real registry are in `runtime/tests`.
#![allow(clippy::unwrap_used)]

use std::{collections::HashSet, fs, io::Write, path::Path};

use serde_json::{Value, json};
use tar::{Builder, Header};

use super::{records::Records, *};

fn root_only(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("SKIPPED {test}: unpacking needs root");
    }
    root
}

fn tarball(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, data) in files {
        let mut header = Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        builder.append_data(&mut header, path, *data).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let machine = super::config::Platform::machine();
    json!({"architecture": machine.architecture, "os": "linux", "config": {"Cmd": ["/bin/app"], "Env": ["A=1"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}})
    .to_string()
    .into_bytes()
}

fn docker_archive(images: &[(&[&str], &[&[u8]])]) -> Vec<u8> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut manifest = Vec::new();
    for (tags, layers) in images {
        let config = config(layers);
        let config_path = format!("{}.json", Digest::of(&config).hex());
        let mut paths = Vec::new();
        for layer in *layers {
            paths.push(format!("{}/layer.tar", Digest::of(layer).hex()));
            files.push((paths.last().unwrap().clone(), layer.to_vec()));
        }
        files.push((config_path.clone(), config));
        manifest.push(json!({"Config": config_path, "RepoTags": tags, "Layers": paths}));
    }
    files.push(("manifest.json".into(), Value::from(manifest).to_string().into_bytes()));
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, data)| (path.as_str(), data.as_slice())).collect();
    tarball(&files)
}

/// Members of an OCI layout with one image, its layers compressed.
fn oci_layout(layers: &[&[u8]], name: Option<&str>) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())];
    let mut put = |data: Vec<u8>| {
        let digest = Digest::of(&data);
        let descriptor = json!({"digest": digest, "size": data.len(), "mediaType": ""});
        files.push((format!("blobs/sha256/{}", digest.hex()), data));
        descriptor
    };
    let config = put(config(layers));
    let layers: Vec<Value> = layers.iter().map(|layer| put(gzip(layer))).collect();
    let mut manifest = put(json!({"schemaVersion": 2, "config": config, "layers": layers}).to_string().into_bytes());
    if let Some(name) = name {
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    }
    files.push(("index.json".into(), json!({"schemaVersion": 2, "manifests": [manifest]}).to_string().into_bytes()));
    files
}

fn as_tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, data)| (path.as_str(), data.as_slice())).collect();
    tarball(&files)
}

struct Fixture {
    dir: tempfile::TempDir,
    store: ImageStore,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = ImageStore::open(dir.path().join("store")).await.unwrap();
        Self { dir, store }
    }

    async fn import(&self, name: Option<&str>, data: &[u8]) -> Result<ImageInfo, ImageError> {
        let path = self.dir.path().join("archive");
        fs::write(&path, data).unwrap();
        let result = self.store.import(name, ImportSource::Path(path)).await;
        assert_eq!(self.entries("tmp"), 0, "work is cleaned up");
        result
    }

    async fn refused(&self, name: Option<&str>, data: &[u8]) -> String {
        let shown = self.import(name, data).await.unwrap_err().to_string();
        assert_eq!((self.entries("images"), self.entries("names"), self.entries("layers")), (0, 0, 0));
        shown.replace(&self.dir.path().display().to_string(), "DIR")
    }

    fn entries(&self, folder: &str) -> usize {
        fs::read_dir(self.root().join(folder)).unwrap().count()
    }

    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("store")
    }

    fn read(&self, image: &ImageInfo, layer: usize, path: &str) -> String {
        fs::read_to_string(self.store.layer_paths(image)[layer].join(path)).unwrap()
    }
}

#[tokio::test]
async fn a_root_filesystem_in_every_wrapping_is_the_same_image() {
    if !root_only("a_root_filesystem_in_every_wrapping_is_the_same_image") {
        return;
    }
    let fixture = Fixture::new().await;
    let rootfs = tarball(&[("bin/app", b"#!"), ("manifest.json", b"{\"not\": \"docker's\"}")]);
    let mut ids = HashSet::new();
    for data in [rootfs.clone(), gzip(&rootfs), zstd::stream::encode_all(&rootfs[..], 1).unwrap()] {
        let image = fixture.import(Some("demo:1"), &data).await.unwrap();
        assert_eq!(image.names, ["docker.io/library/demo:1"]);
        assert_eq!(fixture.read(&image, 0, "bin/app"), "#!");
        ids.insert(image.id);
    }
    assert_eq!(ids.len(), 1);
    let found = fixture.store.resolve("library/demo:1").await.unwrap().unwrap();
    assert_eq!(fixture.store.resolve(found.id.as_str()).await.unwrap().unwrap(), found);
    assert_eq!(fixture.store.resolve(found.id.hex()).await.unwrap().unwrap(), found);
    assert_eq!(fixture.store.resolve("demo:2").await.unwrap(), None);
    assert_eq!(fixture.store.list().await.unwrap(), [found]);

    let stream = ImportSource::Stream(Box::pin(std::io::Cursor::new(gzip(&rootfs))));
    assert!(ids.contains(&fixture.store.import(Some("demo:2"), stream).await.unwrap().id));
}

#[tokio::test]
async fn a_docker_archive_brings_its_tags() {
    if !root_only("a_docker_archive_brings_its_tags") {
        return;
    }
    let fixture = Fixture::new().await;
    let (lower, upper) = (tarball(&[("a", b"1")]), tarball(&[("a", b"2")]));
    let data = docker_archive(&[(&["demo:1", "demo:latest"], &[&lower, &upper])]);
    let image = fixture.import(None, &gzip(&data)).await.unwrap();
    assert_eq!(image.names, ["docker.io/library/demo:1", "docker.io/library/demo:latest"]);
    assert_eq!(image.config.cmd, ["/bin/app"]);
    assert_eq!(image.config.env, [("A".to_owned(), "1".to_owned())]);
    assert_eq!((fixture.read(&image, 0, "a"), fixture.read(&image, 1, "a")), ("1".into(), "2".into()));
    let renamed = fixture.import(Some("other"), &data).await.unwrap();
    assert_eq!(renamed.id, image.id);
    assert_eq!(renamed.names.len(), 3);

    let several = docker_archive(&[(&["a:1"], &[&lower]), (&["b:1"], &[&upper])]);
    let error = fixture.import(None, &several).await.unwrap_err().to_string();
    assert!(error.contains("holds 2 images (a:1, b:1)"), "{error}");
    let chosen = fixture.import(Some("b:1"), &several).await.unwrap();
    assert_eq!(fixture.read(&chosen, 0, "a"), "2");
}

#[tokio::test]
async fn a_docker_archive_of_before_1_10() {
    if !root_only("a_docker_archive_of_before_1_10") {
        return;
    }
    let fixture = Fixture::new().await;
    let (lower, upper) = (tarball(&[("a", b"1")]), tarball(&[("b", b"2")]));
    let data = tarball(&[
        ("base/json", br#"{"id":"base"}"#),
        ("base/layer.tar", &lower),
        ("top/json", br#"{"id":"top","parent":"base","config":{"Cmd":["sh"]}}"#),
        ("top/layer.tar", &upper),
        ("repositories", br#"{"old":{"7":"top"}}"#),
    ]);
    let image = fixture.import(None, &data).await.unwrap();
    assert_eq!(
        (image.names.clone(), image.config.cmd.clone()),
        (vec!["docker.io/library/old:7".into()], vec!["sh".into()])
    );
    assert_eq!((fixture.read(&image, 0, "a"), fixture.read(&image, 1, "b")), ("1".into(), "2".into()));
}

#[tokio::test]
async fn an_oci_layout_as_tar_and_as_directory() {
    if !root_only("an_oci_layout_as_tar_and_as_directory") {
        return;
    }
    let fixture = Fixture::new().await;
    let layer = tarball(&[("a", b"1")]);
    let files = oci_layout(&[&layer], Some("team/demo:3"));
    let image = fixture.import(None, &as_tar(&files)).await.unwrap();
    assert_eq!(image.names, ["docker.io/team/demo:3"]);
    assert!(image.digests[0].starts_with("docker.io/team/demo@sha256:"), "{:?}", image.digests);
    assert_eq!(fixture.store.resolve(&image.digests[0]).await.unwrap().unwrap().id, image.id);

    let directory = fixture.dir.path().join("layout");
    for (path, data) in &files {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, data).unwrap();
    }
    assert_eq!(fixture.store.import(None, ImportSource::Path(directory)).await.unwrap(), image);
}

#[tokio::test]
async fn what_is_wrong_is_said_and_nothing_is_kept() {
    if !root_only("what_is_wrong_is_said_and_nothing_is_kept") {
        return;
    }
    let fixture = Fixture::new().await;
    let layer = tarball(&[("a", b"1")]);
    let demo = Some("demo:1");
    let contains = |text: String, part: &str| assert!(text.contains(part), "{text:?} does not say {part:?}");

    contains(fixture.refused(None, &layer).await, "give a name, for instance `--name demo:1`");
    contains(fixture.refused(Some("Demo"), &layer).await, "invalid image name \"Demo\"");
    contains(fixture.refused(demo, b"plain text, long enough").await, "archive is truncated");
    contains(fixture.refused(demo, &[b'x'; 4096]).await, "DIR/archive: it is not a tar archive");
    contains(fixture.refused(demo, b"").await, "DIR/archive: it is an empty archive");
    contains(fixture.refused(demo, b"BZh9...").await, "bzip2 compression is not supported");
    contains(fixture.refused(demo, &layer[..700]).await, "archive is truncated");
    let packed = gzip(&layer);
    contains(fixture.refused(demo, &packed[..packed.len() - 9]).await, "truncated: compressed data ends too early");
    let missing = ImportSource::Path(fixture.dir.path().join("nowhere"));
    contains(fixture.store.import(demo, missing).await.unwrap_err().to_string(), "there is no such file");
    let directory = ImportSource::Path(fixture.dir.path().to_path_buf());
    contains(fixture.store.import(demo, directory).await.unwrap_err().to_string(), "directory without an OCI layout");

    let mut files = oci_layout(&[&layer], Some("demo:1"));
    let config = files.remove(1);
    contains(fixture.refused(None, &as_tar(&files)).await, &format!("{} is missing", config.0));
    files.insert(1, config);
    let blob = files.len() - 3;
    files[blob].1 = gzip(&tarball(&[("a", b"other")]));
    contains(fixture.refused(None, &as_tar(&files)).await, "layer 1: digest mismatch: expected sha256:");
    let files = oci_layout(&[&layer], Some("latest"));
    contains(fixture.refused(None, &as_tar(&files)).await, "give a name");

    let foreign = String::from_utf8(config_of_foreign_machine(&layer)).unwrap();
    let manifest = json!([{"Config": "c.json", "RepoTags": ["demo:1"], "Layers": ["l.tar"]}]).to_string();
    let data = tarball(&[("c.json", foreign.as_bytes()), ("l.tar", &layer), ("manifest.json", manifest.as_bytes())]);
    contains(
        fixture.refused(None, &data).await,
        "image docker.io/library/demo:1 is for linux/s390x, this machine is linux/",
    );
}

fn config_of_foreign_machine(layer: &[u8]) -> Vec<u8> {
    json!({"architecture": "s390x", "os": "linux", "rootfs": {"diff_ids": [Digest::of(layer)]}})
        .to_string()
        .into_bytes()
}

#[tokio::test]
async fn removing_untags_then_deletes_unless_in_use() {
    if !root_only("removing_untags_then_deletes_unless_in_use") {
        return;
    }
    let fixture = Fixture::new().await;
    let (base, one, two) = (tarball(&[("base", b"b")]), tarball(&[("x", b"1")]), tarball(&[("x", b"2")]));
    let first = fixture.import(None, &docker_archive(&[(&["a:1", "a:2"], &[&base, &one])])).await.unwrap();
    let second = fixture.import(None, &docker_archive(&[(&["b:1"], &[&base, &two])])).await.unwrap();
    let none = HashSet::new();
    let used = HashSet::from([first.id.to_string()]);

    let untagged = fixture.store.remove("a:2", &used).await.unwrap();
    assert_eq!((untagged.untagged, untagged.deleted.len()), (vec!["docker.io/library/a:2".to_owned()], 0));
    let error = fixture.store.remove("a:1", &used).await.unwrap_err();
    assert_eq!(error.kind(), ImageErrorKind::InUse);
    let gone = fixture.store.remove("a:1", &none).await.unwrap();
    assert_eq!((gone.deleted, gone.bytes), (vec![first.id], 1));
    assert_eq!(fixture.store.remove("a:1", &none).await.unwrap_err().kind(), ImageErrorKind::NotFound);
    assert_eq!(fixture.read(&second, 0, "base"), "b");
    fixture.store.remove(&second.id.hex()[..8], &none).await.unwrap();
    for folder in ["images", "names", "layers", "blobs/sha256", "tmp"] {
        assert_eq!(fixture.entries(folder), 0, "{folder}");
    }
}

#[tokio::test]
async fn a_moved_tag_leaves_an_image_for_gc() {
    if !root_only("a_moved_tag_leaves_an_image_for_gc") {
        return;
    }
    let fixture = Fixture::new().await;
    let old = fixture.import(Some("demo"), &tarball(&[("x", b"old")])).await.unwrap();
    let new = fixture.import(Some("demo"), &tarball(&[("x", b"new")])).await.unwrap();
    assert_eq!(fixture.store.resolve("demo").await.unwrap().unwrap().id, new.id);
    assert_eq!(fixture.store.list().await.unwrap().len(), 2);
    let used = HashSet::from([old.id.to_string()]);
    assert_eq!(fixture.store.gc(&used).await.unwrap(), GcReport::default());
    let report = fixture.store.gc(&HashSet::new()).await.unwrap();
    assert_eq!(report, GcReport { images: 1, layers: 1, blobs: 1, bytes: 3 });
    assert_eq!(fixture.store.list().await.unwrap(), [new]);
}

#[tokio::test]
async fn damage_is_found_and_healed_by_importing_again() {
    if !root_only("damage_is_found_and_healed_by_importing_again") {
        return;
    }
    let fixture = Fixture::new().await;
    let data = docker_archive(&[(&["demo:1"], &[&tarball(&[("a", b"1")])])]);
    let image = fixture.import(None, &data).await.unwrap();
    let records = Records::open(&fixture.root()).unwrap();
    fs::write(records.blob_path(&image.id), b"{}").unwrap();
    let error = fixture.store.resolve("demo:1").await.unwrap_err().to_string();
    assert!(error.contains("is damaged in the store: its configuration has digest sha256:"), "{error}");
    assert_eq!(fixture.store.list().await.unwrap().len(), 1);
    assert_eq!(fixture.import(None, &data).await.unwrap(), image);
    fs::remove_dir_all(records.layer_dir(&image.layers[0])).unwrap();
    let error = fixture.store.resolve("demo:1").await.unwrap_err().to_string();
    assert!(error.contains(&format!("layer {} has digest none: it is missing", image.layers[0])), "{error}");
    assert_eq!(fixture.import(None, &data).await.unwrap(), image);
    assert_eq!(fixture.store.resolve("demo:1").await.unwrap(), Some(image));
}

#[tokio::test]
async fn the_same_import_at_the_same_time_is_one_image() {
    if !root_only("the_same_import_at_the_same_time_is_one_image") {
        return;
    }
    let fixture = Fixture::new().await;
    let path = fixture.dir.path().join("archive");
    fs::write(&path, docker_archive(&[(&["demo:1"], &[&tarball(&[("a", b"1")]), &tarball(&[("b", b"2")])])])).unwrap();
    // The second store stands for another process: they share nothing but the disk.
    let other = ImageStore::open(fixture.root()).await.unwrap();
    let import = |store: ImageStore| {
        let path = path.clone();
        tokio::spawn(async move { store.import(None, ImportSource::Path(path)).await })
    };
    let tasks: Vec<_> =
        (0..8).map(|n| import(if n % 2 == 0 { fixture.store.clone() } else { other.clone() })).collect();
    let mut ids = HashSet::new();
    for task in tasks {
        ids.insert(task.await.unwrap().unwrap().id);
    }
    assert_eq!(ids.len(), 1);
    assert_eq!((fixture.entries("layers"), fixture.entries("tmp")), (2, 0));
}

#[tokio::test]
async fn leftovers_of_the_dead_are_swept_and_work_of_the_living_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    drop(ImageStore::open(&root).await.unwrap());
    let tmp = root.join("tmp");
    // Killed in the middle of a layer, of a record, and just after taking its lock.
    fs::create_dir_all(tmp.join("work-1-0/layer-0-0/diff")).unwrap();
    fs::write(tmp.join("work-1-0.lock"), "").unwrap();
    fs::write(tmp.join("write-1-0"), "half").unwrap();
    fs::create_dir(tmp.join("work-2-0")).unwrap();
    let living = super::scratch::Scratch::new(&Records::open(&root).unwrap()).unwrap();
    drop(ImageStore::open(&root).await.unwrap());
    let mut left: Vec<_> = fs::read_dir(&tmp).unwrap().map(|e| e.unwrap().path()).collect();
    left.sort();
    let name = |path: &Path| path.file_name().unwrap().to_owned();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(name(&left[0]), name(living.path()));
}
