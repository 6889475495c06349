//! Files of a volume that stand in each other's way: two at one path, or one where another needs a folder.

use serde_json::Value;

use crate::tree::{at, list, text};

/// With how many others a file is said to overlap.
const TOLD_MAX: usize = 16;

/// A file of a volume, and what of the volume it is from, where that says something.
struct File {
    path: String,
    source: Option<String>,
}

impl File {
    fn shown(&self) -> String {
        match &self.source {
            Some(source) => format!("{:?} ({source})", self.path),
            None => format!("{:?}", self.path),
        }
    }
}

/// What holds files by name, and how it is called.
type Holder = (&'static str, fn(&Value) -> String);

const DOWNWARD: Holder = ("/downwardAPI", |_| "DownwardAPI".to_owned());
const CONFIG_MAP: Holder = ("/configMap", |source| format!("ConfigMap {:?}", text(source, "/name")));

pub fn volume(volume: &Value, out: &mut Vec<String>) {
    const SECRET: Holder = ("/secret", |source| format!("Secret {:?}", text(source, "/secretName")));
    let name = text(volume, "/name");
    for (pointer, told) in [CONFIG_MAP, SECRET, DOWNWARD] {
        let source = at(volume, pointer);
        if list(source, "/items").len() > 1 {
            tell(&items(source, None), name, &told(source), out);
        }
    }
    let sources = list(volume, "/projected/sources");
    for _ in sources.iter().filter(|source| source.as_object().is_none_or(|kinds| kinds.values().all(Value::is_null))) {
        out.push(format!("volume {name:?} (Projected) has no sources provided"));
    }
    tell(&sources.iter().flat_map(projected).collect::<Vec<_>>(), name, "Projected", out);
}

fn items(source: &Value, told: Option<&str>) -> Vec<File> {
    let paths = list(source, "/items").iter().map(|item| text(item, "/path"));
    paths.map(|path| file(path, told.map(str::to_owned))).collect()
}

fn file(path: &str, source: Option<String>) -> File {
    File { path: path.trim_end_matches('/').to_owned(), source }
}

fn projected(source: &Value) -> Vec<File> {
    const SECRET: Holder = ("/secret", |source| format!("Secret {:?}", text(source, "/name")));
    for (pointer, told) in [CONFIG_MAP, SECRET, DOWNWARD] {
        let holder = at(source, pointer);
        if !list(holder, "/items").is_empty() {
            return items(holder, Some(&told(holder)));
        }
    }
    let bundle = ["/clusterTrustBundle/name", "/clusterTrustBundle/signerName"];
    let bundle =
        bundle.into_iter().map(|pointer| text(source, pointer)).find(|name| !name.is_empty()).unwrap_or_default();
    let single = [
        ("/serviceAccountToken/path", "ServiceAccountToken".to_owned()),
        ("/clusterTrustBundle/path", format!("ClusterTrustBundle {bundle:?}")),
        ("/podCertificate/certificateChainPath", "PodCertificate chain".to_owned()),
        ("/podCertificate/keyPath", "PodCertificate key".to_owned()),
        ("/podCertificate/credentialBundlePath", "PodCertificate credential bundle".to_owned()),
    ];
    single.into_iter().map(|(pointer, told)| file(text(source, pointer), Some(told))).collect()
}

/// Each file with those before it that it overlaps.
fn tell(files: &[File], volume: &str, source: &str, out: &mut Vec<String>) {
    for (later, earlier) in pairs(files) {
        let (later, earlier) = (files[later].shown(), files[earlier].shown());
        out.push(format!("volume {volume:?} ({source}): overlapping paths: {later} with {earlier}"));
    }
}

/// Sorted, what lies in a folder comes right behind it: the folders around a file are on a stack.
fn pairs(files: &[File]) -> Vec<(usize, usize)> {
    let folders = files.iter().enumerate().filter(|(_, file)| !file.path.is_empty());
    let mut sorted: Vec<(String, usize)> = folders.map(|(index, file)| (format!("{}/", file.path), index)).collect();
    sorted.sort();
    let (mut out, mut around) = (Vec::new(), Vec::<&(String, usize)>::new());
    for file in &sorted {
        while around.pop_if(|(folder, _)| !file.0.starts_with(folder.as_str())).is_some() {}
        let others = around.iter().rev().take(TOLD_MAX);
        out.extend(others.map(|(_, other)| (file.1.max(*other), file.1.min(*other))));
        around.push(file);
    }
    out.sort_unstable();
    out
}
