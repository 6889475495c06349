//! A container's environment: the image's, the services', the pod's own, with `$(NAME)` expanded as Kubernetes does.
//! Pure: what has to be read was read before.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{ConfigMap, Container, EnvVar, EnvVarSource, FileKeySelector, Pod, Secret, Service},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{
    downward, env_file,
    limits::{ENV_FILE_KEY_MAX, ENV_FILE_VALUE_MAX},
};

/// Where ConfigMaps and Secrets of the pod's namespace come from.
pub trait Objects {
    fn config_map(&self, name: &str) -> Option<ConfigMap>;
    fn secret(&self, name: &str) -> Option<Secret>;
}

/// What is known when the environment is made.
pub struct Surroundings<'a> {
    pub pod: &'a Pod,
    pub namespace: &'a str,
    /// With the addresses this run has.
    pub host_ip: String,
    pub pod_ip: String,
    pub allocatable: &'a BTreeMap<String, String>,
    pub services: BTreeMap<String, String>,
    pub files: &'a dyn Files,
}

/// Where files of the pod's volumes come from.
pub trait Files {
    /// The file's content, or why it cannot be read; `None` if there is no such volume.
    fn read(&self, volume: &str, path: &str) -> Option<Result<String, String>>;
}

/// The environment in the order it was declared; the message of a failure is what Kubernetes shows.
pub fn environment(
    container: &Container,
    image_env: &[String],
    around: &Surroundings<'_>,
    objects: &dyn Objects,
) -> Result<Vec<(String, String)>, String> {
    let mut env = Ordered::default();
    for entry in image_env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        env.set(name, value.to_owned());
    }
    for (name, value) in &around.services {
        env.set(name, value.clone());
    }
    for (name, value) in from_sources(container, around, objects)? {
        env.set(&name, value);
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            Some(source) => from_source(variable, source, container, around, objects)?,
            None => Some(expand(variable.value.as_deref().unwrap_or_default(), &env.values)),
        };
        if let Some(value) = value {
            env.set(&variable.name, value);
        }
    }
    Ok(env.into_pairs())
}

/// `envFrom`: every key that can be a name. Kubernetes skips the others.
fn from_sources(
    container: &Container,
    around: &Surroundings<'_>,
    objects: &dyn Objects,
) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &source.config_map_ref {
            match objects.config_map(&reference.name) {
                Some(map) => {
                    found.extend(map.data.unwrap_or_default().into_iter().map(|(k, v)| (prefix.to_owned() + &k, v)))
                }
                None if reference.optional == Some(true) => {}
                None => return Err(format!("configmap {:?} not found", reference.name)),
            }
        }
        if let Some(reference) = &source.secret_ref {
            match objects.secret(&reference.name) {
                Some(secret) => {
                    for (key, value) in secret.data.unwrap_or_default() {
                        found.push((format!("{prefix}{key}"), text(value.0, &key, &reference.name, around.namespace)?));
                    }
                }
                None if reference.optional == Some(true) => {}
                None => return Err(format!("secret {:?} not found", reference.name)),
            }
        }
    }
    found.retain(|(name, _)| is_name(name));
    Ok(found)
}

/// A name is printable ASCII without `=`.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'=')
}

/// `None` for an optional reference that leads nowhere.
fn from_source(
    variable: &EnvVar,
    source: &EnvVarSource,
    container: &Container,
    around: &Surroundings<'_>,
    objects: &dyn Objects,
) -> Result<Option<String>, String> {
    if let Some(field) = &source.field_ref {
        let addresses = downward::Addresses { host_ip: &around.host_ip, pod_ip: &around.pod_ip };
        return downward::field(around.pod, &field.field_path, addresses).map(Some);
    }
    if let Some(resource) = &source.resource_field_ref {
        let spec = around.pod.spec.as_ref();
        let named = resource.container_name.as_deref().and_then(|name| crate::pod::container(spec?, name));
        return downward::resource(named.as_deref().unwrap_or(container), resource, around.allocatable).map(Some);
    }
    if let Some(key) = &source.config_map_key_ref {
        let optional = key.optional == Some(true);
        return match objects.config_map(&key.name) {
            None if optional => Ok(None),
            None => Err(format!("configmap {:?} not found", key.name)),
            Some(map) => match map.data.unwrap_or_default().remove(&key.key) {
                None if optional => Ok(None),
                None => Err(format!("couldn't find key {} in ConfigMap {}/{}", key.key, around.namespace, key.name)),
                found @ Some(_) => Ok(found),
            },
        };
    }
    if let Some(key) = &source.secret_key_ref {
        let optional = key.optional == Some(true);
        return match objects.secret(&key.name) {
            None if optional => Ok(None),
            None => Err(format!("secret {:?} not found", key.name)),
            Some(secret) => match secret.data.unwrap_or_default().remove(&key.key) {
                None if optional => Ok(None),
                None => Err(format!("couldn't find key {} in Secret {}/{}", key.key, around.namespace, key.name)),
                Some(value) => text(value.0, &key.key, &key.name, around.namespace).map(Some),
            },
        };
    }
    if let Some(key) = &source.file_key_ref {
        return from_file(key, around.files);
    }
    Err(format!("environment variable {:?} has a source that this node does not know", variable.name))
}

