//! Brings the default roles and bindings to the log at each start: makes what is missing, and gives back rules and subjects
//! that were taken away. What an administrator added stays, and so does all of an object that says
//! `rbac.authorization.kubernetes.io/autoupdate: "false"`.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kontiki_kinds::by_resource;
use kontiki_model::{Key, Status};
use serde_json::{Value, json};

use super::{
    cover,
    defaults::{self, Default},
    rbac::GROUP,
    rule::Rule,
};
use crate::{
    bootstrap::{self, Write},
    core::Core,
    failure, limits, rest,
};

const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// What is to be done about an object that is there.
#[derive(Debug, PartialEq)]
enum Correction {
    Nothing,
    Update(Value),
    /// It names another role, which no update changes.
    Replace,
}

pub(crate) async fn run(core: &Arc<Core>) -> Result<(), Status> {
    let settled = stream::iter(defaults::all()).map(|wanted| settle(core, wanted));
    settled.buffer_unordered(limits::BOOTSTRAP_WRITES_AT_ONCE).try_collect().await
}

async fn settle(core: &Arc<Core>, wanted: Default) -> Result<(), Status> {
    let Default { resource, namespace, object } = wanted;
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let Some(found) = core.stored(&Key::new(resource.stored(), namespace, name))? else {
        return bootstrap::ensure(core, GROUP, resource.plural(), namespace, object).await;
    };
    let kind = by_resource(GROUP, "v1", resource.plural()).ok_or_else(failure::no_such_resource)?;
    let one = Write { kind, namespace, name: Some(name), subresource: None };
    match correction(rest::object::open(&found)?, &object) {
        Correction::Nothing => Ok(()),
        Correction::Update(new) => one.carry_out(core, &new).await,
        Correction::Replace => {
            match one.remove(core, &json!({"preconditions": {"uid": found.head.uid}})).await {
                Err(status) if status.reason != "NotFound" => return Err(status),
                Ok(()) | Err(_) => {}
            }
            Write { name: None, ..one }.carry_out(core, &object).await
        }
    }
}

fn correction(present: Value, wanted: &Value) -> Correction {
    if present["metadata"]["annotations"][AUTO_UPDATE] == "false" {
        return Correction::Nothing;
    }
    if !wanted["roleRef"].is_null() && present["roleRef"] != wanted["roleRef"] {
        return Correction::Replace;
    }
    let mut new = present.clone();
    for member in ["labels", "annotations"] {
        for (key, value) in wanted["metadata"][member].as_object().into_iter().flatten() {
            let slot = &mut new["metadata"][member][key.as_str()];
            if slot.is_null() {
                *slot = value.clone();
            }
        }
    }
    add_missing(&mut new, "subjects", wanted["subjects"].as_array().cloned().unwrap_or_default());
    if wanted["aggregationRule"].is_null() {
        let lacking = cover::lacking(&Rule::list(&present), &Rule::list(wanted));
        add_missing(&mut new, "rules", lacking.iter().map(Rule::value).collect());
    } else {
        // A controller writes the rules of these.
        let selectors = wanted["aggregationRule"]["clusterRoleSelectors"].as_array().cloned().unwrap_or_default();
        add_missing(&mut new["aggregationRule"], "clusterRoleSelectors", selectors);
    }
    if new == present { Correction::Nothing } else { Correction::Update(new) }
}

/// Appends to a list what it lacks of these.
fn add_missing(object: &mut Value, member: &str, wanted: Vec<Value>) {
    for one in wanted {
        let list = &mut object[member];
        match list.as_array_mut() {
            Some(list) if list.contains(&one) => {}
            Some(list) => list.push(one),
            None => *list = json!([one]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(rules: Value) -> Value {
        json!({"metadata": {"name": "r", "labels": {"a": "1"}}, "rules": rules})
    }

    fn rule(verbs: &[&str]) -> Value {
        json!({"verbs": verbs, "apiGroups": [""], "resources": ["pods"]})
    }

    #[test]
    fn what_was_taken_away_comes_back_and_what_was_added_stays() {
        let cases = [
            (role(json!([rule(&["get"])])), role(json!([rule(&["get"])])), None),
            (
                role(json!([rule(&["get"])])),
                role(json!([rule(&["get", "list"])])),
                Some(role(json!([rule(&["get"]), rule(&["list"])]))),
            ),
            (role(json!([rule(&["*"])])), role(json!([rule(&["get", "list"])])), None),
            (role(Value::Null), role(json!([rule(&["get"])])), Some(role(json!([rule(&["get"])])))),
            (
                json!({"metadata": {"annotations": {AUTO_UPDATE: "false"}}, "rules": null}),
                role(json!([rule(&["get"])])),
                None,
            ),
            (
                json!({"metadata": {"labels": {"a": "mine", "b": "2"}}, "rules": null}),
                json!({"metadata": {"labels": {"a": "1", "c": "3"}}, "rules": null}),
                Some(json!({"metadata": {"labels": {"a": "mine", "b": "2", "c": "3"}}, "rules": null})),
            ),
            (
                json!({"metadata": {}, "roleRef": {"name": "r"}, "subjects": [{"name": "x"}]}),
                json!({"metadata": {}, "roleRef": {"name": "r"}, "subjects": [{"name": "y"}]}),
                Some(json!({"metadata": {}, "roleRef": {"name": "r"}, "subjects": [{"name": "x"}, {"name": "y"}]})),
            ),
            (
                json!({"metadata": {}, "roleRef": {"name": "r"}}),
                json!({"metadata": {}, "roleRef": {"name": "r"}}),
                None,
            ),
            (
                json!({"metadata": {}, "rules": [rule(&["get"])], "aggregationRule": {"clusterRoleSelectors": ["mine"]}}),
                json!({"metadata": {}, "rules": null, "aggregationRule": {"clusterRoleSelectors": ["default"]}}),
                Some(json!({"metadata": {}, "rules": [rule(&["get"])],
                    "aggregationRule": {"clusterRoleSelectors": ["mine", "default"]}})),
            ),
        ];
        for (present, wanted, expected) in cases {
            let expected = expected.map_or(Correction::Nothing, Correction::Update);
            assert_eq!(correction(present.clone(), &wanted), expected, "{present} {wanted}");
        }
        let (present, wanted) = (json!({"metadata": {}, "roleRef": "a"}), json!({"metadata": {}, "roleRef": "b"}));
        assert_eq!(correction(present, &wanted), Correction::Replace);
    }
}
