//! Pull secrets: the credentials in them, which of these are for an image, and pulling with them in the order of a keyring.

use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kontiki_runtime::image::{self, ImageError, ImageErrorKind, ImageInfo, ImageName, ImageStore};

use crate::{containers::Credentials, env::Objects, pod};

/// What secrets call the registry that images without one come from, and what its images call it.
const DEFAULT_REGISTRY: &str = "index.docker.io";
const DEFAULT_REGISTRY_OF_IMAGES: &str = "docker.io";

/// What a pod's `imagePullSecrets` hold.
#[derive(Default)]
pub struct Keyring {
    /// In the order of the secrets.
    pub credentials: Vec<Credentials>,
    /// Secrets that are not there.
    pub missing: Vec<String>,
}

impl Keyring {
    pub fn of(pod: &Pod, objects: &dyn Objects) -> Keyring {
        let mut keyring = Keyring::default();
        let secrets = pod::spec(pod).image_pull_secrets.unwrap_or_default();
        for name in secrets.into_iter().map(|reference| reference.name).filter(|name| !name.is_empty()) {
            match objects.secret(&name) {
                Some(secret) => keyring.credentials.extend(of_secret(&secret)),
                None => keyring.missing.push(name),
            }
        }
        keyring
    }
}

/// Pulls with each of the credentials that are for the image until one is taken; with none of them where there are none.
/// Says which it was had with.
pub async fn pull<'a>(
    images: &ImageStore,
    reference: &str,
    all: &'a [Credentials],
) -> Result<(ImageInfo, Option<&'a Credentials>), ImageError> {
    let name = ImageName::parse(reference)?;
    let mut refused = None;
    for own in for_image(all, &name) {
        let basic = image::Credentials::Basic { username: own.username.clone(), password: own.password.clone() };
        match images.pull(reference, Some(&basic), None).await {
            Err(error) if error.kind() == ImageErrorKind::Unauthorized => refused = Some(error),
            answer => return Ok((answer?, Some(own))),
        }
    }
    match refused {
        Some(error) => Err(error),
        None => Ok((images.pull(reference, None, None).await?, None)),
    }
}

/// The credentials for an image, those of the longest paths first.
pub fn for_image<'a>(all: &'a [Credentials], name: &ImageName) -> Vec<&'a Credentials> {
    let repository = name.repository();
    let mut found: Vec<&Credentials> = all.iter().filter(|one| covers(&one.place, &repository)).collect();
    if found.is_empty() && name.registry() == DEFAULT_REGISTRY_OF_IMAGES {
        found = all.iter().filter(|one| one.place == DEFAULT_REGISTRY).collect();
    }
    found.sort_by(|one, other| other.place.cmp(&one.place));
    found
}

/// Ports are the same, each part of the host matches, and the path begins the image's.
fn covers(place: &str, repository: &str) -> bool {
    let ((host, path), (wanted_host, wanted_path)) = (split(place), split(repository));
    let ((host, port), (wanted_host, wanted_port)) = (without_port(host), without_port(wanted_host));
    let parts = || host.split('.').zip(wanted_host.split('.'));
    port == wanted_port
        && host.split('.').count() == wanted_host.split('.').count()
        && parts().all(|(pattern, part)| matches(pattern, part))
        && wanted_path.starts_with(path)
}

/// Host and path, which begins with a slash if there is one.
fn split(place: &str) -> (&str, &str) {
    place.split_at(place.find('/').unwrap_or(place.len()))
}

fn without_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        // The colon of an IPv6 address is inside of its brackets.
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        Some(_) | None => (host, None),
    }
}

/// `*` stands for any text, `?` for one character. Only the last `*` is ever tried again, so no pattern takes long.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut matched) = (0, 0);
    // Where the last `*` stands, and how much of the text was matched before what is behind it.
    let mut star: Option<(usize, usize)> = None;
    while matched < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, matched));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == text[matched] => (at, matched) = (at + 1, matched + 1),
            Some(_) | None => {
                let Some((before, taken)) = star else { return false };
                star = Some((before, taken + 1));
                (at, matched) = (before + 1, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|left| *left == '*')
}

fn of_secret(secret: &Secret) -> Vec<Credentials> {
    let data = secret.data.clone().unwrap_or_default();
    let parse = |key: &str| serde_json::from_slice::<serde_json::Value>(&data.get(key)?.0).ok();
    let registries = parse(".dockerconfigjson")
        .and_then(|mut config| Some(config.get_mut("auths")?.take()))
        .or_else(|| parse(".dockercfg"));
    let Some(serde_json::Value::Object(registries)) = registries else { return Vec::new() };
    let uid = secret.metadata.uid.as_deref().unwrap_or_default();
    registries.iter().filter_map(|(registry, entry)| of_entry(uid, registry, entry)).collect()
}

fn of_entry(secret: &str, registry: &str, entry: &serde_json::Value) -> Option<Credentials> {
    let field = |name: &str| entry.get(name)?.as_str().map(str::to_owned);
    let (username, password) = match (field("username"), field("password")) {
        (Some(username), Some(password)) => (username, password),
        _ => {
            let decoded = String::from_utf8(STANDARD.decode(field("auth")?).ok()?).ok()?;
            let (username, password) = decoded.split_once(':')?;
            (username.to_owned(), password.to_owned())
        }
    };
    Some(Credentials { secret: secret.to_owned(), place: place(registry), username, password })
}

/// A registry as secrets name it, as host and path: the scheme and the protocol's version do not count.
fn place(registry: &str) -> String {
    let registry = registry.strip_prefix("https://").or_else(|| registry.strip_prefix("http://")).unwrap_or(registry);
    let (host, path) = split(registry);
    let path = path.strip_prefix("/v1/").or_else(|| path.strip_prefix("/v2/")).map_or(path, |_| &path[3..]);
    if path == "/" { host.to_owned() } else { format!("{host}{path}") }
}

#[cfg(test)]
mod tests;
