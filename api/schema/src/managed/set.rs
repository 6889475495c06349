//! A set of field paths: what somebody says about an object.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde_json::{Map, Value};

use super::{
    element::Element,
    reach::{Path, is_step},
};

/// Paths, as a tree. A path in the set does not imply the paths below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    nodes: BTreeMap<Element, Node>,
}

/// A node is in the set, or something below it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    member: bool,
    below: FieldSet,
}

impl Node {
    fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

impl FieldSet {
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub fn insert(&mut self, path: &[Element]) {
        let Some((last, parents)) = path.split_last() else { return };
        let mut set = self;
        for element in parents {
            set = &mut set.node(element).below;
        }
        set.node(last).member = true;
    }

    fn node(&mut self, element: &Element) -> &mut Node {
        if !self.nodes.contains_key(element) {
            self.nodes.insert(element.clone(), Node::default());
        }
        self.nodes.get_mut(element).expect("it was inserted above")
    }

    /// Puts one element with all below it; nothing, if there is nothing to put.
    pub(super) fn put(&mut self, element: Element, member: bool, below: FieldSet) {
        let node = Node { member, below };
        if !node.is_empty() {
            self.nodes.insert(element, node);
        }
    }

    pub fn contains(&self, path: &[Element]) -> bool {
        let Some((last, parents)) = path.split_last() else { return false };
        let parent = parents.iter().try_fold(self, |set, element| Some(&set.nodes.get(element)?.below));
        parent.is_some_and(|set| set.has(last))
    }

    /// Whether the one-step path is in the set.
    pub(super) fn has(&self, element: &Element) -> bool {
        self.nodes.get(element).is_some_and(|node| node.member)
    }

    /// What is said below one element.
    pub(super) fn below(&self, element: &Element) -> Option<&FieldSet> {
        self.nodes.get(element).map(|node| &node.below).filter(|set| !set.is_empty())
    }

    /// The elements at the top, whether they are in the set themselves, and what is below them.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&Element, bool, &FieldSet)> {
        self.nodes.iter().map(|(element, node)| (element, node.member, &node.below))
    }

    /// Adds another set.
    pub fn unite(&mut self, other: &FieldSet) {
        if self.is_empty() {
            return self.clone_from(other);
        }
        for (element, node) in &other.nodes {
            match self.nodes.entry(element.clone()) {
                Entry::Vacant(place) => _ = place.insert(node.clone()),
                Entry::Occupied(mut place) => {
                    let mine = place.get_mut();
                    mine.member |= node.member;
                    mine.below.unite(&node.below);
                }
            }
        }
    }

    /// Removes another set's paths; paths below those stay.
    pub fn subtract(&mut self, other: &FieldSet) {
        for (element, node) in &other.nodes {
            let Some(mine) = self.nodes.get_mut(element) else { continue };
            mine.member &= !node.member;
            mine.below.subtract(&node.below);
            if mine.is_empty() {
                self.nodes.remove(element);
            }
        }
    }

    /// The paths that are in both.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        let mut out = FieldSet::default();
        for (element, node) in &self.nodes {
            if let Some(theirs) = other.nodes.get(element) {
                out.put(element.clone(), node.member && theirs.member, node.below.intersection(&theirs.below));
            }
        }
        out
    }

    /// Removes a field and all below it.
    pub fn cut(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        let Entry::Occupied(mut place) = self.nodes.entry(Element::field(*first)) else { return };
        if rest.is_empty() {
            place.remove();
            return;
        }
        place.get_mut().below.cut(rest);
        if place.get().is_empty() {
            place.remove();
        }
    }

    /// Removes all that is neither on the way to one of the paths nor below it.
    pub fn keep(&mut self, paths: &[Path<'_>]) {
        self.nodes.retain(|element, node| {
            let ways = paths.iter().filter_map(|path| path.split_first());
            let rests: Vec<Path<'_>> = ways.filter(|(step, _)| is_step(step, element)).map(|(_, rest)| rest).collect();
            if !rests.iter().any(|rest| rest.is_empty()) {
                node.below.keep(&rests);
            }
            !rests.is_empty() && !node.is_empty()
        });
    }

    /// Every path in the set; those that end at a level come before those that go below it.
    pub fn paths(&self) -> Vec<Vec<Element>> {
        let mut out = Vec::new();
        self.collect(&mut Vec::new(), &mut out);
        out
    }

    fn collect(&self, path: &mut Vec<Element>, out: &mut Vec<Vec<Element>>) {
        for (element, _) in self.nodes.iter().filter(|(_, node)| node.member) {
            out.push(path.iter().chain([element]).cloned().collect());
        }
        for (element, node) in &self.nodes {
            path.push(element.clone());
            node.below.collect(path, out);
            path.pop();
        }
    }

    /// The set as `fieldsV1`.
    pub fn to_json(&self) -> Value {
        Value::Object(self.members(false))
    }

    fn members(&self, member: bool) -> Map<String, Value> {
        let mut out = Map::new();
        if member && !self.is_empty() {
            out.insert(".".to_owned(), Value::Object(Map::new()));
        }
        out.extend(self.nodes.iter().map(|(element, node)| {
            let below = node.below.members(node.member);
            (element.to_json(), Value::Object(below))
        }));
        out
    }

    /// Reads `fieldsV1`; `None` if it is none.
    pub fn from_json(value: &Value) -> Option<Self> {
        let mut out = FieldSet::default();
        for (name, below) in value.as_object()?.iter().filter(|(name, _)| *name != ".") {
            let element = Element::from_json(name)?;
            let members = below.as_object()?;
            let set = FieldSet::from_json(below)?;
            out.put(element, set.is_empty() || members.contains_key("."), set);
        }
        Some(out)
    }
}

