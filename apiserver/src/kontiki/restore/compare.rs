//! One object in the present and in the past: whether they differ, and what it is to become. Pure.

use bytes::Bytes;
use kontiki_kinds::{Kind, Restore};
use kontiki_model::{Head, Status};
use kontiki_raft::Stored;
use serde_json::Value;

use crate::{
    failure,
    rest::{
        object::{self, Sealed},
        update::differs,
    },
};

/// What is to be done to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Becomes {
    /// It was deleted since: it comes back as it was, uid and status included.
    Created(Sealed),
    /// It is there, and changed.
    Updated(Sealed),
    /// Another one took its name: that goes, and the old one comes back.
    Replaced(Sealed),
    /// It did not exist then.
    Deleted,
}

pub fn compare(kind: &Kind, present: Option<&Stored>, past: Option<&Stored>) -> Result<Option<Becomes>, Status> {
    let whole = match kind.restore {
        Restore::Whole => true,
        Restore::WhileThere => false,
        Restore::Never => return Ok(None),
    };
    Ok(match (present, past) {
        (None, None) => None,
        (None, Some(past)) => whole.then(|| Becomes::Created(as_it_is(past))),
        (Some(_), None) => whole.then_some(Becomes::Deleted),
        (Some(present), Some(past)) if present.head.uid != past.head.uid => {
            whole.then(|| Becomes::Replaced(as_it_is(past)))
        }
        (Some(present), Some(past)) if present.body == past.body => None,
        (Some(present), Some(past)) => {
            let merged = merge(kind, present, past)?;
            (merged.body != present.body).then_some(Becomes::Updated(merged))
        }
    })
}

/// The object as it was, with what it keeps of the present.
fn merge(kind: &Kind, present: &Stored, past: &Stored) -> Result<Sealed, Status> {
    let (is, mut was) = (tree(&present.body)?, tree(&past.body)?);
    // A deletion that is taken back takes what it did to the status with it.
    if present.head.deletion.is_some() == past.head.deletion.is_some() {
        kind.restore_keeps.iter().for_each(|pointer| keep(&mut was, &is, pointer));
    }
    if kind.generation {
        // Controllers say which generation they have seen: it never goes back.
        let next = present.head.generation + i64::from(differs(kind, &was, &is));
        object::metadata(&mut was).insert("generation".to_owned(), next.into());
    }
    // Custom objects stay in the version that they were stored in.
    let version = was["apiVersion"].take();
    object::settle(kind, &mut was);
    was["apiVersion"] = version;
    if same_but_for_managers(&was, &is) {
        return Ok(as_it_is(present));
    }
    object::seal_as_it_is(kind, was)
}

fn as_it_is(stored: &Stored) -> Sealed {
    Sealed { head: Head::clone(&stored.head), body: stored.body.clone() }
}

/// Who said what makes no difference by itself: writers of the status come and go.
fn same_but_for_managers(was: &Value, is: &Value) -> bool {
    let without = |object: &Value| {
        let mut object = object.clone();
        object::metadata(&mut object).shift_remove("managedFields");
        object
    };
    without(was) == without(is)
}

fn tree(body: &Bytes) -> Result<Value, Status> {
    serde_json::from_slice(body).map_err(failure::internal)
}

