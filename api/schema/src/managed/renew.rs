//! The commonest write of all: who says some fields says them again, with other values. Nothing changes but a time, so
//! nothing is decoded.

use serde_json::Value;

use super::{Change, FieldManager, UPDATERS_MAX, manager::strip, set::FieldSet};

impl FieldManager<'_> {
    /// `managedFields` after a change of which the writer says all already, and nobody else says any. `None` if more changes
    /// than a time: [`FieldManager::update`] knows.
    pub fn renewed(&self, change: &Change<'_>, member: &Value, name: &str) -> Option<Value> {
        let said = change.said_without_removals()?;
        let mut own = said.clone();
        strip(&mut own);
        let entries = member.as_array().filter(|entries| !own.is_empty() && entries.len() <= UPDATERS_MAX)?;
        let mut mine = None;
        for (index, entry) in entries.iter().enumerate() {
            let fields = entry.get("fieldsV1")?;
            let key = |member: &str| text(entry, member);
            if key("apiVersion") != self.api_version || key("time").is_empty() {
                return None;
            }
            let is_mine = (key("manager"), key("operation"), key("subresource")) == (name, "Update", self.subresource);
            match is_mine {
                true if mine.is_none() && covers(fields, &own) => mine = Some(index),
                false if !touches(fields, &said) => {}
                true | false => return None,
            }
        }
        let mut renewed = entries.clone();
        renewed[mine?]["time"] = self.now.into();
        let order = ["operation", "time", "manager", "apiVersion", "subresource"];
        renewed.sort_by(|left, right| {
            order.map(|member| text(left, member)).cmp(&order.map(|member| text(right, member)))
        });
        Some(Value::Array(renewed))
    }
}

fn text<'a>(entry: &'a Value, member: &str) -> &'a str {
    entry.get(member).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a node of `fieldsV1` is in its set, not only on the way.
fn is_member(node: &Value) -> bool {
    node.as_object().is_some_and(|members| members.is_empty() || members.contains_key("."))
}

/// Whether all paths are in the set that `fields` writes down.
fn covers(fields: &Value, paths: &FieldSet) -> bool {
    paths.nodes().all(|(element, member, below)| {
        fields.get(element.to_json()).is_some_and(|node| (!member || is_member(node)) && covers(node, below))
    })
}

/// Whether any path is.
fn touches(fields: &Value, paths: &FieldSet) -> bool {
    paths.nodes().any(|(element, member, below)| {
        fields.get(element.to_json()).is_some_and(|node| (member && is_member(node)) || touches(node, below))
    })
}
