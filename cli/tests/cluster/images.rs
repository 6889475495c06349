//! Images on their four ways into a cluster, and errors that help.

use std::{
    fs,
    net::TcpListener,
    process::{Command, Stdio},
};

use crate::harness::{Cluster, Process, able, succeed, text, wait};

#[test]
fn every_archive_format_is_taken_and_listed() {
    if !able() {
        return;
    }
    let cluster = Cluster::start();
    let rootfs = cluster.busybox_tar();
    let kubeconfig = ["--kubeconfig", ".kontiki/kubeconfig"];
    let image = |action: &[&str]| {
        let mut arguments = vec!["image"];
        arguments.extend(action);
        arguments.extend(kubeconfig);
        cluster.kontiki(&arguments)
    };
    succeed(&mut image(&["import", "--name", "plain:1", rootfs.to_str().unwrap()]));
    // An OCI layout of one layer, made by hand: what `skopeo` then turns into the other formats.
    oci_layout(&cluster);
    succeed(&mut image(&["import", "--name", "folder:1", "layout"]));
    succeed(Command::new("tar").current_dir(cluster.dir.path()).args(["-C", "layout", "-cf", "layout.tar", "."]));
    succeed(&mut image(&["import", "--name", "ocitar:1", "layout.tar"]));
    let skopeo = ["--insecure-policy", "copy", "oci:layout:latest", "docker-archive:docker.tar:localhost/archive:1"];
    succeed(Command::new("skopeo").current_dir(cluster.dir.path()).args(skopeo));
    succeed(&mut image(&["import", "docker.tar"]));
    let listed: serde_json::Value = serde_json::from_str(&succeed(&mut image(&["ls", "-o", "json"]))).unwrap();
    let names = listed.to_string();
    for name in ["plain:1", "folder:1", "ocitar:1", "archive:1"] {
        assert!(names.contains(name), "{name} in {names}");
    }
    for (number, name) in ["plain:1", "folder:1", "ocitar:1", "localhost/archive:1"].iter().enumerate() {
        cluster.k(&[
            "run",
            &format!("p{number}"),
            "--image",
            name,
            "--restart=Never",
            "--command",
            "--",
            "/bin/busybox",
            "true",
        ]);
        wait(&format!("{name} to run"), || {
            let phase = cluster.get(&["pod", &format!("p{number}")])["status"]["phase"].clone();
            if phase == "Succeeded" { Ok(()) } else { Err(phase.to_string()) }
        });
    }
    cluster.k(&["delete", "pods", "--all"]);
    succeed(&mut image(&["rm", "plain:1"]));
    let output = image(&["rm", "plain:1"]).output().unwrap();
    assert!(!output.status.success() && text(&output).contains("plain:1"), "{}", text(&output));
}

#[test]
fn bad_archives_are_refused_with_reasons() {
    if !able() {
        return;
    }
    let cluster = Cluster::start();
    let rootfs = fs::read(cluster.busybox_tar()).unwrap();
    let import = |file: &str, bytes: &[u8], name: &[&str]| {
        fs::write(cluster.dir.path().join(file), bytes).unwrap();
        let mut arguments = vec!["image", "import", "--kubeconfig", ".kontiki/kubeconfig"];
        arguments.extend(name);
        arguments.push(file);
        let output = cluster.kontiki(&arguments).output().unwrap();
        assert!(!output.status.success(), "{file} was taken: {}", text(&output));
        text(&output)
    };
    let named = ["--name", "bad:1"];
    let said = import("rubbish", b"this is not an archive", &named);
    assert!(said.contains("archive"), "{said}");
    import("cut.tar", &rootfs[..rootfs.len() / 2], &named);
    let said = import("unnamed.tar", &rootfs, &[]);
    assert!(said.contains("--name") || said.contains("name"), "{said}");
    oci_layout(&cluster);
    let blobs = cluster.dir.path().join("layout/blobs/sha256");
    let largest = fs::read_dir(&blobs).unwrap().flatten().max_by_key(|entry| entry.metadata().unwrap().len()).unwrap();
    let mut damaged = fs::read(largest.path()).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(largest.path(), damaged).unwrap();
    let output = cluster
        .kontiki(&["image", "import", "--kubeconfig", ".kontiki/kubeconfig", "--name", "bad:1", "layout"])
        .output()
        .unwrap();
    assert!(!output.status.success() && text(&output).contains("digest"), "{}", text(&output));
    let listed = succeed(&mut cluster.kontiki(&["image", "ls", "--kubeconfig", ".kontiki/kubeconfig", "-o", "json"]));
    assert!(!listed.contains("bad:1"), "{listed}");
}