/// Makes a member of `was` what it is in `is`, or removes it if it is not there.
fn keep(was: &mut Value, is: &Value, pointer: &str) {
    let Some((parent, member)) = pointer.rsplit_once('/') else { return };
    let Some(parent) = was.pointer_mut(parent).and_then(Value::as_object_mut) else { return };
    match is.pointer(pointer) {
        Some(value) => _ = parent.insert(member.to_owned(), value.clone()),
        None => _ = parent.shift_remove(member),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use kontiki_kinds::by_gvk;
    use kontiki_model::Key;
    use serde_json::json;

    use super::*;

    fn kind(group: &str, name: &str) -> &'static Kind {
        by_gvk(group, "v1", name).unwrap()
    }

    fn stored(kind: &Kind, uid: &str, rest: Value) -> Stored {
        let mut object = json!({"metadata": {
            "name": "x", "namespace": "n", "uid": uid, "creationTimestamp": "2026-01-01T00:00:00Z",
        }});
        for (member, value) in rest.as_object().unwrap() {
            match member.as_str() {
                "metadata" => object::metadata(&mut object).extend(value.as_object().unwrap().clone()),
                member => object[member] = value.clone(),
            }
        }
        let Sealed { head, body } = object::seal(kind, object).unwrap();
        Stored { key: Key::new(kind.storage_resource(), "n", "x"), revision: 7, head: Arc::new(head), body }
    }

    fn told(becomes: Option<Becomes>) -> String {
        let shown = |sealed: Sealed| {
            let mut object: Value = serde_json::from_slice(&sealed.body).unwrap();
            let metadata = object::metadata(&mut object);
            ["name", "namespace", "creationTimestamp"].iter().for_each(|member| _ = metadata.shift_remove(*member));
            ["kind", "apiVersion"].iter().for_each(|member| _ = object.as_object_mut().unwrap().shift_remove(*member));
            object.to_string()
        };
        match becomes {
            None => "nothing".to_owned(),
            Some(Becomes::Created(sealed)) => format!("create {}", shown(sealed)),
            Some(Becomes::Updated(sealed)) => format!("update {}", shown(sealed)),
            Some(Becomes::Replaced(sealed)) => format!("replace {}", shown(sealed)),
            Some(Becomes::Deleted) => "delete".to_owned(),
        }
    }

    #[test]
    fn objects_come_back_change_go_or_stay() {
        let map = kind("", "ConfigMap");
        let of = |uid: &str, value: &str| stored(map, uid, json!({"data": {"k": value}}));
        let (a, b, other) = (of("u", "a"), of("u", "b"), of("v", "a"));
        let table = [
            (None, None, "nothing"),
            (None, Some(&a), r#"create {"metadata":{"uid":"u"},"data":{"k":"a"}}"#),
            (Some(&a), None, "delete"),
            (Some(&a), Some(&a), "nothing"),
            (Some(&b), Some(&a), r#"update {"metadata":{"uid":"u"},"data":{"k":"a"}}"#),
            (Some(&other), Some(&a), r#"replace {"metadata":{"uid":"u"},"data":{"k":"a"}}"#),
        ];
        for (present, past, expected) in table {
            assert_eq!(told(compare(map, present, past).unwrap()), expected);
        }
    }

    #[test]
    fn an_object_that_is_still_there_keeps_its_status_and_its_generation_rises() {
        let deployment = kind("apps", "Deployment");
        let of = |replicas: u32, generation: u32, ready: u32| {
            let rest = json!({"metadata": {"generation": generation}, "spec": {"replicas": replicas}, "status": {"replicas": ready}});
            stored(deployment, "u", rest)
        };
        let updated = told(compare(deployment, Some(&of(5, 4, 5)), Some(&of(2, 1, 2))).unwrap());
        assert!(
            updated.starts_with(r#"update {"metadata":{"uid":"u","generation":5},"spec":{"replicas":2,"#),
            "{updated}"
        );
        assert!(updated.ends_with(r#""status":{"replicas":5}}"#), "{updated}");
        let only_status = compare(deployment, Some(&of(2, 4, 5)), Some(&of(2, 1, 2))).unwrap();
        assert_eq!(told(only_status), "nothing");
        let managed = |time: &str| {
            let entry = json!({"manager": "m", "operation": "Update", "apiVersion": "v1", "time": time, "fieldsType": "FieldsV1"});
            stored(deployment, "u", json!({"metadata": {"generation": 1, "managedFields": [entry]}}))
        };
        let (past, present) = (managed("2026-01-01T00:00:00Z"), managed("2026-01-02T00:00:00Z"));
        assert_ne!(past.body, present.body);
        assert_eq!(told(compare(deployment, Some(&present), Some(&past)).unwrap()), "nothing");
    }

    #[test]
    fn machines_come_and_go_by_themselves() {
        let node = kind("", "Node");
        let of = |uid: &str, cordoned: bool, status: &str| {
            stored(node, uid, json!({"spec": {"unschedulable": cordoned}, "status": {"phase": status}}))
        };
        let (is, was) = (of("u", true, "now"), of("u", false, "then"));
        assert_eq!(told(compare(node, Some(&is), None).unwrap()), "nothing");
        assert_eq!(told(compare(node, None, Some(&was)).unwrap()), "nothing");
        assert_eq!(told(compare(node, Some(&of("v", true, "now")), Some(&was)).unwrap()), "nothing");
        let updated = told(compare(node, Some(&is), Some(&was)).unwrap());
        assert!(updated.starts_with("update") && updated.contains(r#""phase":"now""#), "{updated}");
        assert!(!updated.contains("unschedulable"), "{updated}");
    }
}
