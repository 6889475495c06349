//! `kontiki apply --atomic`: what is in files becomes one transaction. Objects are merged as `kubectl apply` does it, so
//! both may be used on the same ones.

mod manifests;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use self::manifests::Manifest;
use crate::{
    args::{Apply, DryRun, Validation},
    client::{Client, Refused},
};

const APPLY_PATCH: &str = "application/apply-patch+yaml";
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
    let Apply { atomic: _, dry_run, server_side, force_conflicts, validate, filenames, namespace, recursive, cluster } =
        arguments;
    let mut manifests = manifests::read(&filenames, recursive)?;
    if manifests.is_empty() {
        bail!("no objects passed to apply");
    }
    if let Some(namespace) = &namespace {
        manifests.iter().try_for_each(|one| check_namespace(&one.object, namespace))?;
    }
    manifests.sort_by_key(|one| order(&one.object));
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
    let force = if force_conflicts { "&force=true" } else { "" };
    let path = format!("{PATH}?fieldManager=kontiki&fieldValidation={validation}{force}{query}");
    let answer = client.post(&path, &transaction(&namespace, &manifests, server_side)).await;
    let answer = answer.map_err(|error| match error.downcast::<Refused>() {
        Ok(refused) => Refused { message: placed(&refused.message, &manifests), ..refused }.into(),
        Err(error) => error,
    })?;
    let results = answer["results"].as_array().context("the server's answer has no results")?;
    for result in results {
        for warning in result["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            eprintln!("Warning: {warning}");
        }
        println!("{} {}{mode}", shown(&result["object"]), result["result"].as_str().unwrap_or_default());
    }
    Ok(())
}

fn transaction(namespace: &str, manifests: &[Manifest], server_side: bool) -> Value {
    let operation = |object: &Value| match server_side {
        false => json!({"verb": "apply", "object": object}),
        true => json!({"verb": "patch", "target": target(object), "patch": object, "patchType": APPLY_PATCH}),
    };
    let operations: Vec<_> = manifests.iter().map(|one| operation(&one.object)).collect();
    json!({
        "kind": "Transaction", "apiVersion": "kontiki.dev/v1", "namespace": namespace, "operations": operations,
    })
}

/// Which object is meant.
fn target(object: &Value) -> Value {
    let (kind, api_version, metadata) = (&object["kind"], &object["apiVersion"], &object["metadata"]);
    let name = metadata["name"].as_str().unwrap_or_default();
    json!({"kind": kind, "apiVersion": api_version, "namespace": metadata["namespace"], "name": name})
}

/// A refusal that names the operation it is about, told of the object and of where that is written.
fn placed(message: &str, manifests: &[Manifest]) -> String {
    let found = message.split_once("operations[").and_then(|(before, rest)| {
        let (number, rest) = rest.split_once(']')?;
        let about = manifests.get(number.parse::<usize>().ok()?)?;
        // What the server calls it.
        let rest = rest.strip_prefix(" (").and_then(|rest| rest.split_once(')')).map_or(rest, |(_, rest)| rest);
        // It may be about two of them, which it names then.
        if let Some(rest) = rest.strip_prefix(": ").filter(|rest| rest.starts_with("operations[")) {
            return Some(format!("{before}{}", placed(rest, manifests)));
        }
        let rest = match rest.starts_with(" and operations[") {
            true => placed(rest, manifests),
            false => rest.to_owned(),
        };
        Some(format!("{before}{} ({}){rest}", shown(&about.object), about.place))
    });
    found.unwrap_or_else(|| message.to_owned())
}

fn order(object: &Value) -> usize {
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
    let kind = match api_version.split_once('/') {
        Some((group, _)) => format!("{kind}.{group}"),
        None => kind,
    };
    if name.is_empty() { format!("{kind} without a name") } else { format!("{kind}/{name}") }
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
        objects.sort_by_key(order);
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

    #[test]
    fn a_refusal_says_where_the_object_is_written() {
        let manifest = |metadata: Value, place: &str| Manifest {
            object: json!({"kind": "Gizmo", "apiVersion": "ex.io/v1", "metadata": metadata}),
            place: place.to_owned(),
        };
        let manifests = [manifest(json!({"name": "g1"}), "all.yaml, document 2"), manifest(json!({}), "b.yaml")];
        for (message, told) in [
            (
                "nothing was changed: operations[0] (apply gizmo g1): spec.size: Required value (operations[0])",
                "nothing was changed: gizmo.ex.io/g1 (all.yaml, document 2): spec.size: Required value (operations[0])",
            ),
            (
                "nothing was changed: operations[1] (apply): metadata.name: Required value",
                "nothing was changed: gizmo.ex.io without a name (b.yaml): metadata.name: Required value",
            ),
            (
                "operations[1] (apply): operations[1] and operations[0] both write it",
                "gizmo.ex.io without a name (b.yaml) and gizmo.ex.io/g1 (all.yaml, document 2) both write it",
            ),
            ("operations[7]: what?", "operations[7]: what?"),
            ("the log takes no writes", "the log takes no writes"),
        ] {
            assert_eq!(placed(message, &manifests), told);
        }
    }
}
