//! An owner that is named twice counts once, and whoever names it so is warned.

use std::collections::HashSet;

use serde_json::Value;

use super::object::text;

/// Who named the owners that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    ByRequest,
    ByMutation,
}

/// Leaves the first of the owners that have one uid.
pub fn dedup(object: &mut Value, named: Named, warnings: &mut Vec<String>) {
    let Some(owners) = object.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut) else { return };
    let (mut seen, mut again) = (HashSet::new(), Vec::new());
    owners.retain(|owner| {
        let uid = text(owner, "/uid").to_owned();
        let is_new = seen.insert(uid.clone());
        if !is_new && !again.contains(&uid) {
            again.push(uid);
        }
        is_new
    });
    if again.is_empty() {
        return;
    }
    let when = match named {
        Named::ByRequest => "",
        Named::ByMutation => " after mutating admission happens",
    };
    warnings.push(format!(
        ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may \
         reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        again.join(", ")
    ));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_of_each_uid_stays() {
        let owner = |name: &str, uid: &str| json!({"name": name, "uid": uid});
        let given = [owner("a", "1"), owner("b", "2"), owner("c", "1"), owner("d", "1"), owner("e", "2")];
        let mut object = json!({"metadata": {"ownerReferences": given}});
        let mut warnings = Vec::new();
        dedup(&mut object, Named::ByMutation, &mut warnings);
        assert_eq!(object["metadata"]["ownerReferences"], json!([owner("a", "1"), owner("b", "2")]));
        let words = ".metadata.ownerReferences contains duplicate entries after mutating admission happens; API server";
        assert!(warnings[0].starts_with(words) && warnings[0].ends_with("observed: 1, 2"), "{warnings:?}");
        dedup(&mut object, Named::ByRequest, &mut warnings);
        assert_eq!(warnings.len(), 1);
    }
}