/// An empty value is none, as for the kubelet.
fn from_file(key: &FileKeySelector, files: &dyn Files) -> Result<Option<String>, String> {
    let FileKeySelector { key, optional, path, volume_name: volume } = key;
    let read = files.read(volume, path);
    let text = read.ok_or_else(|| format!("cannot find the volume {volume:?} referenced by FileKeyRef"))?;
    if key.len() > ENV_FILE_KEY_MAX {
        return Err(format!(
            "environment variable key {key:?} exceeds maximum length of {ENV_FILE_KEY_MAX} characters"
        ));
    }
    let found = text.and_then(|text| env_file::value(&text, key)).map_err(|error| {
        // Only for the node's own log: what is in the file may be secret.
        tracing::warn!(volume, path, error, "a file of variables cannot be read");
        "couldn't parse env file".to_owned()
    })?;
    match found.filter(|value| !value.is_empty()) {
        Some(value) if value.len() > ENV_FILE_VALUE_MAX => {
            Err("environment variable value exceeds maximum size of 32KB".to_owned())
        }
        None if *optional != Some(true) => Err(format!("environment variable key {key:?} not found in file {path:?}")),
        found => Ok(found),
    }
}

fn text(bytes: Vec<u8>, key: &str, secret: &str, namespace: &str) -> Result<String, String> {
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        Ok(_) | Err(_) => Err(format!(
            "key {key} in Secret {namespace}/{secret} is not text and cannot be an environment variable: mount it as a file"
        )),
    }
}

#[derive(Default)]
struct Ordered {
    names: Vec<String>,
    values: BTreeMap<String, String>,
}

impl Ordered {
    fn set(&mut self, name: &str, value: String) {
        if self.values.insert(name.to_owned(), value).is_none() {
            self.names.push(name.to_owned());
        }
    }

    fn into_pairs(mut self) -> Vec<(String, String)> {
        let values = &mut self.values;
        self.names.into_iter().filter_map(|name| Some((name.clone(), values.remove(&name)?))).collect()
    }
}

/// `$(NAME)` becomes the variable's value, `$$` a dollar; what is not defined stays as it is written.
pub fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        rest = match after.chars().next() {
            Some('$') => {
                out.push('$');
                &after[1..]
            }
            Some('(') => match after.find(')') {
                Some(end) => {
                    let name = &after[1..end];
                    match variables.get(name) {
                        Some(value) => out.push_str(value),
                        None => out.push_str(&rest[at..=at + 1 + end]),
                    }
                    &after[end + 1..]
                }
                None => {
                    out.push_str("$(");
                    &after[1..]
                }
            },
            Some(_) | None => {
                out.push('$');
                after
            }
        };
    }
    out.push_str(rest);
    out
}

/// The variables that tell of services: all of the pod's namespace if it wants links, the API's own always.
pub fn service_variables<'a>(
    services: impl Iterator<Item = &'a Service>,
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for service in services {
        let own = service.metadata.namespace.as_deref().unwrap_or_default();
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let api = own == "default" && name == "kubernetes";
        if api || (links && own == namespace) {
            found.extend(one_service(name, service));
        }
    }
    found
}

