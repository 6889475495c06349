//! Objects in files: YAML of several documents, JSON, Lists; folders as kubectl reads them.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// What kubectl takes from a folder.
const EXTENSIONS: [&str; 3] = ["json", "yaml", "yml"];

/// An object, and where it was found.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub object: Value,
    /// As in `web.yaml`, or `all.yaml, document 2`.
    pub place: String,
}

pub fn read(paths: &[PathBuf], recursive: bool) -> Result<Vec<Manifest>> {
    let mut objects = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = Vec::new();
            std::io::stdin().read_to_end(&mut text).context("reading standard input")?;
            objects.extend(parse("standard input", &text)?);
        } else if let Some(url) =
            path.to_str().filter(|path| path.starts_with("http://") || path.starts_with("https://"))
        {
            bail!("{url} is not read from here: curl -fsSL {url} | kontiki apply --atomic -f -");
        } else if path.is_dir() {
            let files = files(path, recursive)?;
            if files.is_empty() {
                bail!("error reading {}: recognized file extensions are [.json .yaml .yml]", path.display());
            }
            for file in files {
                objects.extend(read_file(&file)?);
            }
        } else {
            objects.extend(read_file(path)?);
        }
    }
    Ok(objects)
}

fn read_file(path: &Path) -> Result<Vec<Manifest>> {
    let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    parse(&path.display().to_string(), &text)
}

/// The files of a folder, in the order of their names.
fn files(folder: &Path, recursive: bool) -> Result<Vec<PathBuf>> {
    let reading = || format!("reading {}", folder.display());
    let entries = fs::read_dir(folder).with_context(reading)?.collect::<Result<Vec<_>, _>>().with_context(reading)?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        if path.is_dir() {
            if recursive {
                found.extend(files(&path, recursive)?);
            }
        } else if path.extension().and_then(|one| one.to_str()).is_some_and(|one| EXTENSIONS.contains(&one)) {
            found.push(path);
        }
    }
    Ok(found)
}

/// The objects of one file; Lists are what is in them.
fn parse(file: &str, text: &[u8]) -> Result<Vec<Manifest>> {
    let text = std::str::from_utf8(text).context("it is not UTF-8").with_context(|| file.to_owned())?;
    let documents = documents(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut manifests = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        let place = match documents.len() {
            1 => file.to_owned(),
            _ => format!("{file}, document {}", index + 1),
        };
        let objects = objects(document).with_context(|| place.clone())?;
        manifests.extend(objects.into_iter().map(|object| Manifest { object, place: place.clone() }));
    }
    Ok(manifests)
}

fn objects(document: &str) -> Result<Vec<Value>> {
    let value = kontiki_schema::decode_yaml(document.as_bytes())?;
    if let Some(duplicate) = value.duplicates.first() {
        bail!("{}", duplicate.message);
    }
    let mut objects = Vec::new();
    add(value.value, &mut objects)?;
    Ok(objects)
}

fn add(value: Value, objects: &mut Vec<Value>) -> Result<()> {
    if value.is_null() {
        return Ok(());
    }
    let kind = value["kind"].as_str().unwrap_or_default();
    if kind.is_empty() || value["apiVersion"].as_str().unwrap_or_default().is_empty() {
        bail!("an object without kind or apiVersion");
    }
    match value["items"].as_array() {
        Some(items) if kind.ends_with("List") => {
            let typed = kind.strip_suffix("List").filter(|kind| !kind.is_empty());
            items.iter().try_for_each(|item| {
                let mut item = item.clone();
                // The items of a typed list are of its type.
                if let (Some(kind), Some(members)) = (typed, item.as_object_mut()) {
                    members.entry("kind").or_insert_with(|| kind.into());
                    members.entry("apiVersion").or_insert_with(|| value["apiVersion"].clone());
                }
                add(item, objects)
            })
        }
        _ => {
            objects.push(value);
            Ok(())
        }
    }
}

/// The documents of a YAML stream: what stands between lines that begin with `---`. Objects in JSON may follow each other without.
fn documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        if let Some(behind) = line.strip_prefix("---")
            && (behind.is_empty() || behind.starts_with(char::is_whitespace))
        {
            documents.push(String::new());
        } else if let Some(document) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    let blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    documents.retain(|document| !document.lines().all(blank));
    documents.into_iter().flat_map(apart).collect()
}

/// The values of a stream of JSON; YAML that begins as JSON does stays whole.
fn apart(document: String) -> Vec<String> {
    if !document.trim_start().starts_with('{') {
        return vec![document];
    }
    let mut values = serde_json::Deserializer::from_str(&document).into_iter::<serde::de::IgnoredAny>();
    let (mut parts, mut start) = (Vec::new(), 0);
    while let Some(value) = values.next() {
        if value.is_err() {
            return vec![document];
        }
        parts.push(document[start..values.byte_offset()].to_owned());
        start = values.byte_offset();
    }
    parts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let manifests = parse("x.yaml", text.as_bytes()).unwrap();
        manifests.iter().map(|one| one.object["metadata"]["name"].as_str().unwrap_or("?").to_owned()).collect()
    }

    #[test]
    fn documents_lists_and_json_are_objects() {
        let map = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
        let table = [
            (map("a"), vec!["a"]),
            (format!("---\n# nothing\n---\n{}---\r\n{}--- # end\n", map("a"), map("b")), vec!["a", "b"]),
            (r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"j"}}"#.to_owned(), vec!["j"]),
            (
                "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: x}}\n"
                    .to_owned(),
                vec!["x"],
            ),
            ("apiVersion: v1\nkind: List\nitems: []\n".to_owned(), vec![]),
            (
                r#"{"apiVersion":"v1","kind":"A","metadata":{"name":"x"}} {"apiVersion":"v1","kind":"A","metadata":{"name":"y"}}"#
                    .to_owned(),
                vec!["x", "y"],
            ),
            ("{apiVersion: v1, kind: A, metadata: {name: flow}}\n".to_owned(), vec!["flow"]),
            (format!("{}data:\n  text: |\n    a\n     ---\n", map("t")), vec!["t"]),
        ];
        for (text, expected) in table {
            assert_eq!(names(&text), expected, "{text}");
        }
        for bad in ["a: 1\n", "kind: X\n", "[1]\n", "apiVersion: v1\nkind: A\nkind: B\n"] {
            assert!(parse("x.yaml", bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn folders_are_read_in_order_and_only_what_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let object = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {}}}\n", name.replace('/', "-"));
            fs::write(folder.path().join(name), object).unwrap();
        };
        fs::create_dir(folder.path().join("sub")).unwrap();
        ["b.yaml", "a.yml", "c.json", "ignored.txt", "sub/d.yaml"].into_iter().for_each(write);
        let names = |recursive| {
            let objects = read(&[folder.path().to_owned()], recursive).unwrap();
            objects.iter().map(|one| one.object["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(false), ["a.yml", "b.yaml", "c.json"]);
        assert_eq!(names(true), ["a.yml", "b.yaml", "c.json", "sub-d.yaml"]);
        assert!(read(&[folder.path().join("missing.yaml")], false).is_err());
    }
}
