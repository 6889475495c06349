//! The formats an image comes in: a plain root filesystem, a docker archive (today's and the one before 1.10), an OCI layout.
//! Each is read into one `Plan`; nothing is unpacked here.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;

use super::{
    archive::Archive,
    config::{ConfigFile, Descriptor, Manifest, for_this_machine, parse},
    digest::Digest,
    error::ImageError,
    limits::{CONFIG_BYTES_MAX, LAYERS_MAX, MANIFEST_BYTES_MAX},
    reference::ImageName,
    unpack::check,
};

/// What an archive turned out to hold.
#[derive(Debug)]
pub struct Plan {
    pub names: Vec<ImageName>,
    /// Digests a registry would know the image by: the index and the manifest.
    pub manifests: Vec<Digest>,
    pub config: PlannedConfig,
    pub layers: Vec<PlannedLayer>,
}

#[derive(Debug)]
pub enum PlannedConfig {
    /// As the archive has it.
    Given(Vec<u8>),
    /// To be made when the layers' digests are known; the body is Docker's `config` of old.
    MadeUp(Option<Value>),
}

#[derive(Debug)]
pub struct PlannedLayer {
    /// The member that holds it; `None`: the archive itself is the layer.
    pub member: Option<String>,
    pub blob: Option<Descriptor>,
    pub diff_id: Option<Digest>,
}

/// Index entries name the image here: containerd's full name, then the layout's own.
const NAME_ANNOTATIONS: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
/// Index in index in index is the deepest that any tool writes.
const INDEX_DEPTH_MAX: usize = 3;