fn one_service(name: &str, service: &Service) -> Vec<(String, String)> {
    let spec = service.spec.clone().unwrap_or_default();
    let Some(address) = spec.cluster_ip.filter(|ip| !ip.is_empty() && ip != "None") else { return Vec::new() };
    let upper = |text: &str| text.to_uppercase().replace('-', "_");
    let prefix = upper(name);
    let ports = spec.ports.unwrap_or_default();
    let Some(first) = ports.first() else { return Vec::new() };
    let joined = match address.contains(':') {
        true => format!("[{address}]"),
        false => address.clone(),
    };
    let mut found = vec![
        (format!("{prefix}_SERVICE_HOST"), address.clone()),
        (format!("{prefix}_SERVICE_PORT"), first.port.to_string()),
    ];
    for port in &ports {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let url = format!("{}://{joined}:{}", protocol.to_lowercase(), port.port);
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            found.push((format!("{prefix}_SERVICE_PORT_{}", upper(port_name)), port.port.to_string()));
        }
        if port == first {
            found.push((format!("{prefix}_PORT"), url.clone()));
        }
        let one = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_uppercase());
        found.push((one.clone(), url));
        found.push((format!("{one}_PROTO"), protocol.to_lowercase()));
        found.push((format!("{one}_PORT"), port.port.to_string()));
        found.push((format!("{one}_ADDR"), address.clone()));
    }
    found
}

/// A port by number, or by the name the container gives it.
pub fn port(container: &Container, port: &IntOrString) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_ref() == Some(name))
            .and_then(|port| u16::try_from(port.container_port).ok())
            .or_else(|| name.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion_is_kubernetes_expansion() {
        let variables = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("B".to_owned(), String::new())]);
        for (text, expected) in [
            ("$(A)", "1"),
            ("x$(A)y$(B)z", "x1yz"),
            ("$$(A)", "$(A)"),
            ("$(NONE)", "$(NONE)"),
            ("$(A", "$(A"),
            ("$", "$"),
            ("$A", "$A"),
            ("$$$(A)", "$1"),
            ("ü$(A)ü", "ü1ü"),
        ] {
            assert_eq!(expand(text, &variables), expected, "{text}");
        }
    }

    struct OneFile(&'static str);

    impl Files for OneFile {
        fn read(&self, volume: &str, path: &str) -> Option<Result<String, String>> {
            let read = if path == "vars" { Ok(self.0.to_owned()) } else { Err("no such file".to_owned()) };
            (volume == "v").then_some(read)
        }
    }

    #[test]
    fn a_variable_comes_from_a_file_of_a_volume() {
        let none = "couldn't parse env file";
        for (text, volume, path, optional, expected) in [
            ("KEY='x'", "v", "vars", false, Ok(Some("x"))),
            ("OTHER='x'", "v", "vars", false, Err("environment variable key \"KEY\" not found in file \"vars\"")),
            ("KEY=''", "v", "vars", false, Err("environment variable key \"KEY\" not found in file \"vars\"")),
            ("OTHER='x'", "v", "vars", true, Ok(None)),
            ("KEY=x", "v", "vars", true, Err(none)),
            ("", "v", "missing", true, Err(none)),
            ("", "w", "vars", true, Err("cannot find the volume \"w\" referenced by FileKeyRef")),
        ] {
            let key = FileKeySelector {
                key: "KEY".into(),
                optional: Some(optional),
                path: path.into(),
                volume_name: volume.into(),
            };
            let expected = expected.map(|value| value.map(str::to_owned)).map_err(str::to_owned);
            assert_eq!(from_file(&key, &OneFile(text)), expected, "{text} {volume}/{path}");
        }
        let long =
            FileKeySelector { key: "K".repeat(129), path: "vars".into(), volume_name: "v".into(), optional: None };
        assert!(from_file(&long, &OneFile("")).unwrap_err().ends_with("exceeds maximum length of 128 characters"));
    }

    #[test]
    fn services_are_told_as_docker_links_were() {
        let service: Service = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "my-web", "namespace": "shop"},
            "spec": {"clusterIP": "10.0.0.9", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}
        }))
        .unwrap();
        let found = service_variables([&service].into_iter(), "shop", true);
        let expected = [
            ("MY_WEB_PORT", "tcp://10.0.0.9:80"),
            ("MY_WEB_PORT_80_TCP", "tcp://10.0.0.9:80"),
            ("MY_WEB_PORT_80_TCP_ADDR", "10.0.0.9"),
            ("MY_WEB_PORT_80_TCP_PORT", "80"),
            ("MY_WEB_PORT_80_TCP_PROTO", "tcp"),
            ("MY_WEB_SERVICE_HOST", "10.0.0.9"),
            ("MY_WEB_SERVICE_PORT", "80"),
            ("MY_WEB_SERVICE_PORT_HTTP", "80"),
        ];
        assert_eq!(found, expected.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect());
        assert_eq!(service_variables([&service].into_iter(), "shop", false), BTreeMap::new());
        assert_eq!(service_variables([&service].into_iter(), "other", true), BTreeMap::new());
    }
}
