//! Image configurations, manifests and indexes, of OCI and Docker alike: only the fields that are used, tolerant of the rest.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{digest::Digest, error::ImageError, limits::LAYERS_MAX};

/// What an image says about running it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// `(name, value)`, in the image's order.
    pub env: Vec<(String, String)>,
    pub working_dir: String,
    pub user: String,
    pub stop_signal: Option<String>,
    /// `80/tcp`.
    pub exposed_ports: Vec<String>,
    pub volumes: Vec<String>,
    pub labels: BTreeMap<String, String>,
}

/// The configuration file, as it is stored.
#[derive(Debug, Deserialize)]
pub struct ConfigFile {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    config: Option<ConfigBody>,
    pub rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
pub struct RootFs {
    #[serde(default, deserialize_with = "null_as_empty")]
    pub diff_ids: Vec<Digest>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ConfigBody {
    #[serde(deserialize_with = "null_as_empty")]
    user: String,
    #[serde(deserialize_with = "null_as_empty")]
    exposed_ports: BTreeMap<String, Value>,
    #[serde(deserialize_with = "null_as_empty")]
    env: Vec<String>,
    #[serde(deserialize_with = "null_as_empty")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "null_as_empty")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "null_as_empty")]
    volumes: BTreeMap<String, Value>,
    #[serde(deserialize_with = "null_as_empty")]
    working_dir: String,
    stop_signal: Option<String>,
    #[serde(deserialize_with = "null_as_empty")]
    labels: BTreeMap<String, String>,
}

/// Go writes an empty list or map as `null`.
fn null_as_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl ConfigFile {
    pub fn parse(raw: &[u8]) -> Result<Self, ImageError> {
        let file: Self = parse(raw, "image configuration")?;
        if file.rootfs.diff_ids.len() > LAYERS_MAX {
            return Err(ImageError::TooLarge { what: "the image".into(), limit: format!("{LAYERS_MAX} layers") });
        }
        Ok(file)
    }

    /// What a root filesystem without a configuration gets: this machine's platform and nothing to run. No time in it, so that
    /// the same files are the same image.
    pub fn made_up(diff_ids: &[Digest], body: Option<&Value>) -> Vec<u8> {
        let machine = Platform::machine();
        let file = serde_json::json!({
            "architecture": machine.architecture,
            "os": machine.os,
            "config": body.cloned().unwrap_or_else(|| serde_json::json!({})),
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        serde_json::to_vec(&file).expect("a value of strings is always JSON")
    }

    /// Fails unless the image runs here. Images that do not say (old ones) are believed.
    pub fn check_platform(&self, reference: &str) -> Result<(), ImageError> {
        let machine = Platform::machine();
        let os = if self.os.is_empty() { &machine.os } else { &self.os };
        let architecture = if self.architecture.is_empty() { &machine.architecture } else { &self.architecture };
        if *os == machine.os && *architecture == machine.architecture {
            return Ok(());
        }
        Err(ImageError::WrongPlatform {
            reference: reference.to_owned(),
            image: format!("{os}/{architecture}"),
            machine: machine.to_string(),
        })
    }

    pub fn into_config(self) -> ImageConfig {
        let body = self.config.unwrap_or_default();
        let split = |entry: String| match entry.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (entry, String::new()),
        };
        ImageConfig {
            entrypoint: body.entrypoint,
            cmd: body.cmd,
            env: body.env.into_iter().map(split).collect(),
            working_dir: body.working_dir,
            user: body.user,
            stop_signal: body.stop_signal.filter(|signal| !signal.is_empty()),
            exposed_ports: body.exposed_ports.into_keys().collect(),
            volumes: body.volumes.into_keys().collect(),
            labels: body.labels,
        }
    }
}

/// Operating system and architecture, in Go's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Platform {
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub variant: Option<String>,
}

impl Platform {
    pub fn machine() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "loongarch64" => "loong64",
            other => other,
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: None }
    }

    fn runs_on(&self, machine: &Self) -> bool {
        self.os == machine.os && self.architecture == machine.architecture
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// A reference by digest to a blob.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default)]
    pub platform: Option<Platform>,
    #[serde(default)]
    pub annotations: HashMap<String, String>,
}

/// What configurations of container images call themselves; early Docker knew no better than the last.
const CONFIG_MEDIA_TYPES: [&str; 3] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
    "application/octet-stream",
];

/// A manifest of one image or an index of several.
#[derive(Debug)]
pub enum Manifest {
    Image { config: Descriptor, layers: Vec<Descriptor> },
    Index(Vec<Descriptor>),
}

