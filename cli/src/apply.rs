//! `kontiki apply --atomic`: what is in files becomes one transaction. Objects are merged as `kubectl apply` does it, so
//! both may be used on the same ones.

mod manifests;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{
    args::{Apply, DryRun, Validation},
    client::Client,
};

const PATH: &str = "/apis/kontiki.dev/v1/transactions";
/// What others in the same files may need, or are bounded by, is applied first; everything else keeps its order.
const FIRST: [&str; 7] = [
    "Namespace",
    "CustomResourceDefinition",
    "ResourceQuota",
    "LimitRange",
    "PriorityClass",
    "ServiceAccount",
    "Secret",
];

pub async fn apply(arguments: Apply) -> Result<()> {
    let Apply { atomic: _, dry_run, validate, filenames, namespace, recursive, cluster } = arguments;
    let mut objects = manifests::read(&filenames, recursive)?;
    if objects.is_empty() {
        bail!("no objects passed to apply");
    }
    if let Some(namespace) = &namespace {
        objects.iter().try_for_each(|object| check_namespace(object, namespace))?;
    }
    objects.sort_by_key(place);
    let client = Client::open(&cluster).await?;
    let namespace = namespace.unwrap_or_else(|| client.namespace.clone());
    let (query, mode) = match dry_run {
        DryRun::None => ("", ""),
        DryRun::Server => ("&dryRun=All", " (server dry run)"),
    };
    let validation = match validate {
        Validation::Strict => "Strict",
        Validation::Warn => "Warn",
        Validation::Ignore => "Ignore",
    };
    let path = format!("{PATH}?fieldManager=kontiki&fieldValidation={validation}{query}");
    let answer = client.post(&path, &transaction(&namespace, &objects)).await?;
    let results = answer["results"].as_array().context("the server's answer has no results")?;
    for result in results {
        for warning in result["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            eprintln!("Warning: {warning}");
        }
        println!("{} {}{mode}", shown(&result["object"]), result["result"].as_str().unwrap_or_default());
    }
    Ok(())
}

fn transaction(namespace: &str, objects: &[Value]) -> Value {
    let operations: Vec<_> = objects.iter().map(|object| json!({"verb": "apply", "object": object})).collect();
    json!({
        "kind": "Transaction", "apiVersion": "kontiki.dev/v1", "namespace": namespace, "operations": operations,
    })
}

fn place(object: &Value) -> usize {
    FIRST.iter().position(|kind| object["kind"] == *kind).unwrap_or(FIRST.len())
}

/// A namespace on the command line is the one that is meant.
fn check_namespace(object: &Value, wanted: &str) -> Result<()> {
    match object["metadata"]["namespace"].as_str() {
        Some(given) if !given.is_empty() && given != wanted => bail!(
            "the namespace from the provided object \"{given}\" does not match the namespace \"{wanted}\". You must pass \
             '--namespace={given}' to perform this operation."
        ),
        _ => Ok(()),
    }
}

/// As kubectl names objects: `configmap/x`, `deployment.apps/web`.
fn shown(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, api_version) = (text(&object["kind"]).to_lowercase(), text(&object["apiVersion"]));
    let name = text(&object["metadata"]["name"]);
    match api_version.split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_need_comes_first_and_the_rest_keeps_its_order() {
        let object = |kind: &str, name: &str| json!({"kind": kind, "metadata": {"name": name}});
        let mut objects = [
            object("Pod", "b"),
            object("ServiceAccount", "s"),
            object("ConfigMap", "a"),
            object("Namespace", "n"),
            object("Pod", "a"),
        ];
        objects.sort_by_key(place);
        let names: Vec<_> = objects.iter().map(|one| one["metadata"]["name"].as_str().unwrap_or("")).collect();
        assert_eq!(names, ["n", "s", "b", "a", "a"]);
    }

    #[test]
    fn objects_are_named_as_kubectl_does() {
        let object = json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web"}});
        assert_eq!(shown(&object), "deployment.apps/web");
        let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x", "namespace": "n"}});
        assert_eq!(shown(&object), "configmap/x");
        assert!(check_namespace(&object, "n").is_ok());
        assert!(check_namespace(&object, "m").is_err());
    }
}
