//! From `kubectl apply` to `kubectl apply --server-side`: what was applied on the client's side, and is what it was, may be
//! taken over without a conflict.

use serde_json::{Map, Value};

use super::{Applied, Conflicts, FieldManager, KUBECTL, entries::ManagedFields, set::FieldSet};
use crate::json;

/// Where `kubectl apply` keeps the configuration.
pub const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// All annotations of an object together.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

impl FieldManager<'_> {
    /// As [`FieldManager::apply`]. For kubectl, what it applied on its own side before is no conflict, and an object that has
    /// the annotation keeps it up to date.
    pub fn apply_or_take_over(
        &self,
        live: &Value,
        config: &Value,
        managed: &ManagedFields,
        name: &str,
        force: bool,
    ) -> Result<Applied, Conflicts> {
        let applied = match self.apply(live, config, managed, name, force) {
            Err(Conflicts(conflicts)) if name == KUBECTL => {
                let own = self.client_side(live).unwrap_or_default();
                let others: Vec<_> = conflicts.into_iter().filter(|one| !own.contains(&one.path)).collect();
                if !others.is_empty() {
                    return Err(Conflicts(others));
                }
                self.apply(live, config, managed, name, true)?
            }
            other => other?,
        };
        Ok(if name == KUBECTL { annotated(live, config, applied) } else { applied })
    }

    /// What `kubectl apply` has said on its own side and still is so; `None` if it did not apply the object.
    fn client_side(&self, live: &Value) -> Option<FieldSet> {
        let config: Value = serde_json::from_str(last_applied(live)?).ok()?;
        if config.get("apiVersion").and_then(Value::as_str) != Some(self.api_version) {
            return None;
        }
        self.schema.table.check_config(self.schema.id, &config).ok()?;
        let mut fields = self.schema.table.field_set(self.schema.id, &config);
        let comparison = self.schema.table.differences(self.schema.id, &config, live);
        for changed in [&comparison.modified, &comparison.added, &comparison.removed] {
            fields.subtract(changed);
        }
        Some(fields)
    }
}

/// The configuration that was applied on the client's side the last time.
pub fn last_applied(object: &Value) -> Option<&str> {
    let annotations = object.get("metadata")?.get("annotations")?;
    annotations.get(ANNOTATION)?.as_str().filter(|text| !text.is_empty())
}

/// The configuration as kubectl writes it down, byte for byte: members sorted, one line, what HTML gives a meaning escaped.
pub fn configuration_text(mut configuration: Value) -> String {
    if let Some(annotations) = configuration.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove(ANNOTATION);
    }
    json::escaped_text(sorted(configuration).to_string()) + "\n"
}

/// Go writes maps in the order of their keys.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            Value::Object(members.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// The annotation says what is applied now, where there is one; not if that is too much.
fn annotated(live: &Value, config: &Value, applied: Applied) -> Applied {
    let Applied { object, managed } = applied;
    let Some(known) = last_applied(object.as_ref().unwrap_or(live)) else { return Applied { object, managed } };
    let text = configuration_text(config.clone());
    if text == known {
        return Applied { object, managed };
    }
    let mut object = object.unwrap_or_else(|| live.clone());
    if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        let size = |value: &Value| value.as_str().map_or(0, str::len);
        let others = annotations.iter().filter(|(key, _)| *key != ANNOTATION);
        let bytes: usize = others.map(|(key, value)| key.len() + size(value)).sum();
        if bytes + ANNOTATION.len() + text.len() > ANNOTATIONS_BYTES_MAX {
            annotations.shift_remove(ANNOTATION);
        } else {
            annotations.insert(ANNOTATION.to_owned(), text.into());
        }
    }
    Applied { object: Some(object), managed }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn configurations_are_written_down_as_kubectl_does() {
        let configuration = json!({
            "kind": "ConfigMap", "apiVersion": "v1", "data": {"b": "<&>", "a": "x"},
            "metadata": {"name": "m", "namespace": "n", "annotations": {ANNOTATION: "old"}},
        });
        let expected = "{\"apiVersion\":\"v1\",\"data\":{\"a\":\"x\",\"b\":\"\\u003c\\u0026\\u003e\"},\"kind\":\"ConfigMap\",\
                        \"metadata\":{\"annotations\":{},\"name\":\"m\",\"namespace\":\"n\"}}\n";
        assert_eq!(configuration_text(configuration), expected);
    }
}
