//! From an `openAPIV3Schema` to a tree of nodes. What is asked of a schema besides when it is written is in `admit`.
//!
//! A *structural* schema says of every member once, outside of `allOf`, `anyOf`, `oneOf` and `not`, what type it has. Those four
//! may then only narrow values.

mod narrowing;

use kontiki_model::Faults;
use serde_json::{Map, Value};

use super::{Additional, Node, Structural, rules, table};

/// More nodes than any sound definition has; what is made of a schema stays bounded.
const NODES_MAX: usize = 30_000;
/// A deeper schema is refused: it is worked on by recursion.
const DEPTH_MAX: usize = 100;

impl Structural {
    /// Reads a schema that is stored; `path` is where it stands, for the faults. A rule that is none any more refuses what it
    /// stands at.
    pub fn read(schema: &Value, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut root = tree(schema, path, faults)?;
        rules::compile(&mut root, schema, path, &mut Faults::default());
        Some(Self::of(root))
    }

    pub(super) fn of(root: Node) -> Self {
        let (table, id) = table::table(&root);
        Structural { root, table, id }
    }
}

/// The nodes of a schema, without their rules.
pub(super) fn tree(schema: &Value, path: &str, faults: &mut Faults) -> Option<Node> {
    let before = faults.count();
    let mut reader = Reader { faults, nodes: 0 };
    let root = reader.structural(schema, path, 0);
    (faults.count() == before).then_some(root)
}

struct Reader<'f> {
    faults: &'f mut Faults,
    nodes: usize,
}

impl Reader<'_> {
    fn structural(&mut self, schema: &Value, path: &str, depth: usize) -> Node {
        self.nodes += 1;
        let empty = Map::new();
        let members = schema.as_object().unwrap_or(&empty);
        if self.nodes > NODES_MAX || depth > DEPTH_MAX {
            if self.nodes == NODES_MAX + 1 || depth == DEPTH_MAX + 1 {
                self.faults.invalid(path, Value::Null, "the schema is too large");
            }
            return Node::default();
        }
        let mut node = self.shared(members, path, depth);
        node.int_or_string = flag(members, "x-kubernetes-int-or-string");
        node.preserve_unknown = flag(members, "x-kubernetes-preserve-unknown-fields");
        node.embedded = flag(members, "x-kubernetes-embedded-resource");
        node.nullable = flag(members, "nullable");
        node.default = members.get("default").cloned();
        for (name, below) in members.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let below = self.structural(below, &format!("{path}.properties[{name}]"), depth + 1);
            node.properties.insert(name.clone(), below);
        }
        node.additional = match members.get("additionalProperties") {
            None | Some(Value::Null | Value::Bool(false)) => None,
            Some(Value::Bool(true)) => Some(Additional::Anything),
            Some(below) => {
                let path = format!("{path}.additionalProperties");
                Some(Additional::Of(Box::new(self.structural(below, &path, depth + 1))))
            }
        };
        if let Some(below @ Value::Object(_)) = members.get("items") {
            node.items = Some(Box::new(self.structural(below, &format!("{path}.items"), depth + 1)));
        }
        node
    }
}

fn flag(members: &Map<String, Value>, name: &str) -> bool {
    members.get(name).and_then(Value::as_bool).unwrap_or_default()
}

fn texts(members: &Map<String, Value>, name: &str) -> Vec<String> {
    let all = members.get(name).and_then(Value::as_array).into_iter().flatten();
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

const _: () = assert!(NODES_MAX < u16::MAX as usize / 2, "each node is at most one type of a table");
