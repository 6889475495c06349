//! Images made by other tools, and a real registry on loopback: umoci, skopeo and Debian's docker-registry.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use kontiki_runtime::{
    image::{Credentials, Digest, ImageError, ImageErrorKind, ImageInfo, ImageStore, ImportSource, PullEvent},
    rootfs,
};

/// Says so where the test cannot run.
fn can_run(test: &str, tools: &[&str]) -> bool {
    let missing: Vec<&&str> = tools.iter().filter(|tool| !Path::new("/usr/bin").join(tool).exists()).collect();
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED {test}: needs root");
        return false;
    }
    if !missing.is_empty() {
        println!("SKIPPED {test}: needs {missing:?}");
        return false;
    }
    true
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// An OCI layout of two layers with image `demo:1`: the upper one deletes, replaces and hides.
fn layout(dir: &Path) -> PathBuf {
    let layout = dir.join("layout");
    let (at, bundle) = (layout.display().to_string(), dir.join("bundle"));
    let image = format!("{at}:demo");
    let root = bundle.join("rootfs");
    run("umoci", &["init", "--layout", &at]);
    run("umoci", &["new", "--image", &image]);
    run("umoci", &["unpack", "--image", &image, bundle.to_str().unwrap()]);
    for folder in ["bin", "etc/old"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("bin/app"), "one").unwrap();
    fs::hard_link(root.join("bin/app"), root.join("bin/same")).unwrap();
    fs::write(root.join("etc/old/conf"), "gone").unwrap();
    fs::write(root.join("etc/keep"), "kept").unwrap();
    xattr::set(root.join("bin/app"), "security.capability", b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0").unwrap();
    run("umoci", &["repack", "--refresh-bundle", "--image", &image, bundle.to_str().unwrap()]);
    fs::remove_dir_all(root.join("etc/old")).unwrap();
    fs::write(root.join("bin/new"), "two").unwrap();
    run("umoci", &["repack", "--image", &image, bundle.to_str().unwrap()]);
    run(
        "umoci",
        &["config", "--image", &image, "--config.cmd", "/bin/app", "--config.env", "WHO=demo", "--config.user", "7:8"],
    );
    layout
}

async fn store(dir: &Path) -> ImageStore {
    ImageStore::open(dir.join("store")).await.unwrap()
}

/// Mounts the image and compares what is there with what umoci put in.
fn assert_content(store: &ImageStore, image: &ImageInfo, dir: &Path) {
    assert_eq!((image.config.cmd.clone(), image.config.user.clone()), (vec!["/bin/app".to_owned()], "7:8".to_owned()));
    assert!(image.config.env.contains(&("WHO".into(), "demo".into())));
    let container = dir.join("container");
    fs::create_dir_all(&container).unwrap();
    let root = rootfs::mount(&store.layer_paths(image), &container).unwrap();
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    assert_eq!((read("bin/app"), read("bin/new"), read("etc/keep")), ("one".into(), "two".into(), "kept".into()));
    assert!(!root.join("etc/old").exists(), "the upper layer deleted it");
    let inode = |path: &str| fs::metadata(root.join(path)).unwrap().ino();
    assert_eq!(inode("bin/app"), inode("bin/same"));
    assert_eq!(xattr::get(root.join("bin/app"), "security.capability").unwrap().unwrap()[5], 4);
    rootfs::unmount(&container).unwrap();
}

#[tokio::test]
async fn archives_of_other_tools() {
    if !can_run("archives_of_other_tools", &["umoci", "skopeo"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let layout = layout(dir.path());
    let from = format!("oci:{}:demo", layout.display());
    let path = |name: &str| dir.path().join(name);
    run("skopeo", &["copy", &from, &format!("docker-archive:{}:demo:1", path("docker.tar").display())]);
    run("skopeo", &["copy", &from, &format!("oci-archive:{}:demo:1", path("oci.tar").display())]);
    run("gzip", &["-k", path("docker.tar").to_str().unwrap()]);

    let mut ids = Vec::new();
    for (name, source) in
        [(Some("demo:1"), layout), (None, path("docker.tar")), (None, path("docker.tar.gz")), (None, path("oci.tar"))]
    {
        // A store each: otherwise the second import finds all layers there.
        let scratch = tempfile::tempdir_in(dir.path()).unwrap();
        let store = store(scratch.path()).await;
        let image = store.import(name, ImportSource::Path(source.clone())).await.unwrap();
        assert_eq!(image.names, ["docker.io/library/demo:1"], "{source:?}");
        assert_content(&store, &image, scratch.path());
        ids.push(image.layers);
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "the layers are the same in every format");
}

/// A registry on a free port of loopback, ended with the test.
struct Registry {
    process: Child,
    address: SocketAddr,
    storage: PathBuf,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Registry {
    fn start(dir: &Path, auth: &str) -> Self {
        let storage = dir.join("registry");
        // Between finding a free port and using it another process may take it: then try another.
        for attempt in 0..10 {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let config = dir.join(format!("registry-{attempt}.yml"));
            let text = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n{auth}",
                storage.display()
            );
            fs::write(&config, text).unwrap();
            let process = Command::new("docker-registry")
                .args(["serve", config.to_str().unwrap()])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut registry = Self { process, address, storage: storage.clone() };
            if registry.is_ready() {
                return registry;
            }
        }
        panic!("docker-registry does not start");
    }

    fn is_ready(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline && self.process.try_wait().unwrap().is_none() {
            if TcpStream::connect(self.address).is_ok() {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }

    fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    /// Puts a manifest; gives its digest.
    fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, body: &str) -> Digest {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(
            stream,
            "PUT /v2/{repository}/manifests/{tag} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {media_type}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        Digest::of(body.as_bytes())
    }
}

fn push(layout: &Path, to: &str, credentials: Option<&str>) {
    let (from, to) = (format!("oci:{}:demo", layout.display()), format!("docker://{to}"));
    let mut arguments = vec!["copy", "--dest-tls-verify=false"];
    arguments.extend(credentials.iter().flat_map(|credentials| ["--dest-creds", credentials]));
    arguments.extend([from.as_str(), to.as_str()]);
    run("skopeo", &arguments);
}

#[tokio::test]
async fn pulls_from_a_registry() {
    if !can_run("pulls_from_a_registry", &["umoci", "skopeo", "docker-registry"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::start(dir.path(), "");
    push(&layout(dir.path()), &registry.name("team/demo:1"), None);
    let store = store(dir.path()).await;

    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    let progress = Arc::new(move |event| seen.lock().unwrap().push(event));
    let name = registry.name("team/demo:1");
    let image = store.pull(&name, None, Some(progress)).await.unwrap();
    assert_eq!(image.names, std::slice::from_ref(&name));
    assert_content(&store, &image, dir.path());
    let events = events.lock().unwrap().clone();
    let PullEvent::Resolved { digest, layers: 2 } = &events[0] else { panic!("{events:?}") };
    assert_eq!(image.digests, [registry.name(&format!("team/demo@{digest}"))]);
    assert!(events.iter().any(|event| matches!(event, PullEvent::Downloading { bytes, total, .. } if bytes == total)));

    // By digest, with and without the tag; by an index; all at once: one image.
    let by_digest = registry.name(&format!("team/demo:1@{digest}"));
    assert_eq!(store.pull(&by_digest, None, None).await.unwrap().id, image.id);
    let manifest = fs::read(registry.storage.join(format!(
        "docker/registry/v2/blobs/sha256/{}/{}/data",
        &digest.hex()[..2],
        digest.hex()
    )))
    .unwrap();
    let entry = |digest: &Digest, size: usize, architecture: &str| {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{size},
            "platform":{{"os":"linux","architecture":"{architecture}"}}}}"#
        )
    };
    let this = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let index_type = "application/vnd.oci.image.index.v1+json";
    let index = |entries: &[String]| {
        format!(r#"{{"schemaVersion":2,"mediaType":"{index_type}","manifests":[{}]}}"#, entries.join(","))
    };
    let other = entry(digest, manifest.len(), "s390x");
    let both = index(&[other.clone(), entry(digest, manifest.len(), this)]);
    let both = registry.put_manifest("team/demo", "multi", index_type, &both);
    let names = [registry.name("team/demo:multi"), name.clone(), by_digest, registry.name("team/demo:multi")];
    let pulls = futures::future::join_all(names.iter().map(|name| store.pull(name, None, None))).await;
    assert!(pulls.iter().all(|pulled| pulled.as_ref().unwrap().id == image.id));
    let image = store.resolve(&name).await.unwrap().unwrap();
    assert!(image.digests.contains(&registry.name(&format!("team/demo@{both}"))), "{:?}", image.digests);
    assert_eq!(store.list().await.unwrap().len(), 1);

    registry.put_manifest("team/demo", "foreign", index_type, &index(&[other]));
    let error = store.pull(&registry.name("team/demo:foreign"), None, None).await.unwrap_err();
    assert!(matches!(&error, ImageError::WrongPlatform { image, .. } if image == "linux/s390x"), "{error}");
}

#[tokio::test]
async fn failures_of_a_pull_are_told_apart() {
    if !can_run("failures_of_a_pull_are_told_apart", &["umoci", "skopeo", "docker-registry"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::start(dir.path(), "");
    let layout = layout(dir.path());
    push(&layout, &registry.name("demo:1"), None);
    let store = store(dir.path()).await;
    let pull = async |name: &str| store.pull(name, None, None).await.unwrap_err();

    for missing in ["demo:2", "nothing:1"] {
        let error = pull(&registry.name(missing)).await;
        assert_eq!(error.kind(), ImageErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains(&registry.name(missing)), "{error}");
    }
    assert_eq!(pull("Not A Name").await.kind(), ImageErrorKind::InvalidName);

    // The biggest blob is a layer: change a byte of it where the registry keeps it.
    let blobs = registry.storage.join("docker/registry/v2/blobs/sha256");
    let datas = fs::read_dir(&blobs).unwrap().flat_map(|prefix| fs::read_dir(prefix.unwrap().path()).unwrap());
    let largest =
        datas.map(|blob| blob.unwrap().path().join("data")).max_by_key(|path| fs::metadata(path).unwrap().len());
    let largest = largest.unwrap();
    let mut content = fs::read(&largest).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 0xff;
    fs::write(&largest, content).unwrap();
    let error = pull(&registry.name("demo:1")).await;
    assert!(matches!(error, ImageError::DigestMismatch { .. }), "{error}");
    assert_eq!(error.kind(), ImageErrorKind::Unusable);
    assert_eq!(store.resolve(&registry.name("demo:1")).await.unwrap(), None);
    assert_eq!(fs::read_dir(dir.path().join("store/layers")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(dir.path().join("store/tmp")).unwrap().count(), 0);

    // Anything but this machine's own addresses is spoken to over TLS, which this registry does not know.
    let over_tls = format!("0.0.0.0:{}/demo:1", registry.address.port());
    let error = pull(&over_tls).await;
    assert_eq!(error.kind(), ImageErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("InvalidContentType"), "the cause is told: {error}");

    let name = registry.name("demo:1");
    drop(registry);
    let error = pull(&name).await;
    assert_eq!(error.kind(), ImageErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("refused"), "the cause is told: {error}");
}

#[tokio::test]
async fn a_private_registry_wants_credentials() {
    if !can_run("a_private_registry_wants_credentials", &["umoci", "skopeo", "docker-registry"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let passwords = dir.path().join("htpasswd");
    // `secret`, by bcrypt.
    fs::write(&passwords, "ada:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n").unwrap();
    let auth = format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", passwords.display());
    let registry = Registry::start(dir.path(), &auth);
    let name = registry.name("demo:1");
    push(&layout(dir.path()), &name, Some("ada:secret"));
    let store = store(dir.path()).await;
    let basic = |password: &str| Credentials::Basic { username: "ada".into(), password: password.into() };
    for wrong in [None, Some(basic("wrong"))] {
        let error = store.pull(&name, wrong.as_ref(), None).await.unwrap_err();
        assert_eq!(error.kind(), ImageErrorKind::Unauthorized, "{error}");
        assert!(!error.to_string().contains("wrong"), "secrets are not told: {error}");
    }
    let image = store.pull(&name, Some(&basic("secret")), None).await.unwrap();
    assert_eq!(image.names, [name]);
}
