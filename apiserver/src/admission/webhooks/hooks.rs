//! The webhooks that are configured, as the log has them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    super::{matching::Criteria, policy::Conditions},
    review::ReviewVersion,
};
use crate::{
    follow::Followed,
    rest::object::text,
    webhook::{ClientConfig, UnusableConfig},
};

/// What a configuration that names no time allows, though the kind's defaults fill it.
const TIMEOUT_S_DEFAULT: u64 = 10;

/// A configured webhook, read once.
#[derive(Debug)]
pub struct Hook {
    /// `configuration/index`: no other webhook of its kind has it.
    pub id: String,
    pub name: String,
    pub criteria: Criteria,
    /// An error where they do not compile, which was checked when they were written.
    pub conditions: Result<Conditions, String>,
    pub client: Result<ClientConfig, UnusableConfig>,
    /// That it cannot be asked is no reason to refuse.
    pub ignores_failures: bool,
    /// A dry run may ask it.
    pub takes_dry_runs: bool,
    /// Asked again when others changed the object after it.
    pub reinvoked: bool,
    pub patience: Duration,
    /// None: it knows no review that this server knows.
    pub version: Option<ReviewVersion>,
}

/// Which webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Mutating,
    Validating,
}

/// All webhooks of both phases, in the order in which they are asked.
#[derive(Debug, Default)]
pub struct Hooks {
    phases: [Configurations; 2],
}

#[derive(Debug, Default)]
struct Configurations {
    by_name: BTreeMap<String, Vec<Arc<Hook>>>,
    /// The same in a row.
    all: Arc<[Arc<Hook>]>,
}

impl Hook {
    pub fn configuration(&self) -> &str {
        self.id.rsplit_once('/').map_or("", |(configuration, _)| configuration)
    }
}

impl Hooks {
    pub fn of(&self, phase: Phase) -> Arc<[Arc<Hook>]> {
        self.phases[phase as usize].all.clone()
    }
}

impl Followed for Hooks {
    fn resources() -> Vec<String> {
        ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"]
            .map(|resource| format!("{resource}.admissionregistration.k8s.io"))
            .to_vec()
    }

    fn set(&mut self, resource: usize, _: &str, name: &str, object: Option<&Value>) {
        let configurations = &mut self.phases[resource];
        match object {
            Some(object) => configurations.by_name.insert(name.to_owned(), read(name, object)),
            None => configurations.by_name.remove(name),
        };
        configurations.all = configurations.by_name.values().flatten().cloned().collect();
    }

    fn clear(&mut self, resource: usize) {
        self.phases[resource] = Configurations::default();
    }
}

fn read(configuration: &str, object: &Value) -> Vec<Arc<Hook>> {
    let hooks = object["webhooks"].as_array().into_iter().flatten().enumerate();
    let hook = |(index, said): (usize, &Value)| {
        // Validation let only sound selectors in.
        let criteria = Criteria::of_webhook(said).inspect_err(|error| {
            tracing::error!(configuration, index, %error, "a webhook that cannot be read is not asked");
        });
        let list = |member: &str| said[member].as_array().cloned().unwrap_or_default();
        Some(Arc::new(Hook {
            id: format!("{configuration}/{index}"),
            name: text(said, "/name").to_owned(),
            criteria: criteria.ok()?,
            conditions: Conditions::read(&said["matchConditions"], false),
            client: ClientConfig::read(&said["clientConfig"]),
            ignores_failures: said["failurePolicy"] == "Ignore",
            takes_dry_runs: matches!(text(said, "/sideEffects"), "None" | "NoneOnDryRun"),
            reinvoked: said["reinvocationPolicy"] == "IfNeeded",
            patience: Duration::from_secs(said["timeoutSeconds"].as_u64().unwrap_or(TIMEOUT_S_DEFAULT)),
            version: ReviewVersion::first_known(list("admissionReviewVersions").iter().filter_map(Value::as_str)),
        }))
    };
    hooks.filter_map(hook).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn webhooks_are_asked_by_the_names_of_their_configurations() {
        let mut hooks = Hooks::default();
        let configuration = |names: &[&str]| {
            let webhooks: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
            json!({ "webhooks": webhooks })
        };
        hooks.set(0, "", "b", Some(&configuration(&["1", "2"])));
        hooks.set(0, "", "a", Some(&configuration(&["3"])));
        hooks.set(1, "", "c", Some(&configuration(&["4"])));
        let names =
            |hooks: &Hooks, phase| -> Vec<String> { hooks.of(phase).iter().map(|hook| hook.name.clone()).collect() };
        assert_eq!(names(&hooks, Phase::Mutating), ["3", "1", "2"]);
        assert_eq!(names(&hooks, Phase::Validating), ["4"]);
        hooks.set(0, "", "b", None);
        assert_eq!(names(&hooks, Phase::Mutating), ["3"]);
        hooks.clear(0);
        assert!(hooks.of(Phase::Mutating).is_empty());
    }
}