/// Recognises the format by what is at the archive's top.
pub fn plan(archive: &Archive, path: &str, wanted: Option<&ImageName>) -> Result<Plan, ImageError> {
    // `docker save` writes both since version 25; its own file has the tags in full.
    if let Some(raw) = archive.read("manifest.json", MANIFEST_BYTES_MAX)?
        && let Ok(images) = serde_json::from_slice::<Vec<DockerImage>>(&raw)
    {
        return docker(archive, images, wanted);
    }
    let is_layout = archive.read("oci-layout", MANIFEST_BYTES_MAX)?.is_some();
    if is_layout && let Some(raw) = archive.read("index.json", MANIFEST_BYTES_MAX)? {
        return oci(archive, &raw, wanted);
    }
    if let Some(raw) = archive.read("repositories", MANIFEST_BYTES_MAX)?
        && let Ok(repositories) = serde_json::from_slice::<BTreeMap<String, BTreeMap<String, String>>>(&raw)
    {
        return docker_before_1_10(archive, repositories, wanted);
    }
    match archive {
        Archive::Directory(_) => Err(ImageError::NotAnImage {
            path: path.to_owned(),
            why: "it is a directory without an OCI layout (no oci-layout and index.json in it); \
                  a root filesystem is imported as a tar archive: `tar -C DIRECTORY -cf rootfs.tar .`"
                .into(),
        }),
        Archive::Tar(index) if index.is_empty() => {
            Err(ImageError::NotAnImage { path: path.to_owned(), why: "it is an empty archive".into() })
        }
        Archive::Tar(_) => Ok(Plan {
            names: vec![wanted.cloned().ok_or(ImageError::NoName)?],
            manifests: Vec::new(),
            config: PlannedConfig::MadeUp(None),
            layers: vec![PlannedLayer { member: None, blob: None, diff_id: None }],
        }),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn docker(archive: &Archive, images: Vec<DockerImage>, wanted: Option<&ImageName>) -> Result<Plan, ImageError> {
    let candidates = images.into_iter().map(|image| (image.repo_tags.clone().unwrap_or_default(), image)).collect();
    let (names, image) = choose(candidates, wanted)?;
    let config = member(archive, &image.config, CONFIG_BYTES_MAX)?;
    // The member is called by its digest, with or without `.json`.
    let stem = image.config.rsplit('/').next().unwrap_or_default().trim_end_matches(".json");
    if let Some(expected) = Digest::parse(&format!("sha256:{stem}")) {
        check("image configuration", &expected, &Digest::of(&config))?;
    }
    let diff_ids = ConfigFile::parse(&config)?.rootfs.diff_ids;
    same_number(image.layers.len(), diff_ids.len())?;
    let layers = image.layers.into_iter().zip(diff_ids).map(|(path, diff_id)| PlannedLayer {
        member: Some(path),
        blob: None,
        diff_id: Some(diff_id),
    });
    Ok(Plan { names, manifests: Vec::new(), layers: layers.collect(), config: PlannedConfig::Given(config) })
}

/// One folder for each layer, with its parent's name in `json`: read from the top down.
fn docker_before_1_10(
    archive: &Archive,
    repositories: BTreeMap<String, BTreeMap<String, String>>,
    wanted: Option<&ImageName>,
) -> Result<Plan, ImageError> {
    #[derive(Deserialize)]
    struct V1 {
        parent: Option<String>,
        config: Option<Value>,
    }
    let mut by_top: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (repository, tags) in repositories {
        for (tag, top) in tags {
            by_top.entry(top).or_default().push(format!("{repository}:{tag}"));
        }
    }
    let (names, top) = choose(by_top.into_iter().map(|(top, names)| (names, top)).collect(), wanted)?;
    let mut layers = Vec::new();
    let mut body = None;
    let mut next = Some(top);
    while let Some(layer) = next {
        if layers.len() == LAYERS_MAX {
            return Err(ImageError::TooLarge { what: "the image".into(), limit: format!("{LAYERS_MAX} layers") });
        }
        let json: V1 = parse(&member(archive, &format!("{layer}/json"), CONFIG_BYTES_MAX)?, &format!("{layer}/json"))?;
        body = body.or(json.config);
        layers.push(PlannedLayer { member: Some(format!("{layer}/layer.tar")), blob: None, diff_id: None });
        next = json.parent.filter(|parent| !parent.is_empty());
    }
    layers.reverse();
    Ok(Plan { names, manifests: Vec::new(), config: PlannedConfig::MadeUp(body), layers })
}

fn oci(archive: &Archive, index: &[u8], wanted: Option<&ImageName>) -> Result<Plan, ImageError> {
    let Manifest::Index(manifests) = Manifest::parse(index, "index.json")? else {
        return Err(ImageError::NotAnImage { path: "index.json".into(), why: "it is not an index".into() });
    };
    let (names, top) = choose_oci(manifests, wanted)?;
    let reference = names.first().map(ImageName::canonical).unwrap_or_default();
    let mut digests = vec![top.digest.clone()];
    let mut descriptor = top;
    for _ in 0..INDEX_DEPTH_MAX {
        let raw = blob(archive, &descriptor, "manifest", MANIFEST_BYTES_MAX)?;
        match Manifest::parse(&raw, &format!("manifest {}", descriptor.digest))? {
            Manifest::Index(inner) => {
                descriptor = for_this_machine(&inner, &reference)?.clone();
                digests.push(descriptor.digest.clone());
            }
            Manifest::Image { config, layers } => {
                let config = blob(archive, &config, "image configuration", CONFIG_BYTES_MAX)?;
                let diff_ids = ConfigFile::parse(&config)?.rootfs.diff_ids;
                same_number(layers.len(), diff_ids.len())?;
                let layers = layers.into_iter().zip(diff_ids).map(|(layer, diff_id)| PlannedLayer {
                    member: Some(blob_path(&layer.digest)),
                    blob: Some(layer),
                    diff_id: Some(diff_id),
                });
                return Ok(Plan {
                    names,
                    manifests: digests,
                    layers: layers.collect(),
                    config: PlannedConfig::Given(config),
                });
            }
        }
    }
    Err(ImageError::BadArchive(format!("indexes are nested deeper than {INDEX_DEPTH_MAX}")))
}

fn choose_oci(
    manifests: Vec<Descriptor>,
    wanted: Option<&ImageName>,
) -> Result<(Vec<ImageName>, Descriptor), ImageError> {
    // One image may be there once for each of its names.
    let mut order: Vec<Digest> = Vec::new();
    let mut images: HashMap<Digest, (Vec<String>, Descriptor)> = HashMap::new();
    for descriptor in &manifests {
        let (names, _) = images.entry(descriptor.digest.clone()).or_insert_with(|| {
            order.push(descriptor.digest.clone());
            (Vec::new(), descriptor.clone())
        });
        let annotation = NAME_ANNOTATIONS.iter().find_map(|key| descriptor.annotations.get(*key));
        // A tag alone (as umoci writes it) is not a name.
        names.extend(annotation.filter(|name| name.contains([':', '/'])).cloned());
    }
    let anonymous = images.values().all(|(names, _)| names.is_empty());
    let platforms = images.values().all(|(_, descriptor)| descriptor.platform.is_some());
    if anonymous && platforms && order.len() > 1 {
        let reference = wanted.map(ImageName::canonical).unwrap_or_default();
        let descriptor = for_this_machine(&manifests, &reference)?.clone();
        return choose(vec![(Vec::new(), descriptor)], wanted);
    }
    let candidates = order.iter().filter_map(|digest| images.remove(digest)).collect();
    choose(candidates, wanted)
}

/// The one image that is meant, and the names it gets.
fn choose<T>(
    mut candidates: Vec<(Vec<String>, T)>,
    wanted: Option<&ImageName>,
) -> Result<(Vec<ImageName>, T), ImageError> {
    let parse_all = |names: &[String]| names.iter().map(|name| ImageName::parse(name)).collect::<Result<Vec<_>, _>>();
    if candidates.len() > 1 {
        let mut all = Vec::new();
        let mut chosen = None;
        for (at, (names, _)) in candidates.iter().enumerate() {
            let parsed = parse_all(names)?;
            if wanted.is_some_and(|wanted| parsed.contains(wanted)) {
                chosen = Some(at);
            }
            all.push(names.first().cloned().unwrap_or_else(|| "one without a name".into()));
        }
        let at = chosen.ok_or(ImageError::SeveralImages(all))?;
        candidates.swap(0, at);
    }
    let (names, image) = candidates
        .into_iter()
        .next()
        .ok_or_else(|| ImageError::NotAnImage { path: "archive".into(), why: "it lists no image".into() })?;
    let names = match wanted {
        Some(name) => vec![name.clone()],
        None => parse_all(&names)?,
    };
    if names.is_empty() { Err(ImageError::NoName) } else { Ok((names, image)) }
}

fn blob(archive: &Archive, descriptor: &Descriptor, what: &str, limit: u64) -> Result<Vec<u8>, ImageError> {
    let content = member(archive, &blob_path(&descriptor.digest), limit)?;
    check(what, &descriptor.digest, &Digest::of(&content))?;
    Ok(content)
}

fn member(archive: &Archive, path: &str, limit: u64) -> Result<Vec<u8>, ImageError> {
    archive.read(path, limit)?.ok_or_else(|| missing(path))
}

pub fn missing(path: &str) -> ImageError {
    ImageError::BadArchive(format!("{path} is missing in it; save the image again"))
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

pub fn same_number(layers: usize, diff_ids: usize) -> Result<(), ImageError> {
    if layers == diff_ids {
        return Ok(());
    }
    Err(ImageError::BadArchive(format!("the manifest has {layers} layers, the image configuration {diff_ids}")))
}
