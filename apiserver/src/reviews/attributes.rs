//! What a question about access may ask for. Pure.

use kontiki_model::Faults;
use serde_json::Value;

/// Whom an access review asks about, and where.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    Myself,
    Somebody,
    SomebodyIn { namespace: &'a str },
}

/// What is wrong with an access review.
pub fn validate(review: &Value, scope: Scope<'_>) -> Faults {
    let mut faults = Faults::default();
    let spec = &review["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    match (resource.is_null(), path.is_null()) {
        (false, false) => {
            let detail = "cannot be specified in combination with resourceAttributes";
            faults.invalid("spec.nonResourceAttributes", path.clone(), detail);
        }
        (true, true) => {
            let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            faults.invalid("spec.resourceAttributes", Value::Null, detail);
        }
        (true, false) | (false, true) => (),
    }
    if scope != Scope::Myself && is_empty(&spec["user"]) && is_empty(&spec["groups"]) {
        faults.invalid("spec.user", "", "at least one of user or group must be specified");
    }
    for member in ["fieldSelector", "labelSelector"] {
        if !resource[member].is_null() {
            selector(&resource[member], &format!("spec.resourceAttributes.{member}"), &mut faults);
        }
    }
    metadata(&review["metadata"], scope, &mut faults);
    if let Scope::SomebodyIn { namespace } = scope {
        let given = resource["namespace"].as_str().unwrap_or("");
        if !resource.is_null() && given != namespace {
            faults.invalid("spec.resourceAttributes.namespace", given, "must match metadata.namespace");
        }
        if !path.is_null() {
            faults.invalid("spec.nonResourceAttributes", path.clone(), "disallowed on this kind of request");
        }
    }
    faults
}

/// A question is no object: it has no name, and nothing hangs on it.
fn metadata(metadata: &Value, scope: Scope<'_>, faults: &mut Faults) {
    let (placed, detail) = match scope {
        Scope::Myself | Scope::Somebody => (false, "must be empty"),
        Scope::SomebodyIn { .. } => (true, "must be empty except for namespace"),
    };
    let free = |member: &str| member == "managedFields" || placed && member == "namespace";
    let mut said = metadata.as_object().into_iter().flatten().filter(|(member, _)| !free(member));
    if said.any(|(_, value)| !is_empty(value)) {
        faults.invalid("metadata", metadata.clone(), detail);
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(_) => false,
    }
}

fn selector(selector: &Value, path: &str, faults: &mut Faults) {
    let raw = selector["rawSelector"].as_str().unwrap_or_default();
    let requirements = selector["requirements"].as_array().map_or(&[][..], Vec::as_slice);
    match (raw.is_empty(), requirements.is_empty()) {
        (false, false) => {
            faults.invalid(format!("{path}.rawSelector"), raw, "may not specified at the same time as requirements");
        }
        (true, true) => {
            let detail = format!("when {path} is specified, requirements or rawSelector is required");
            faults.required(format!("{path}.requirements"), detail);
        }
        (true, false) | (false, true) => (),
    }
    for (index, requirement) in requirements.iter().enumerate() {
        self::requirement(requirement, &format!("{path}.requirements[{index}]"), faults);
    }
}

/// An operator that is not known says nothing: newer clients may ask older servers.
fn requirement(requirement: &Value, path: &str, faults: &mut Faults) {
    if requirement["key"].as_str().unwrap_or_default().is_empty() {
        faults.required(format!("{path}.key"), "must be specified");
    }
    let values = requirement["values"].as_array().map_or(0, Vec::len);
    match requirement["operator"].as_str().unwrap_or_default() {
        "In" | "NotIn" if values == 0 => {
            faults.required(format!("{path}.values"), "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if values > 0 => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            faults.forbidden(format!("{path}.values"), detail);
        }
        _ => (),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Scope, validate};

    fn told(review: &serde_json::Value, scope: Scope<'_>) -> String {
        let faults = validate(review, scope);
        let told: Vec<String> = faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message())).collect();
        told.join("\n")
    }

    #[test]
    fn questions_are_no_objects() {
        let within = Scope::SomebodyIn { namespace: "n" };
        let spec = json!({"user": "jane", "resourceAttributes": {"namespace": "n"}});
        let asking = |metadata: serde_json::Value| json!({"metadata": metadata, "spec": spec});
        let path = json!({"spec": {"user": "jane", "nonResourceAttributes": {"path": "/"}}});
        let table = [
            (asking(json!({"creationTimestamp": null, "managedFields": [{"manager": "m"}]})), Scope::Somebody, ""),
            (asking(json!({"name": "x"})), Scope::Somebody, "metadata: Invalid value: {\"name\":\"x\"}: must be empty"),
            (
                asking(json!({"labels": {"a": "b"}})),
                Scope::Myself,
                "metadata: Invalid value: {\"labels\":{\"a\":\"b\"}}: must be empty",
            ),
            (asking(json!({"namespace": "n"})), within, ""),
            (
                asking(json!({"namespace": "n", "uid": "u"})),
                within,
                "metadata: Invalid value: {\"namespace\":\"n\",\"uid\":\"u\"}: must be empty except for namespace",
            ),
            (path.clone(), Scope::Somebody, ""),
            (
                path,
                within,
                "spec.nonResourceAttributes: Invalid value: {\"path\":\"/\"}: disallowed on this kind of request",
            ),
            (
                json!({"spec": {"resourceAttributes": {"namespace": "m"}}}),
                within,
                "spec.user: Invalid value: \"\": at least one of user or group must be specified\n\
                 spec.resourceAttributes.namespace: Invalid value: \"m\": must match metadata.namespace",
            ),
        ];
        for (review, scope, expected) in table {
            assert_eq!(told(&review, scope), expected, "{review}");
        }
    }

    #[test]
    fn questions_are_checked() {
        const AT: &str = "spec.resourceAttributes.fieldSelector";
        let asking = |selector: serde_json::Value| json!({"resourceAttributes": {"fieldSelector": selector}});
        let requiring = |one: serde_json::Value| asking(json!({"requirements": [one]}));
        let table = [
            (json!({"resourceAttributes": {}}), ""),
            (
                json!({"resourceAttributes": {}, "nonResourceAttributes": {}}),
                "spec.nonResourceAttributes: Invalid value: {}: cannot be specified in combination with resourceAttributes",
            ),
            (
                json!({}),
                "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
            ),
            (
                asking(json!({})),
                "AT.requirements: Required value: when AT is specified, requirements or rawSelector is required",
            ),
            (
                asking(
                    json!({"rawSelector": "a=b", "requirements": [{"key": "a", "operator": "In", "values": ["b"]}]}),
                ),
                "AT.rawSelector: Invalid value: \"a=b\": may not specified at the same time as requirements",
            ),
            (
                requiring(json!({"key": "a", "operator": "In"})),
                "AT.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            ),
            (
                requiring(json!({"key": "", "operator": "Exists"})),
                "AT.requirements[0].key: Required value: must be specified",
            ),
            (
                requiring(json!({"key": "a", "operator": "Exists", "values": ["b"]})),
                "AT.requirements[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            (requiring(json!({"key": "a", "operator": "Near"})), ""),
        ];
        for (spec, expected) in table {
            assert_eq!(told(&json!({"spec": spec}), Scope::Myself), expected.replace("AT", AT), "{spec}");
        }
    }
}
