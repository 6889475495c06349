//! What holds where a namespace says nothing, and whom none of it concerns: Kubernetes' `PodSecurityConfiguration`.

use std::collections::BTreeMap;

use kontiki_model::Faults;
use serde_json::Value;

use super::level::{Level, Version};
use super::policy::{AUDIT_PREFIX, Policy};
use crate::names::{label, report, subdomain};
use crate::tree::{at, list, members, text};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    pub defaults: Policy,
    pub exemptions: Exemptions,
}

/// Whose writes, which namespaces, and pods of which RuntimeClasses are not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exemptions {
    pub usernames: Vec<String>,
    pub namespaces: Vec<String>,
    pub runtime_classes: Vec<String>,
}

impl Default for Configuration {
    fn default() -> Self {
        Configuration { defaults: Policy::PRIVILEGED, exemptions: Exemptions::default() }
    }
}

const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];
const MODES: [&str; 3] = ["enforce", "warn", "audit"];
const LISTS: [&str; 3] = ["usernames", "namespaces", "runtimeClasses"];

impl Configuration {
    /// Reads a `PodSecurityConfiguration` of group `pod-security.admission.config.k8s.io`.
    pub fn read(document: &Value) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let version = text(document, "/apiVersion").strip_prefix("pod-security.admission.config.k8s.io/");
        if !version.is_some_and(|version| VERSIONS.contains(&version)) {
            faults.invalid(
                "apiVersion",
                text(document, "/apiVersion"),
                "must be pod-security.admission.config.k8s.io/v1",
            );
        }
        if text(document, "/kind") != "PodSecurityConfiguration" {
            faults.invalid("kind", text(document, "/kind"), "must be PodSecurityConfiguration");
        }
        unknown(document, "", &["apiVersion", "kind", "defaults", "exemptions"], &mut faults);
        let defaults = defaults(document, &mut faults);
        let exemptions = exemptions(document, &mut faults);
        if faults.is_empty() { Ok(Configuration { defaults, exemptions }) } else { Err(faults) }
    }
}

/// What is not understood is refused: a misspelt exemption would forbid what it was to let in, or the other way round.
fn unknown(document: &Value, pointer: &str, known: &[&str], faults: &mut Faults) {
    for (member, _) in members(document, pointer).filter(|(member, _)| !known.contains(&member.as_str())) {
        let path = format!("{pointer}/{member}")[1..].replace('/', ".");
        faults.not_supported(path, member.as_str(), known);
    }
}

fn defaults(document: &Value, faults: &mut Faults) -> Policy {
    let (mut labels, mut known) = (BTreeMap::new(), Vec::new());
    for mode in MODES {
        for suffix in ["", "-version"] {
            let member = format!("{mode}{suffix}");
            let value = at(document, &format!("/defaults/{member}"));
            let path = format!("defaults.{member}");
            known.push(member.clone());
            let Some(text) = value.as_str().filter(|text| !text.is_empty()) else {
                if !value.is_null() && value != "" {
                    faults.invalid(path, value.clone(), "must be a string");
                }
                continue;
            };
            let why = if suffix.is_empty() { Level::parse(text).err() } else { Version::parse(text).err() };
            match why {
                Some(why) => faults.invalid(path, text, why),
                None => drop(labels.insert(format!("{AUDIT_PREFIX}{member}"), text.to_owned())),
            }
        }
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    unknown(document, "/defaults", &known, faults);
    Policy::of_labels(&labels, Policy::PRIVILEGED).0
}

fn exemptions(document: &Value, faults: &mut Faults) -> Exemptions {
    unknown(document, "/exemptions", &LISTS, faults);
    let mut names = |member: &str, check: fn(&str) -> Vec<String>| {
        let mut names: Vec<String> = Vec::new();
        let stated = at(document, &format!("/exemptions/{member}"));
        if !stated.is_null() && !stated.is_array() {
            faults.invalid(format!("exemptions.{member}"), stated.clone(), "must be a list");
        }
        for (index, name) in list(stated, "").iter().enumerate() {
            let path = format!("exemptions.{member}[{index}]");
            let Some(name) = name.as_str() else {
                faults.invalid(path, name.clone(), "must be a string");
                continue;
            };
            let found = check(name);
            if name.is_empty() {
                faults.required(path, "");
            } else if !found.is_empty() {
                report(found, name, &path, faults);
            } else if names.iter().any(|other| other == name) {
                faults.duplicate(path, name);
            } else {
                names.push(name.to_owned());
            }
        }
        names
    };
    Exemptions {
        usernames: names("usernames", |_| Vec::new()),
        namespaces: names("namespaces", label),
        runtime_classes: names("runtimeClasses", subdomain),
    }
}
