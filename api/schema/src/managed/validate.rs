//! What `metadata.managedFields` may hold, in the words of Kubernetes' `ValidateManagedFields`.

use kontiki_model::{FaultKind, Faults};
use serde_json::Value;

use super::{MANAGER_BYTES_MAX, SUBRESOURCE_BYTES_MAX, entries::ManagedFields};

const PATH: &str = "metadata.managedFields";

impl ManagedFields {
    /// Why the member of `metadata` cannot be kept, if it cannot.
    pub fn check(member: Option<&Value>) -> Result<(), String> {
        let entries = member.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut faults = Faults::default();
        for (index, entry) in entries.iter().enumerate() {
            validate(entry, &format!("{PATH}[{index}]"), &mut faults);
        }
        let told: Vec<String> = faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message())).collect();
        match told.as_slice() {
            [] => {}
            [one] => return Err(one.clone()),
            several => return Err(format!("[{}]", several.join(", "))),
        }
        match entries.iter().enumerate().find_map(|(index, entry)| unreadable(index, entry)) {
            Some(why) => Err(why),
            None => Ok(()),
        }
    }
}

fn text<'a>(entry: &'a Value, member: &str) -> &'a str {
    entry.get(member).and_then(Value::as_str).unwrap_or_default()
}

fn validate(entry: &Value, path: &str, faults: &mut Faults) {
    let (operation, fields_type) = (text(entry, "operation"), text(entry, "fieldsType"));
    if !matches!(operation, "Apply" | "Update") {
        faults.invalid(format!("{path}.operation"), operation, "must be `Apply` or `Update`");
    }
    if !matches!(fields_type, "" | "FieldsV1") {
        faults.invalid(format!("{path}.fieldsType"), fields_type, "must be `FieldsV1`");
    }
    validate_manager(text(entry, "manager"), &format!("{path}.manager"), faults);
    if text(entry, "subresource").len() > SUBRESOURCE_BYTES_MAX {
        faults.too_long(format!("{path}.subresource"), SUBRESOURCE_BYTES_MAX);
    }
}

/// The name of a manager, wherever it is given.
pub fn validate_manager(name: &str, field: &str, faults: &mut Faults) {
    if name.len() > MANAGER_BYTES_MAX {
        let detail = format!("may not be more than {MANAGER_BYTES_MAX} bytes");
        faults.add(FaultKind::TooLong, field, None, detail);
    }
    for (at, character) in name.char_indices().filter(|(_, character)| !is_printable(*character)) {
        faults.invalid(field, name, format!("invalid character U+{:04X} (at position {at})", u32::from(character)));
    }
}

/// As Go has it: whatever a debugger would show as it is, behind another character.
fn is_printable(character: char) -> bool {
    matches!(character, '"' | '\'' | '\\') || format!("a{character}").escape_debug().count() == 2
}

fn unreadable(index: usize, entry: &Value) -> Option<String> {
    if text(entry, "apiVersion").is_empty() {
        return Some("apiVersion must not be empty".to_owned());
    }
    if text(entry, "fieldsType").is_empty() {
        return Some(format!("missing fieldsType in managed fields entry {index}"));
    }
    let alone = Value::Array(vec![entry.clone()]);
    ManagedFields::decode(Some(&alone))
        .is_none()
        .then(|| format!("error decoding versioned set of managed fields entry {index}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn managers_have_printable_names() {
        let told = |name: &str| {
            let mut faults = Faults::default();
            validate_manager(name, "fieldManager", &mut faults);
            faults.iter().map(|fault| fault.detail.clone()).collect::<Vec<_>>()
        };
        for name in ["", "kubectl-client-side-apply", "a b", "é\"'\\", "e\u{301}", "日本"] {
            assert_eq!(told(name), Vec::<String>::new(), "{name}");
        }
        assert_eq!(told("é\u{1}"), ["invalid character U+0001 (at position 2)"]);
        let two = ["invalid character U+00A0 (at position 0)", "invalid character U+200B (at position 3)"];
        assert_eq!(told("\u{a0}x\u{200b}"), two);
        assert_eq!(told(&"x".repeat(129)), ["may not be more than 128 bytes"]);
    }

    #[test]
    fn what_cannot_be_kept_is_told_as_kubernetes_tells_it() {
        let with = |changed: Value| {
            let mut entry = json!({"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {}});
            for (member, value) in changed.as_object().into_iter().flatten() {
                entry[member.as_str()] = value.clone();
            }
            ManagedFields::check(Some(&json!([entry])))
        };
        assert_eq!(ManagedFields::check(None), Ok(()));
        assert_eq!(with(json!({})), Ok(()));
        let operation = r#"metadata.managedFields[0].operation: Invalid value: "Patch": must be `Apply` or `Update`"#;
        let subresource = "metadata.managedFields[0].subresource: Too long: may not be more than 256 bytes";
        for (changed, why) in [
            (json!({"operation": "Patch"}), operation.to_owned()),
            (
                json!({"fieldsType": "V2"}),
                r#"metadata.managedFields[0].fieldsType: Invalid value: "V2": must be `FieldsV1`"#.to_owned(),
            ),
            (json!({"operation": "Patch", "subresource": "x".repeat(257)}), format!("[{operation}, {subresource}]")),
            (json!({"apiVersion": ""}), "apiVersion must not be empty".to_owned()),
            (json!({"fieldsType": null}), "missing fieldsType in managed fields entry 0".to_owned()),
            (json!({"fieldsV1": {"x": {}}}), "error decoding versioned set of managed fields entry 0".to_owned()),
        ] {
            assert_eq!(with(changed), Err(why));
        }
    }
}
