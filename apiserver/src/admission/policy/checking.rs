//! `status.typeChecking` of a policy: what its expressions make of the kinds that its rules name. The expressions were compiled
//! when they were written, without knowing the objects; here they are looked at again with their types. It changes nothing about
//! what a policy does. Pure: whoever asks brings the kinds.

use kontiki_cel::Type;
use kontiki_kinds::{Kind, KindRef, Kinds, policy::Scope};
use serde_json::{Value, json};

use super::limits::TYPES_CHECKED_MAX;

/// The status that a policy should have; nothing, if it has it.
pub(super) fn settled(policy: &Value, kinds: &Kinds) -> Option<Value> {
    let generation = &policy["metadata"]["generation"];
    if policy["status"]["observedGeneration"] == *generation {
        return None;
    }
    let mut settled = policy.clone();
    let warnings = warnings(&policy["spec"], kinds);
    let checking = if warnings.is_empty() { json!({}) } else { json!({ "expressionWarnings": warnings }) };
    settled["status"]["observedGeneration"] = generation.clone();
    settled["status"]["typeChecking"] = checking;
    Some(settled)
}

fn warnings(spec: &Value, kinds: &Kinds) -> Vec<Value> {
    let named = named(spec, kinds);
    let params = params(spec, kinds);
    let mut out = Vec::new();
    for (index, validation) in items(spec, "validations").enumerate() {
        for member in ["expression", "messageExpression"] {
            let expression = text(validation, member);
            let told =
                if expression.is_empty() { String::new() } else { told(spec, expression, &named, params.as_ref()) };
            if !told.is_empty() {
                let field = format!("spec.validations[{index}].{member}");
                out.push(json!({"fieldRef": field, "warning": told}));
            }
        }
    }
    out
}

/// What is wrong with an expression, kind by kind.
fn told(spec: &Value, expression: &str, named: &[KindRef], params: Option<&Type>) -> String {
    let check = |kind: &KindRef| {
        let mut scope = Scope::of_validations(false);
        scope.object = kind.schema().declared();
        scope.params = params.cloned();
        for variable in items(spec, "variables") {
            let found = scope.check(text(variable, "expression")).unwrap_or(Type::Dyn);
            scope.declare(text(variable, "name"), found);
        }
        let issues = scope.check(expression).err()?;
        let Kind { group, version, kind, .. } = &**kind;
        Some(format!("{group}/{version}, Kind={kind}: {issues}\n"))
    };
    named.iter().filter_map(check).collect::<Vec<_>>().join("\n")
}

/// The kinds that the rules name one by one.
fn named(spec: &Value, kinds: &Kinds) -> Vec<KindRef> {
    let mut found: Vec<KindRef> = Vec::new();
    for rule in items(&spec["matchConstraints"], "resourceRules") {
        let texts = |member: &str| items(rule, member).filter_map(Value::as_str);
        for group in texts("apiGroups") {
            for version in texts("apiVersions") {
                let kinds = texts("resources").filter_map(|resource| kinds.by_resource(group, version, resource));
                found.extend(kinds);
            }
        }
    }
    found.sort_by_key(|kind| (kind.group, kind.version, kind.kind));
    found.dedup_by_key(|kind| (kind.group, kind.version, kind.kind));
    found.truncate(TYPES_CHECKED_MAX);
    found
}

/// The type of the parameters, where their kind is known.
fn params(spec: &Value, kinds: &Kinds) -> Option<Type> {
    let (api_version, kind) = (text(&spec["paramKind"], "apiVersion"), text(&spec["paramKind"], "kind"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    kinds.by_gvk(group, version, kind).map(|kind| kind.schema().declared())
}

fn text<'a>(of: &'a Value, member: &str) -> &'a str {
    of[member].as_str().unwrap_or_default()
}

fn items<'a>(of: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    of[member].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_that_do_not_fit_the_kinds_are_warned_of() {
        let policy = |expression: &str, generation: i64| {
            json!({
                "metadata": {"generation": generation},
                "spec": {
                    "matchConstraints": {"resourceRules": [
                        {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments", "daemonsets", "*/scale"]}]},
                    "variables": [{"name": "n", "expression": "object.spec.replicas"}],
                    "validations": [{"expression": expression, "messageExpression": "object.metadata.name"}],
                },
                "status": {"observedGeneration": 1},
            })
        };
        let status = |policy: &Value| settled(policy, &Kinds::default()).map(|settled| settled["status"].clone());
        assert_eq!(status(&policy("true", 1)), None);
        let sound = json!({"observedGeneration": 2, "typeChecking": {}});
        assert_eq!(status(&policy("has(object.spec.template)", 2)), Some(sound));
        let warning = "apps/v1, Kind=DaemonSet: ERROR: <input>:1:12: undefined field 'replicas'\n | object.spec.replicas > 1\n | ...........^\n";
        let found = status(&policy("object.spec.replicas > 1", 2)).unwrap_or_default();
        assert_eq!(
            found["typeChecking"]["expressionWarnings"],
            json!([{"fieldRef": "spec.validations[0].expression", "warning": warning}])
        );
        // Where the variable has no type it is anything.
        let found = status(&policy("variables.n > '1'", 2)).unwrap_or_default();
        let told = found["typeChecking"]["expressionWarnings"][0]["warning"].as_str().unwrap_or_default();
        assert!(
            told.starts_with("apps/v1, Kind=Deployment: ERROR: <input>:1:13: found no matching overload for '_>_'"),
            "{told}"
        );
        assert!(!told.contains("DaemonSet"));
    }
}
