//! What the types and fields of the table are for: one text file per package, searched where it lies, so that nothing is read
//! before somebody asks.
//!
//! A file has a block per type, in the order of their names, with an empty line between two: `Pod: what it is`, then a line
//! for each field, indented. Fields of an inlined struct are described where it is declared, or closer where it stands.

use std::cmp::Ordering;

use crate::table::Type;

macro_rules! texts {
    ($($package:literal),* $(,)?) => {
        [$(($package, include_str!(concat!("../descriptions/", $package, ".txt")))),*]
    };
}

/// By package.
static TEXTS: &[(&str, &str)] = &texts![
    "admissionregistration.v1",
    "apiextensions.v1",
    "apiregistration.v1",
    "apps.v1",
    "authentication.v1",
    "authorization.v1",
    "autoscaling.v1",
    "autoscaling.v2",
    "batch.v1",
    "certificates.v1",
    "coordination.v1",
    "core.v1",
    "discovery.v1",
    "events.v1",
    "flowcontrol.v1",
    "intstr",
    "meta.v1",
    "networking.v1",
    "node.v1",
    "policy.v1",
    "quantity",
    "rbac.v1",
    "resource.v1",
    "runtime",
    "scheduling.v1",
    "storage.v1",
];

/// What all objects have, and what all lists of objects have.
static SHARED: &str = include_str!("../descriptions/objects.txt");

/// What is said of a type.
#[derive(Clone, Copy)]
pub(crate) struct Described {
    own: &'static str,
    shared: &'static str,
}

impl Described {
    pub fn of(kind: &Type) -> Self {
        let (package, name) = kind.name.rsplit_once('.').unwrap_or(("", &kind.name));
        let text = TEXTS.iter().find(|(known, _)| *known == package).map_or("", |(_, text)| text);
        let shared = match (kind.type_meta, kind.fields.iter().any(|field| field.json == "items")) {
            (false, _) => "",
            (true, false) => block(SHARED, "Object"),
            (true, true) => block(SHARED, "ObjectList"),
        };
        Described { own: block(text, name), shared }
    }

    /// Of any object.
    pub fn object() -> Self {
        Described { own: block(SHARED, "Object"), shared: "" }
    }

    pub fn text(self) -> Option<&'static str> {
        head(self.own).or(head(self.shared))
    }

    pub fn field(self, json: &str) -> Option<&'static str> {
        line(self.own, json).or_else(|| line(self.shared, json))
    }
}

/// The block of a name, which is empty if there is none.
fn block(text: &'static str, name: &str) -> &'static str {
    let mut rest = text;
    while !rest.is_empty() {
        let half = rest.floor_char_boundary(rest.len() / 2);
        let start = rest[..half].rfind("\n\n").map_or(0, |end| end + 2);
        let end = rest[start..].find("\n\n").map_or(rest.len(), |length| start + length + 2);
        let one = &rest[start..end];
        match one.split(':').next().unwrap_or(one).cmp(name) {
            Ordering::Less => rest = &rest[end..],
            Ordering::Equal => return one,
            Ordering::Greater => rest = &rest[..start],
        }
    }
    ""
}

fn head(block: &'static str) -> Option<&'static str> {
    block.lines().next()?.split_once(": ").map(|(_, text)| text)
}

fn line(block: &'static str, json: &str) -> Option<&'static str> {
    block.lines().find_map(|line| line.strip_prefix("  ")?.strip_prefix(json)?.strip_prefix(": "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Form, builtin};

    const BYTES_MAX: usize = 150;

    fn blocks(text: &'static str) -> impl Iterator<Item = &'static str> {
        text.trim_end().split("\n\n")
    }

    fn name(block: &'static str) -> &'static str {
        block.split(':').next().unwrap()
    }

    #[test]
    fn every_block_is_found() {
        for text in TEXTS.iter().map(|(_, text)| *text).chain([SHARED]) {
            let names: Vec<_> = blocks(text).map(name).collect();
            assert!(names.is_sorted(), "{names:?}");
            for one in blocks(text) {
                assert_eq!(block(text, name(one)).trim_end(), one);
            }
            for missing in ["", "A", "Nothing", "zzz"] {
                assert_eq!(block(text, missing), "");
            }
        }
        assert!(TEXTS.is_sorted_by_key(|(package, _)| package));
    }

    #[test]
    fn only_types_and_fields_that_there_are_have_a_text() {
        let table = builtin();
        for (package, text) in TEXTS {
            for one in blocks(text) {
                let known = table.lookup(&format!("{package}.{}", name(one)));
                let id = known.unwrap_or_else(|| panic!("there is no {package}.{}", name(one)));
                for line in one.lines().skip(1) {
                    let field = line.trim_start().split(':').next().unwrap();
                    assert!(table.field(id, field).is_some(), "{package}.{} has no {field}", name(one));
                }
                assert!(table.get(id).form == Form::Struct || one.lines().count() == 1, "{one}");
            }
        }
    }

    #[test]
    fn texts_are_sentences_of_one_short_line() {
        for line in TEXTS.iter().map(|(_, text)| *text).chain([SHARED]).flat_map(str::lines) {
            assert!(line.len() <= BYTES_MAX && line.is_ascii(), "{line}");
            let (_, text) = line.split_once(':').unwrap_or_default();
            assert!(text.is_empty() || (text.starts_with(' ') && text.ends_with(['.', '`'])), "{line}");
        }
    }

    #[test]
    fn what_is_said_closer_counts() {
        let of = |name: &str| Described::of(builtin().get(builtin().lookup(name).unwrap()));
        assert_eq!(
            of("core.v1.ConfigMapKeySelector").field("name"),
            Some("Name of the ConfigMap, in the pod's namespace.")
        );
        assert_eq!(of("core.v1.Volume").field("emptyDir"), None);
        assert!(of("core.v1.Pod").field("metadata").is_some());
        assert_ne!(of("core.v1.Pod").field("metadata"), of("core.v1.PodList").field("metadata"));
        assert!(of("core.v1.PodList").text().is_some());
    }
}
