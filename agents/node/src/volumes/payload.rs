//! What is in a volume that is made of API objects: configMap, secret, downwardAPI, projected. Pure.

use std::{collections::BTreeMap, path::PathBuf};

use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapProjection, DownwardAPIVolumeFile, KeyToPath, Pod, PodSpec, SecretProjection, Volume,
    VolumeProjection,
};

use super::{File, Files};
use crate::{clock::Millis, downward, env::Objects, pod};

const MODE_DEFAULT: i32 = 0o644;

/// Where the contents come from.
pub struct Sources<'a> {
    pub objects: &'a dyn Objects,
    pub tokens: &'a BTreeMap<TokenKey, Token>,
    pub allocatable: &'a BTreeMap<String, String>,
    pub host_ip: &'a str,
    pub pod_ip: &'a str,
}

/// What a token is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenKey {
    pub audience: Option<String>,
    pub expiration_s: i64,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub issued_ms: Millis,
    pub expires_ms: Millis,
}

pub struct Payload {
    pub files: Files,
    pub in_memory: bool,
}

/// The tokens that a pod's volumes need.
pub fn tokens_of(pod: &Pod) -> Vec<TokenKey> {
    let spec = pod::spec(pod);
    let projections = spec.volumes.iter().flatten().filter_map(|volume| volume.projected.as_ref());
    let sources = projections.flat_map(|projected| projected.sources.iter().flatten());
    sources.filter_map(|source| source.service_account_token.as_ref()).map(token_key).collect()
}

fn token_key(projection: &k8s_openapi::api::core::v1::ServiceAccountTokenProjection) -> TokenKey {
    TokenKey {
        audience: projection.audience.clone().filter(|audience| !audience.is_empty()),
        expiration_s: projection.expiration_seconds.unwrap_or(3600),
    }
}

/// When the first of the tokens has to be renewed.
pub fn expiring_at_ms(tokens: &BTreeMap<TokenKey, Token>) -> Option<Millis> {
    tokens.values().map(renew_at_ms).min()
}

pub fn renew_at_ms(token: &Token) -> Millis {
    let life = token.expires_ms - token.issued_ms;
    let share = (life as f64 * crate::limits::TOKEN_RENEW_AT) as Millis;
    token.issued_ms + share.min(crate::limits::TOKEN_AGE_MAX_MS)
}

pub fn of(pod: &Pod, volume: &Volume, sources: &Sources<'_>) -> Result<Payload, String> {
    let mut files = Files::new();
    let mut in_memory = false;
    if let Some(map) = &volume.config_map {
        let source = ConfigMapProjection { name: map.name.clone(), items: map.items.clone(), optional: map.optional };
        config_map(&source, mode(map.default_mode), sources, &mut files)?;
    } else if let Some(secret) = &volume.secret {
        let name = secret.secret_name.clone().unwrap_or_default();
        let source = SecretProjection { name, items: secret.items.clone(), optional: secret.optional };
        self::secret(&source, mode(secret.default_mode), sources, &mut files)?;
        in_memory = true;
    } else if let Some(api) = &volume.downward_api {
        downward_files(pod, api.items.as_deref().unwrap_or_default(), mode(api.default_mode), sources, &mut files)?;
        in_memory = true;
    } else if let Some(projected) = &volume.projected {
        for source in projected.sources.iter().flatten() {
            projection(pod, source, mode(projected.default_mode), sources, &mut files)?;
        }
        in_memory = true;
    }
    Ok(Payload { files, in_memory })
}

fn mode(mode: Option<i32>) -> u32 {
    mode.unwrap_or(MODE_DEFAULT).unsigned_abs() & 0o777
}

fn projection(
    pod: &Pod,
    source: &VolumeProjection,
    default_mode: u32,
    sources: &Sources<'_>,
    files: &mut Files,
) -> Result<(), String> {
    if let Some(map) = &source.config_map {
        config_map(map, default_mode, sources, files)?;
    }
    if let Some(secret) = &source.secret {
        self::secret(secret, default_mode, sources, files)?;
    }
    if let Some(api) = &source.downward_api {
        downward_files(pod, api.items.as_deref().unwrap_or_default(), default_mode, sources, files)?;
    }
    if let Some(token) = &source.service_account_token {
        let key = token_key(token);
        let found = sources.tokens.get(&key).ok_or("the service account token has not been issued yet")?;
        let content = found.text.clone().into_bytes();
        files.insert(PathBuf::from(&token.path), token_file(pod, content, default_mode));
    }
    if source.cluster_trust_bundle.is_some() || source.pod_certificate.is_some() {
        return Err("clusterTrustBundle and podCertificate projections are not supported on this node".to_owned());
    }
    Ok(())
}

/// A pod that says as whom it runs, or what its group is, gets a token that nobody else reads; the group may, as it may read
/// every file of a volume.
fn token_file(pod: &Pod, content: Vec<u8>, default_mode: u32) -> File {
    let spec = pod::spec(pod);
    let fs_group = spec.security_context.as_ref().and_then(|context| context.fs_group);
    let owner = only_user(&spec);
    let mode = if owner.is_some() || fs_group.is_some() { 0o600 } else { default_mode };
    File { content, mode, owner }
}

/// The user that all containers say they run as.
fn only_user(spec: &PodSpec) -> Option<u32> {
    let of_pod = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let mut users = pod::containers(spec).map(|container| {
        let own = container.security_context.as_ref().and_then(|context| context.run_as_user);
        own.or(of_pod)
    });
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
}