/// The printed form of a path: `.spec.containers[name="a"].image`.
pub fn printed(path: &[Element]) -> String {
    path.iter().map(Element::to_string).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn set(json: Value) -> FieldSet {
        FieldSet::from_json(&json).unwrap()
    }

    fn paths(set: &FieldSet) -> Vec<String> {
        set.paths().iter().map(|path| printed(path)).collect()
    }

    #[test]
    fn sets_are_read_and_written_in_gos_order() {
        let json = json!({
            "f:b": {"f:c": {}},
            "f:a": {"v:\"x\"": {}, "k:{\"n\":\"1\"}": {"f:n": {}, ".": {}}, "i:0": {}, "f:z": {}},
        });
        let expected =
            r#"{"f:a":{"f:z":{},"k:{\"n\":\"1\"}":{".":{},"f:n":{}},"v:\"x\"":{},"i:0":{}},"f:b":{"f:c":{}}}"#;
        assert_eq!(set(json.clone()).to_json().to_string(), expected);
        assert_eq!(paths(&set(json)), [".a.z", ".a[n=\"1\"]", ".a[=\"x\"]", ".a[0]", ".a[n=\"1\"].n", ".b.c"]);
        for wrong in [json!([]), json!({"x": {}}), json!({"f:a": 1}), json!({"f:a": {"f:b": null}})] {
            assert_eq!(FieldSet::from_json(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sets_are_united_subtracted_and_intersected() {
        let left = || set(json!({"f:a": {".": {}, "f:b": {}, "f:c": {"f:d": {}}}, "f:x": {}}));
        let right = set(json!({"f:a": {"f:b": {}, "f:e": {}}, "f:x": {"f:y": {}}}));
        let mut united = left();
        united.unite(&right);
        let all = json!({"f:a": {".": {}, "f:b": {}, "f:c": {"f:d": {}}, "f:e": {}}, "f:x": {".": {}, "f:y": {}}});
        assert_eq!(united.to_json(), all);
        let mut rest = left();
        rest.subtract(&right);
        assert_eq!(rest.to_json(), json!({"f:a": {".": {}, "f:c": {"f:d": {}}}, "f:x": {}}));
        rest.subtract(&left());
        assert!(rest.is_empty());
        assert_eq!(left().intersection(&right).to_json(), json!({"f:a": {"f:b": {}}}));
        assert!(left().intersection(&set(json!({"f:a": {"f:c": {}}}))).is_empty());
    }

    #[test]
    fn subtracting_a_parent_keeps_what_is_below_and_cutting_does_not() {
        let whole = || set(json!({"f:status": {".": {}, "f:phase": {}}, "f:metadata": {"f:labels": {"f:a": {}}}}));
        let mut rest = whole();
        rest.subtract(&set(json!({"f:status": {}})));
        assert_eq!(rest.to_json()["f:status"], json!({"f:phase": {}}));
        let mut cut = whole();
        cut.cut(&["status"]);
        cut.cut(&["metadata", "labels"]);
        cut.cut(&["nothing", "here"]);
        assert!(cut.is_empty());
    }

    #[test]
    fn a_path_is_in_the_set_if_it_was_put_there() {
        let mut set = FieldSet::default();
        let path = [Element::field("a"), Element::field("b")];
        assert!(!set.contains(&path));
        set.insert(&path);
        assert!(set.contains(&path) && !set.contains(&path[..1]) && !set.contains(&[]));
    }
}
