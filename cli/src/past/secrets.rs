//! What Secrets hold, when two forms of one are shown beside each other: as `kubectl diff` masks it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

const MASKED: &str = "***";
const BEFORE: &str = "*** (before)";
const AFTER: &str = "*** (after)";

/// Where a Secret has values: its data, and the copy that `kubectl apply` keeps of it.
const PLACES: [(&str, Option<&str>); 2] =
    [("/data", None), ("/metadata/annotations", Some("kubectl.kubernetes.io/last-applied-configuration"))];

/// Masks the values of two forms of a Secret; of other kinds nothing. Values that differ can still be told apart.
pub fn mask(from: &mut Option<Value>, to: &mut Option<Value>) {
    for (place, only) in PLACES {
        let (mut none, mut nothing) = (Map::new(), Map::new());
        let from = values(from, place).unwrap_or(&mut none);
        let to = values(to, place).unwrap_or(&mut nothing);
        let is_meant = |key: &String| only.is_none_or(|only| only == key);
        let all: BTreeSet<String> = from.keys().chain(to.keys()).filter(|key| is_meant(key)).cloned().collect();
        for key in all {
            let (before, after) = match (from.get(&key), to.get(&key)) {
                (Some(before), Some(after)) if before != after => (BEFORE, AFTER),
                _ => (MASKED, MASKED),
            };
            from.get_mut(&key).into_iter().for_each(|value| *value = before.into());
            to.get_mut(&key).into_iter().for_each(|value| *value = after.into());
        }
    }
}

fn values<'a>(form: &'a mut Option<Value>, place: &str) -> Option<&'a mut Map<String, Value>> {
    let form = form.as_mut().filter(|form| form["kind"] == "Secret" && form["apiVersion"] == "v1")?;
    form.pointer_mut(place)?.as_object_mut()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_masked_and_still_told_apart() {
        let secret = |data: Value, applied: &str| {
            let annotations = json!({"kubectl.kubernetes.io/last-applied-configuration": applied, "note": "n"});
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"annotations": annotations}, "data": data})
        };
        let mut from = Some(secret(json!({"same": "YQ==", "other": "Yg==", "gone": "Yw=="}), "one"));
        let mut to = Some(secret(json!({"same": "YQ==", "other": "ZA==", "new": "ZQ=="}), "two"));
        mask(&mut from, &mut to);
        assert_eq!(from, Some(secret(json!({"same": MASKED, "other": BEFORE, "gone": MASKED}), BEFORE)));
        assert_eq!(to, Some(secret(json!({"same": MASKED, "other": AFTER, "new": MASKED}), AFTER)));

        let (mut from, mut alone) = (None, Some(secret(json!({"new": "ZQ=="}), "two")));
        mask(&mut from, &mut alone);
        assert_eq!((from, alone), (None, Some(secret(json!({"new": MASKED}), MASKED))));

        let map = |value: &str| Some(json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": value}}));
        let (mut from, mut to) = (map("1"), map("2"));
        mask(&mut from, &mut to);
        assert_eq!((from, to), (map("1"), map("2")));
    }
}
