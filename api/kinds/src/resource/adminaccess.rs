//! Access to devices that others use, for those who look after them: in namespaces that are labelled for it.

use serde_json::Value;

use crate::tree::{at, flag, list, text};
use crate::{Lookup, Review};

const LABEL: &str = "resource.kubernetes.io/admin-access";

pub static OF_CLAIM: Review = Review {
    plugin: "DRAAdminAccess",
    lookups: |claim, old| lookups(claim, old, "/spec"),
    check: |claim, old, found| check(claim, old, found, "/spec"),
};

pub static OF_TEMPLATE: Review = Review {
    plugin: "DRAAdminAccess",
    lookups: |template, old| lookups(template, old, "/spec/spec"),
    check: |template, old, found| check(template, old, found, "/spec/spec"),
};

/// A request never changes.
fn is_asked_for(object: &Value, old: Option<&Value>, spec: &str) -> bool {
    let requests = list(at(object, spec), "/devices/requests");
    old.is_none() && requests.iter().any(|request| flag(request, "/exactly/adminAccess"))
}

fn lookups(object: &Value, old: Option<&Value>, spec: &str) -> Vec<Lookup> {
    let namespace = || Lookup::of_cluster("namespaces", text(object, "/metadata/namespace"));
    Vec::from_iter(is_asked_for(object, old, spec).then(namespace))
}

fn check(object: &Value, old: Option<&Value>, found: &[Vec<Value>], spec: &str) -> Result<(), String> {
    let is_labelled = |namespace: &Value| namespace["metadata"]["labels"][LABEL] == "true";
    if !is_asked_for(object, old, spec) || found.iter().flatten().any(is_labelled) {
        return Ok(());
    }
    Err(format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_namespace_lets_in_those_who_look_after_devices() {
        let devices =
            |admin: bool| json!({"devices": {"requests": [{"name": "r", "exactly": {"adminAccess": admin}}]}});
        let claim = |admin| json!({"metadata": {"namespace": "n"}, "spec": devices(admin)});
        let template = |admin| json!({"metadata": {"namespace": "n"}, "spec": {"spec": devices(admin)}});
        let namespace = |label: &str| vec![vec![json!({"metadata": {"labels": {LABEL: label}}})]];
        for (review, plain, admin) in
            [(&OF_CLAIM, claim(false), claim(true)), (&OF_TEMPLATE, template(false), template(true))]
        {
            assert_eq!((review.lookups)(&plain, None).len(), 0);
            let asked = (review.lookups)(&admin, None);
            assert_eq!((asked[0].resource, asked[0].name.as_str()), ("namespaces", "n"));
            for (label, let_in) in [("true", true), ("false", false)] {
                assert_eq!((review.check)(&admin, None, &namespace(label)).is_ok(), let_in, "{label}");
            }
            assert!((review.check)(&admin, None, &[vec![]]).is_err());
            assert!((review.check)(&plain, None, &[]).is_ok());
            assert!((review.check)(&admin, Some(&admin), &[]).is_ok(), "it was let in when it was made");
        }
    }
}
