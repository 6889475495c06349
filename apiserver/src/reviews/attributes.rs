//! What a question about access may ask for. Pure.

use kontiki_model::Faults;
use serde_json::Value;

/// What is wrong with the spec of an access review, besides its subject.
pub fn validate(spec: &Value) -> Faults {
    let mut faults = Faults::default();
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
    for member in ["fieldSelector", "labelSelector"] {
        if !resource[member].is_null() {
            selector(&resource[member], &format!("spec.resourceAttributes.{member}"), &mut faults);
        }
    }
    faults
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

    use super::validate;

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
        for (spec, told) in table {
            let faults = validate(&spec);
            let seen: Vec<String> =
                faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message())).collect();
            assert_eq!(seen.join("\n"), told.replace("AT", AT), "{spec}");
        }
    }
}