fn config_map(
    source: &ConfigMapProjection,
    default_mode: u32,
    sources: &Sources<'_>,
    files: &mut Files,
) -> Result<(), String> {
    let optional = source.optional == Some(true);
    let Some(map) = sources.objects.config_map(&source.name) else {
        return if optional { Ok(()) } else { Err(format!("configmap {:?} not found", source.name)) };
    };
    let missing = |key: &str| format!("references non-existent config key: {key}");
    select(contents(map), source.items.as_deref(), default_mode, optional, missing, files)
}

fn contents(map: ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
    let binary = map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
    text.chain(binary).collect()
}

fn secret(
    source: &SecretProjection,
    default_mode: u32,
    sources: &Sources<'_>,
    files: &mut Files,
) -> Result<(), String> {
    let optional = source.optional == Some(true);
    let Some(secret) = sources.objects.secret(&source.name) else {
        return if optional { Ok(()) } else { Err(format!("secret {:?} not found", source.name)) };
    };
    let contents = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect();
    let missing = |key: &str| format!("references non-existent secret key: {key}");
    select(contents, source.items.as_deref(), default_mode, optional, missing, files)
}

/// All keys, or those that `items` names, at the paths it names.
fn select(
    contents: BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    default_mode: u32,
    optional: bool,
    missing: impl Fn(&str) -> String,
    files: &mut Files,
) -> Result<(), String> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        files.extend(
            contents.into_iter().map(|(key, content)| (key.into(), File { content, mode: default_mode, owner: None })),
        );
        return Ok(());
    };
    for item in items {
        let mode = item.mode.map_or(default_mode, |mode| mode.unsigned_abs() & 0o777);
        match contents.get(&item.key).cloned() {
            Some(content) => drop(files.insert(PathBuf::from(&item.path), File { content, mode, owner: None })),
            None if optional => {}
            None => return Err(missing(&item.key)),
        }
    }
    Ok(())
}

fn downward_files(
    pod: &Pod,
    items: &[DownwardAPIVolumeFile],
    default_mode: u32,
    sources: &Sources<'_>,
    files: &mut Files,
) -> Result<(), String> {
    let spec = pod::spec(pod);
    let addresses = downward::Addresses { host_ip: sources.host_ip, pod_ip: sources.pod_ip };
    for item in items {
        let text = if let Some(field) = &item.field_ref {
            downward::field(pod, &field.field_path, addresses)?
        } else if let Some(resource) = &item.resource_field_ref {
            let name = resource.container_name.as_deref().unwrap_or_default();
            let container = pod::container(&spec, name).ok_or_else(|| format!("container {name:?} not found"))?;
            downward::resource(&container, resource, sources.allocatable)?
        } else {
            String::new()
        };
        let mode = item.mode.map_or(default_mode, |mode| mode.unsigned_abs() & 0o777);
        files.insert(PathBuf::from(&item.path), File { content: text.into_bytes(), mode, owner: None });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_token_is_for_the_one_user_or_the_group_or_everybody() {
        let user = |user: Value| json!({"securityContext": {"runAsUser": user}});
        let table = [
            (json!({}), [json!({}), json!({})], (0o644, None)),
            (json!({"runAsUser": 0}), [json!({}), json!({})], (0o600, Some(0))),
            (json!({"runAsUser": 1000}), [json!({}), json!({})], (0o600, Some(1000))),
            (json!({}), [user(json!(7)), user(json!(7))], (0o600, Some(7))),
            (json!({}), [user(json!(7)), user(json!(8))], (0o644, None)),
            (json!({}), [user(json!(7)), json!({})], (0o644, None)),
            (json!({"fsGroup": 10000}), [json!({}), json!({})], (0o600, None)),
            (json!({"fsGroup": 10000, "runAsUser": 7}), [json!({}), json!({})], (0o600, Some(7))),
        ];
        for (context, containers, expected) in table {
            let [mut first, mut second] = containers;
            (first["name"], second["name"]) = ("a".into(), "b".into());
            let spec = json!({"securityContext": context, "initContainers": [first], "containers": [second]});
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
            let file = token_file(&pod, Vec::new(), 0o644);
            assert_eq!((file.mode, file.owner), expected, "{spec}");
        }
    }

    #[test]
    fn a_key_may_be_at_several_paths() {
        let contents = || BTreeMap::from([("k".to_owned(), b"1".to_vec()), ("other".to_owned(), b"2".to_vec())]);
        let selected = |items: Value, optional: bool| {
            let items: Vec<KeyToPath> = serde_json::from_value(items).unwrap();
            let mut files = Files::new();
            select(contents(), Some(&items), 0o644, optional, |key| format!("no {key}"), &mut files)?;
            Ok(files.into_iter().map(|(path, file)| (path.display().to_string(), file.content)).collect::<Vec<_>>())
        };
        let file = |path: &str| (path.to_owned(), b"1".to_vec());
        for (items, optional, expected) in [
            (json!([{"key": "k", "path": "a"}]), false, Ok(vec![file("a")])),
            (json!([{"key": "k", "path": "a"}, {"key": "k", "path": "b/c"}]), false, Ok(vec![file("a"), file("b/c")])),
            (json!([{"key": "k", "path": "a"}, {"key": "k", "path": "b"}]), true, Ok(vec![file("a"), file("b")])),
            (json!([{"key": "k", "path": "a"}, {"key": "x", "path": "b"}]), true, Ok(vec![file("a")])),
            (json!([{"key": "x", "path": "b"}]), false, Err("no x".to_owned())),
        ] {
            assert_eq!(selected(items.clone(), optional), expected, "{items}");
        }
    }
}
