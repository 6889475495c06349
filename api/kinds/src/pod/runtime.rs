//! The class of its runtime that a pod names (`RuntimeClass`): what it takes beside the containers, and where it can run.

use serde_json::Value;

use crate::Lookup;
use crate::tree::{at, int, list, members, missing, object, text};

pub fn lookup(pod: &Value) -> Option<Lookup> {
    let name = text(pod, "/spec/runtimeClassName");
    let resource = "runtimeclasses.node.k8s.io";
    (!name.is_empty()).then(|| Lookup::of_cluster(resource, name))
}

/// `class` is what was found for [`lookup`].
pub fn admit(pod: &mut Value, class: Option<&Value>) -> Result<(), String> {
    let name = text(pod, "/spec/runtimeClassName");
    if !name.is_empty() && class.is_none() {
        return Err(format!("pod rejected: RuntimeClass {name:?} not found"));
    }
    let class = class.unwrap_or(&Value::Null);
    overhead(pod, at(class, "/overhead/podFixed"))?;
    let scheduling = at(class, "/scheduling");
    if !scheduling.is_null() {
        select_nodes(pod, scheduling)?;
        let merged = merge(list(pod, "/spec/tolerations"), list(scheduling, "/tolerations"));
        if !merged.is_empty() {
            object(pod, "spec")["tolerations"] = merged.into();
        }
    }
    Ok(())
}

/// What a sandbox takes is the class's to say.
fn overhead(pod: &mut Value, fixed: &Value) -> Result<(), String> {
    let said = at(pod, "/spec/overhead");
    if fixed.is_null() {
        let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
        return if said.is_null() { Ok(()) } else { Err(why.to_owned()) };
    }
    let amounts = kontiki_model::Resources::from_json;
    if !said.is_null() && amounts(said) != amounts(fixed) {
        return Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".to_owned());
    }
    object(pod, "spec")["overhead"] = fixed.clone();
    Ok(())
}

fn select_nodes(pod: &mut Value, scheduling: &Value) -> Result<(), String> {
    for (label, value) in members(scheduling, "/nodeSelector") {
        let said = at(pod, "/spec/nodeSelector").get(label);
        if let Some(said) = said.filter(|said| *said != value) {
            let (value, said) = (value.as_str().unwrap_or_default(), said.as_str().unwrap_or_default());
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{label}] = {value}; pod.spec.nodeSelector[{label}] = {said}"
            ));
        }
        object(object(pod, "spec"), "nodeSelector")[label.as_str()] = value.clone();
    }
    Ok(())
}

/// Both lists, without those that another one covers.
fn merge(own: &[Value], of_class: &[Value]) -> Vec<Value> {
    let all: Vec<&Value> = own.iter().chain(of_class).collect();
    let mut merged: Vec<Value> = Vec::new();
    for (index, one) in all.iter().enumerate() {
        // Of two that cover each other the first stays.
        let covered = merged.iter().any(|kept| covers(kept, one))
            || all[index + 1..].iter().any(|later| covers(later, one) && !covers(one, later));
        if !covered {
            merged.push((*one).clone());
        }
    }
    merged
}

fn covers(wide: &Value, one: &Value) -> bool {
    let same = |pointer: &str| text(wide, pointer) == text(one, pointer);
    let any_key = text(wide, "/key").is_empty() && text(wide, "/operator") == "Exists";
    let seconds = "/tolerationSeconds";
    let as_long = missing(wide, seconds) || !missing(one, seconds) && int(one, seconds) <= int(wide, seconds);
    if wide == one {
        return true;
    }
    if !(same("/key") || any_key) || !(same("/effect") || text(wide, "/effect").is_empty()) {
        return false;
    }
    if text(wide, "/effect") == "NoExecute" && !as_long {
        return false;
    }
    match text(wide, "/operator") {
        "Exists" => true,
        "" | "Equal" => matches!(text(one, "/operator"), "" | "Equal") && same("/value"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn admitted(spec: Value, class: Option<Value>) -> Result<Value, String> {
        let mut pod = json!({"spec": spec});
        pod["spec"]["runtimeClassName"] = "c".into();
        admit(&mut pod, class.as_ref()).map(|()| pod["spec"].take())
    }

    #[test]
    fn the_class_says_what_its_sandboxes_take() {
        let class = json!({"overhead": {"podFixed": {"cpu": "100m"}}});
        let with = |overhead: Value| json!({"overhead": overhead});
        assert_eq!(admitted(json!({}), Some(class.clone())).unwrap()["overhead"], json!({"cpu": "100m"}));
        assert!(admitted(with(json!({"cpu": "0.1"})), Some(class.clone())).is_ok());
        assert_eq!(
            admitted(with(json!({"cpu": "1"})), Some(class)),
            Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".to_owned())
        );
        assert_eq!(
            admitted(with(json!({"cpu": "1"})), Some(json!({}))),
            Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead".to_owned())
        );
        assert_eq!(admitted(json!({}), None), Err("pod rejected: RuntimeClass \"c\" not found".to_owned()));
    }

    #[test]
    fn the_class_says_where_its_pods_run() {
        let exists = |key: &str| json!({"key": key, "operator": "Exists"});
        let narrow = json!({"key": "a", "operator": "Equal", "value": "b", "effect": "NoSchedule"});
        let class = json!({"scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [exists("a"), exists("c")]}});
        let spec = json!({"nodeSelector": {"x": "y"}, "tolerations": [narrow, exists("c")]});
        let admitted_spec = admitted(spec, Some(class.clone())).unwrap();
        assert_eq!(admitted_spec["nodeSelector"], json!({"x": "y", "a": "b"}));
        assert_eq!(admitted_spec["tolerations"], json!([exists("c"), exists("a")]));
        assert_eq!(
            admitted(json!({"nodeSelector": {"a": "z"}}), Some(class)),
            Err("conflict: runtimeClass.scheduling.nodeSelector[a] = b; pod.spec.nodeSelector[a] = z".to_owned())
        );
    }
}
