//! What admission is told at its start: Kubernetes' `AdmissionConfiguration`, which holds a configuration for each plugin.

use kontiki_kinds::podsecurity;
use kontiki_model::Faults;
use serde_json::Value;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdmissionConfig {
    pub pod_security: podsecurity::Configuration,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionConfigError {
    #[error("it cannot be read: {0}")]
    Syntax(String),
    #[error("{0} must be {1}")]
    Member(String, &'static str),
    #[error("there is no admission plugin {0:?} that is configured")]
    Unknown(String),
    #[error("plugin {plugin}: {file}: {reason}")]
    File { plugin: String, file: String, reason: String },
    #[error("plugin {plugin}: {reason}")]
    Plugin { plugin: String, reason: String },
}

const POD_SECURITY: &str = "PodSecurity";

impl AdmissionConfig {
    /// Reads YAML or JSON. A plugin's configuration stands in it, or in a file that it names, whose text `open` tells.
    pub fn read(
        text: &str,
        open: &mut dyn FnMut(&str) -> Result<String, String>,
    ) -> Result<Self, AdmissionConfigError> {
        let document = parse(text).map_err(AdmissionConfigError::Syntax)?;
        for (member, expected) in [("apiVersion", "apiserver.config.k8s.io/v1"), ("kind", "AdmissionConfiguration")] {
            if document[member] != expected {
                return Err(AdmissionConfigError::Member(member.to_owned(), expected));
            }
        }
        let mut config = AdmissionConfig::default();
        for (index, plugin) in document["plugins"].as_array().into_iter().flatten().enumerate() {
            let Some(name) = plugin["name"].as_str() else {
                return Err(AdmissionConfigError::Member(format!("plugins[{index}].name"), "a plugin's name"));
            };
            let given = match plugin["path"].as_str() {
                Some(file) => {
                    let failed =
                        |reason| AdmissionConfigError::File { plugin: name.to_owned(), file: file.to_owned(), reason };
                    open(file).and_then(|text| parse(&text)).map_err(failed)?
                }
                None => plugin["configuration"].clone(),
            };
            let failed =
                |faults: Faults| AdmissionConfigError::Plugin { plugin: name.to_owned(), reason: told(&faults) };
            match name {
                POD_SECURITY => config.pod_security = podsecurity::Configuration::read(&given).map_err(failed)?,
                other => return Err(AdmissionConfigError::Unknown(other.to_owned())),
            }
        }
        Ok(config)
    }
}

fn parse(text: &str) -> Result<Value, String> {
    let document = kontiki_schema::decode_yaml(text.as_bytes()).map_err(|error| error.to_string())?;
    match document.duplicates.first() {
        Some(duplicate) => Err(duplicate.message.clone()),
        None => Ok(document.value),
    }
}

fn told(faults: &Faults) -> String {
    faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\n";
    const POD_SECURITY: &str = "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\n\
        defaults: {enforce: baseline}\nexemptions: {namespaces: [kube-system]}\n";

    fn read(plugins: &str) -> Result<AdmissionConfig, AdmissionConfigError> {
        let mut open = |file: &str| match file {
            "ps.yaml" => Ok(POD_SECURITY.to_owned()),
            _ => Err("no such file".to_owned()),
        };
        AdmissionConfig::read(&format!("{HEAD}{plugins}"), &mut open)
    }

    #[test]
    fn a_plugin_is_configured_in_place_or_in_a_file_and_what_is_unknown_is_refused() {
        let in_file = read("plugins: [{name: PodSecurity, path: ps.yaml}]").unwrap();
        assert_eq!(in_file.pod_security.exemptions.namespaces, ["kube-system"]);
        let indented = POD_SECURITY.lines().map(|line| format!("    {line}\n")).collect::<String>();
        let in_place = read(&format!("plugins:\n- name: PodSecurity\n  configuration:\n{indented}")).unwrap();
        assert_eq!(in_place, in_file);
        assert_eq!(read("plugins: []").unwrap(), AdmissionConfig::default());
        for (plugins, expected) in [
            ("plugins: [{name: PodSecurity, path: x}]", "plugin PodSecurity: x: no such file"),
            ("plugins: [{name: Other}]", "there is no admission plugin \"Other\" that is configured"),
            ("plugins: [{}]", "plugins[0].name must be a plugin's name"),
            ("kind: Other", "it cannot be read: "),
        ] {
            let error = read(plugins).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let wrong = read(
            "plugins: [{name: PodSecurity, configuration: {apiVersion: pod-security.admission.config.k8s.io/v1, \
             kind: PodSecurityConfiguration, defaults: {enforce: all}}}]",
        );
        let expected = "plugin PodSecurity: defaults.enforce: Invalid value: \"all\": must be one of privileged, baseline, restricted";
        assert_eq!(wrong.unwrap_err().to_string(), expected);
    }
}