#[test]
fn images_are_pulled_from_a_registry() {
    if !able() {
        return;
    }
    let cluster = Cluster::start();
    oci_layout(&cluster);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let registry = format!("127.0.0.1:{port}");
    let folder = cluster.dir.path().join("registry");
    let configuration = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{registry}'}}\n",
        folder.display()
    );
    fs::write(cluster.dir.path().join("registry.yml"), configuration).unwrap();
    let mut serve = cluster.netns.command("docker-registry");
    serve.args(["serve", "registry.yml"]).current_dir(cluster.dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let _registry = Process(serve.spawn().unwrap());
    let source = "oci:layout:latest";
    let target = format!("docker://{registry}/team/busybox:1");
    wait("the registry to take the image", || {
        let mut push = cluster.netns.command("skopeo");
        push.args(["--insecure-policy", "copy", "--dest-tls-verify=false", source, &target]);
        let output = push.current_dir(cluster.dir.path()).output().unwrap();
        if output.status.success() { Ok(()) } else { Err(text(&output)) }
    });
    let image = format!("{registry}/team/busybox:1");
    cluster.k(&[
        "run",
        "pulled",
        "--image",
        &image,
        "--restart=Never",
        "--command",
        "--",
        "/bin/busybox",
        "echo",
        "pulled",
    ]);
    wait("the pulled image to run", || {
        let status = cluster.get(&["pod", "pulled"])["status"].clone();
        if status["phase"] == "Succeeded" { Ok(()) } else { Err(status.to_string()) }
    });
    assert_eq!(cluster.k(&["logs", "pulled"]), "pulled\n");
    cluster.k(&["run", "absent", "--image", &format!("{registry}/team/absent:1"), "--restart=Never"]);
    wait("a pull of what is not there to fail", || {
        let state = cluster.get(&["pod", "absent"])["status"]["containerStatuses"][0]["state"]["waiting"].clone();
        let failed = state["reason"] == "ErrImagePull" || state["reason"] == "ImagePullBackOff";
        if failed { Ok(()) } else { Err(state.to_string()) }
    });
}

/// An OCI layout with busybox in `layout`, made by `umoci`'s format rules: index, manifest, config, one gzip layer.
fn oci_layout(cluster: &Cluster) {
    let archive = cluster.busybox_tar();
    let here = cluster.dir.path();
    let _ = fs::remove_dir_all(here.join("layout"));
    fs::create_dir_all(here.join("layout/blobs/sha256")).unwrap();
    let sum = |file: &str| {
        succeed(Command::new("sha256sum").current_dir(here).arg(file)).split(' ').next().unwrap().to_owned()
    };
    let store = |bytes: &[u8]| {
        fs::write(here.join("blob"), bytes).unwrap();
        let digest = sum("blob");
        fs::rename(here.join("blob"), here.join("layout/blobs/sha256").join(&digest)).unwrap();
        (format!("sha256:{digest}"), bytes.len())
    };
    let diff_id = format!("sha256:{}", sum(archive.to_str().unwrap()));
    succeed(Command::new("gzip").args(["-kfn"]).arg(&archive));
    let (layer, layer_size) = store(&fs::read(here.join("busybox.tar.gz")).unwrap());
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = serde_json::json!({
        "architecture": architecture, "os": "linux", "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    let (config, config_size) = store(config.to_string().as_bytes());
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_size},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer, "size": layer_size}],
    });
    let (manifest, manifest_size) = store(manifest.to_string().as_bytes());
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": manifest, "size": manifest_size,
                       "annotations": {"org.opencontainers.image.ref.name": "latest"}}],
    });
    fs::write(here.join("layout/index.json"), index.to_string()).unwrap();
    fs::write(here.join("layout/oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
}