impl Manifest {
    pub fn parse(raw: &[u8], what: &str) -> Result<Self, ImageError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct File {
            #[serde(default)]
            schema_version: u32,
            config: Option<Descriptor>,
            layers: Option<Vec<Descriptor>>,
            manifests: Option<Vec<Descriptor>>,
        }
        let file: File = parse(raw, what)?;
        let unusable = |why: &str| ImageError::NotAnImage { path: what.to_owned(), why: why.to_owned() };
        match file {
            File { schema_version: 1, .. } => {
                Err(unusable("Docker's schema 1 is no longer supported: push the image again"))
            }
            File { manifests: Some(manifests), .. } => Ok(Self::Index(manifests)),
            File { config: Some(config), layers, .. } => {
                if !config.media_type.is_empty() && !CONFIG_MEDIA_TYPES.contains(&config.media_type.as_str()) {
                    return Err(unusable(&format!(
                        "it is an artifact with {}, not a container image",
                        config.media_type
                    )));
                }
                let layers = layers.unwrap_or_default();
                match layers.len() {
                    0..=LAYERS_MAX => Ok(Self::Image { config, layers }),
                    _ => Err(ImageError::TooLarge { what: "the image".into(), limit: format!("{LAYERS_MAX} layers") }),
                }
            }
            _ => Err(unusable("it is neither an image manifest nor an index")),
        }
    }
}

/// The entry of an index that runs on this machine. Attestations (platform `unknown`) are never chosen.
pub fn for_this_machine<'a>(manifests: &'a [Descriptor], reference: &str) -> Result<&'a Descriptor, ImageError> {
    let machine = Platform::machine();
    let matching = |d: &&Descriptor| d.platform.as_ref().is_some_and(|platform| platform.runs_on(&machine));
    if let Some(found) = manifests.iter().find(matching) {
        return Ok(found);
    }
    match manifests {
        // An index without platforms has one image in it; its configuration will tell.
        [only] if only.platform.is_none() => Ok(only),
        _ => {
            let mut offered: Vec<String> =
                manifests.iter().filter_map(|d| d.platform.as_ref()).map(ToString::to_string).collect();
            offered.retain(|platform| !platform.starts_with("unknown"));
            Err(ImageError::WrongPlatform {
                reference: reference.to_owned(),
                image: if offered.is_empty() { "no platform at all".into() } else { offered.join(", ") },
                machine: machine.to_string(),
            })
        }
    }
}

pub fn parse<'a, T: Deserialize<'a>>(raw: &'a [u8], what: &str) -> Result<T, ImageError> {
    serde_json::from_slice(raw)
        .map_err(|e| ImageError::NotAnImage { path: what.to_owned(), why: format!("it cannot be read: {e}") })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_docker_configuration_with_nulls() {
        let id = Digest::of(b"x");
        let raw = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"User":"","ExposedPorts":{{"80/tcp":{{}}}},"Env":["PATH=/bin","A"],
            "Cmd":["sh"],"Entrypoint":null,"Volumes":null,"WorkingDir":"/w","Labels":null,"OnBuild":null,"StopSignal":"SIGQUIT"}},
            "rootfs":{{"type":"layers","diff_ids":["{id}"]}}}}"#
        );
        let file = ConfigFile::parse(raw.as_bytes()).unwrap();
        assert_eq!(file.rootfs.diff_ids, [id]);
        let expected = ImageConfig {
            cmd: vec!["sh".into()],
            env: vec![("PATH".into(), "/bin".into()), ("A".into(), String::new())],
            working_dir: "/w".into(),
            stop_signal: Some("SIGQUIT".into()),
            exposed_ports: vec!["80/tcp".into()],
            ..ImageConfig::default()
        };
        assert_eq!(file.into_config(), expected);
    }

    #[test]
    fn an_index_gives_this_machine_s_entry() {
        let entry = |os: &str, architecture: &str| Descriptor {
            media_type: String::new(),
            digest: Digest::of(architecture.as_bytes()),
            size: 1,
            platform: Some(Platform { os: os.into(), architecture: architecture.into(), variant: None }),
            annotations: HashMap::new(),
        };
        let machine = Platform::machine().architecture;
        let index = [entry("unknown", "unknown"), entry("windows", &machine), entry("linux", &machine)];
        assert_eq!(for_this_machine(&index, "demo").unwrap().digest, index[2].digest);
        let error = for_this_machine(&[entry("linux", "s390x"), entry("unknown", "unknown")], "demo").unwrap_err();
        assert!(error.to_string().starts_with("image demo is for linux/s390x, this machine is linux/"), "{error}");
    }

    #[test]
    fn wrong_platform_is_refused_and_none_is_believed() {
        let file = |raw: &str| ConfigFile::parse(raw.as_bytes()).unwrap();
        assert!(file(r#"{"rootfs":{"diff_ids":null}}"#).check_platform("demo").is_ok());
        assert!(file(r#"{"os":"windows","architecture":"amd64","rootfs":{}}"#).check_platform("demo").is_err());
    }
}
