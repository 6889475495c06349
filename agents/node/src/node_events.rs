//! What is told of the node by events: that pods are kept away from it, and how its conditions change.

use k8s_openapi::api::core::v1::Node;
use kontiki_informer::Change;

use crate::events::{Events, Severity};

/// Of each condition what is told when it begins to hold, and when it ceases to.
const CONDITIONS: [(&str, &str, &str); 4] = [
    ("MemoryPressure", "NodeHasInsufficientMemory", "NodeHasSufficientMemory"),
    ("DiskPressure", "NodeHasDiskPressure", "NodeHasNoDiskPressure"),
    ("PIDPressure", "NodeHasInsufficientPID", "NodeHasSufficientPID"),
    ("Ready", "NodeReady", "NodeNotReady"),
];

pub fn tell(events: &Events, change: &Change<Node>) {
    let Some(new) = &change.new else { return };
    let name = new.metadata.name.as_deref().unwrap_or_default();
    for reason in reasons(change.old.as_deref(), new) {
        events.of_node(new, Severity::Normal, reason, format!("Node {name} status is now: {reason}"));
    }
}

fn reasons(old: Option<&Node>, new: &Node) -> Vec<&'static str> {
    let conditions = CONDITIONS.iter().filter_map(|(type_, holds, ceases)| {
        let (before, now) = (old.and_then(|old| status(old, type_)), status(new, type_)?);
        match now {
            _ if before == Some(now) => None,
            "True" => Some(*holds),
            "False" => Some(*ceases),
            // Nobody knows: that is not this node's word.
            _ => None,
        }
    });
    conditions.chain(old.and_then(|old| cordon(old, new))).collect()
}

fn status<'a>(node: &'a Node, type_: &str) -> Option<&'a str> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == type_).map(|condition| condition.status.as_str())
}

fn cordon(old: &Node, new: &Node) -> Option<&'static str> {
    let cordoned = |node: &Node| node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    match (cordoned(old), cordoned(new)) {
        (false, true) => Some("NodeNotSchedulable"),
        (true, false) => Some("NodeSchedulable"),
        (true, true) | (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(cordoned: Value, conditions: &[(&str, &str)]) -> Node {
        let condition = |(type_, status): &(&str, &str)| json!({"type": type_, "status": status});
        let conditions: Vec<Value> = conditions.iter().map(condition).collect();
        serde_json::from_value(json!({"spec": {"unschedulable": cordoned}, "status": {"conditions": conditions}}))
            .unwrap()
    }

    #[test]
    fn a_cordon_is_told_when_it_changes() {
        let (free, cordoned) = (node(Value::Null, &[]), node(true.into(), &[]));
        assert_eq!(reasons(Some(&free), &cordoned), ["NodeNotSchedulable"]);
        assert_eq!(reasons(Some(&cordoned), &free), ["NodeSchedulable"]);
        assert_eq!((reasons(Some(&free), &free), reasons(None, &cordoned)), (vec![], vec![]));
    }

    #[test]
    fn conditions_are_told_when_they_change() {
        let of = |conditions: &[(&str, &str)]| node(Value::Null, conditions);
        let well = of(&[("MemoryPressure", "False"), ("DiskPressure", "False"), ("Ready", "True")]);
        let full = of(&[("MemoryPressure", "False"), ("DiskPressure", "True"), ("Ready", "True")]);
        let lost = of(&[("MemoryPressure", "Unknown"), ("DiskPressure", "Unknown"), ("Ready", "Unknown")]);
        let all = ["NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeReady"];
        assert_eq!(reasons(None, &well), all);
        assert_eq!(reasons(Some(&well), &full), ["NodeHasDiskPressure"]);
        assert_eq!(reasons(Some(&full), &well), ["NodeHasNoDiskPressure"]);
        assert_eq!(reasons(Some(&well), &lost), Vec::<&str>::new());
        assert_eq!(reasons(Some(&lost), &well), all);
    }
}
