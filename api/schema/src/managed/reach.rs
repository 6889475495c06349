//! Which fields a write of some sort can change: only those does its writer come to say.

use super::{compare::Comparison, element::Element, set::FieldSet};

/// A path of names; [`ANY`] stands for any element.
pub type Path<'a> = &'a [&'a str];

/// Any one step of a path: a member, or an item of a list.
pub const ANY: &str = "*";

/// The fields that a write can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach<'a> {
    /// All but these and what is below them.
    AllBut(&'a [Path<'a>]),
    /// These, what is below them, and what they stand in.
    Only(&'a [Path<'a>]),
}

impl Reach<'_> {
    pub const ALL: Self = Reach::AllBut(&[]);

    /// Leaves what such a write can change.
    pub fn limit(self, fields: &mut FieldSet) {
        match self {
            Reach::AllBut(paths) => paths.iter().for_each(|path| fields.cut(path)),
            Reach::Only(paths) => fields.keep(paths),
        }
    }
}

impl Comparison {
    /// Forgets what such a write cannot have changed.
    pub fn limit(&mut self, reach: Reach<'_>) {
        for set in [&mut self.added, &mut self.modified, &mut self.removed] {
            reach.limit(set);
        }
    }
}

/// Whether a step of a pattern is this element.
pub(super) fn is_step(step: &str, element: &Element) -> bool {
    step == ANY || matches!(element, Element::Field(name) if name == step)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_write_reaches_what_its_paths_name() {
        let whole = json!({
            "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
            "f:spec": {
                "f:containers": {
                    "k:{\"name\":\"a\"}": {".": {}, "f:image": {}, "f:resources": {".": {}, "f:limits": {}}},
                    "k:{\"name\":\"b\"}": {"f:image": {}},
                },
                "f:nodeName": {},
            },
        });
        let limited = |reach: Reach<'_>| {
            let mut set = FieldSet::from_json(&whole).unwrap();
            reach.limit(&mut set);
            set.to_json()
        };
        assert_eq!(limited(Reach::ALL), whole);
        assert_eq!(limited(Reach::AllBut(&[&["spec"]])), json!({"f:metadata": whole["f:metadata"]}));
        let resources: &[Path<'_>] = &[&["spec", "containers", ANY, "resources"]];
        let own = json!({".": {}, "f:resources": {".": {}, "f:limits": {}}});
        let expected = json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": own}}});
        assert_eq!(limited(Reach::Only(resources)), expected);
        assert_eq!(limited(Reach::Only(&[])), json!({}));
    }
}
