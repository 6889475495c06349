//! A configuration put over an object in nobody's name: merged as if it were applied, while who says what stays as it is.

use serde_json::{Map, Value};

use super::{element::Element, place::Place};
use crate::table::{Table, TypeId};

impl Table {
    /// The object with all that the configuration says. The error says why the configuration makes no sense; one that holds a
    /// whole list, map or struct which merges with nothing would drop what it does not know, and is refused.
    pub fn overlaid(&self, id: TypeId, object: &Value, configuration: &Value) -> Result<Value, String> {
        self.check_config(id, configuration)
            .map_err(|error| format!("failed to convert patch object to typed object: {error}"))?;
        let mut whole = Vec::new();
        self.find_whole(Place::Struct(id), configuration, "", &mut whole);
        if !whole.is_empty() {
            let places = whole.join(", ");
            return Err(format!("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {places}"));
        }
        Ok(self.merged(id, object, configuration))
    }

    /// Lists and objects that count as one value.
    fn find_whole(&self, place: Place<'_>, value: &Value, path: &str, found: &mut Vec<String>) {
        let members = |value: &Value, found: &mut Vec<String>| {
            for (name, value) in value.as_object().unwrap_or(&Map::new()) {
                let (below, _) = self.step(place, &Element::field(name.as_str()));
                self.find_whole(below, value, &format!("{path}.{name}"), found);
            }
        };
        match (place, value) {
            (Place::Leaf, Value::Array(_) | Value::Object(_)) | (Place::Free, Value::Array(_)) => {
                found.push(path.to_owned());
            }
            (Place::Struct(_) | Place::Map(_) | Place::Free, value) => members(value, found),
            (Place::Keyed(_, item), Value::Array(items)) => {
                for (index, value) in items.iter().enumerate() {
                    self.find_whole(self.item_place(item, None), value, &format!("{path}[{index}]"), found);
                }
            }
            (Place::Leaf | Place::Set | Place::Keyed(..), _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{builtin, ids};

    #[test]
    fn what_merges_is_merged_and_what_does_not_is_refused() {
        let object = json!({
            "metadata": {"labels": {"a": "1"}},
            "spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]},
        });
        let laid = |configuration| builtin().overlaid(ids::CORE_V1_POD, &object, &configuration);
        let merged = laid(json!({
            "metadata": {"labels": {"b": "2"}},
            "spec": {"containers": [{"name": "b", "env": [{"name": "E", "value": "v"}]}], "hostNetwork": true},
        }));
        let containers =
            json!([{"name": "a", "image": "x"}, {"name": "b", "image": "y", "env": [{"name": "E", "value": "v"}]}]);
        let expected = json!({
            "metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"containers": containers, "hostNetwork": true},
        });
        assert_eq!(merged, Ok(expected));
        let refused = |configuration| laid(configuration).unwrap_err();
        assert_eq!(
            refused(
                json!({"spec": {"tolerations": [], "nodeSelector": {}, "containers": [{"name": "a", "args": ["x"]}]}})
            ),
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.tolerations, \
             .spec.nodeSelector, .spec.containers[0].args"
        );
        let unknown = refused(json!({"spec": {"nothing": 1}}));
        assert!(unknown.contains("failed to convert patch object to typed object: .spec.nothing"), "{unknown}");
    }
}
