//! What documents say of kinds, written once: of the built-in ones for the life of the process, of a custom one for as long as its
//! definition stays as it is.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use kontiki_kinds::{Kind, Kinds};
use kontiki_schema::{
    Table, builtin, custom_types,
    openapi::{Part, Written, v2, v3},
    published,
};
use serde_json::Value;

use super::{Document, routes};

/// What was written for the last registry, for the next one to take over.
#[derive(Clone, Default)]
pub(crate) struct Described {
    kinds: Vec<Arc<DescribedKind>>,
    versions: BTreeMap<(&'static str, &'static str), DescribedVersion>,
}

/// A custom kind in the v2 document.
struct DescribedKind {
    kind: Arc<Kind>,
    json: OnceLock<Part>,
    protobuf: OnceLock<Part>,
}

/// The v3 document of a group version with custom kinds.
#[derive(Clone)]
struct DescribedVersion {
    kinds: Vec<Arc<Kind>>,
    document: Arc<OnceLock<Document>>,
}

impl Described {
    /// What is known of these kinds already, and room for the rest.
    pub fn of(kinds: &Kinds, before: &Described) -> Self {
        let kept = |kind: &Arc<Kind>| before.kinds.iter().find(|known| Arc::ptr_eq(&known.kind, kind)).cloned();
        let new = |kind: &Arc<Kind>| {
            Arc::new(DescribedKind { kind: kind.clone(), json: OnceLock::new(), protobuf: OnceLock::new() })
        };
        let mut by_version: BTreeMap<_, Vec<Arc<Kind>>> = BTreeMap::new();
        for kind in kinds.custom() {
            by_version.entry((kind.group, kind.version)).or_default().push(kind.clone());
        }
        let version = |(of, kinds): ((&'static str, &'static str), Vec<Arc<Kind>>)| {
            let same = |known: &&DescribedVersion| {
                known.kinds.len() == kinds.len()
                    && known.kinds.iter().zip(&kinds).all(|(one, other)| Arc::ptr_eq(one, other))
            };
            let kept = before.versions.get(&of).filter(same).cloned();
            (of, kept.unwrap_or_else(|| DescribedVersion { kinds, document: Arc::default() }))
        };
        Described {
            kinds: kinds.custom().iter().map(|kind| kept(kind).unwrap_or_else(|| new(kind))).collect(),
            versions: by_version.into_iter().map(version).collect(),
        }
    }

    /// Of all kinds, the built-in ones first.
    pub fn parts(&self, written: Written) -> impl Iterator<Item = &Part> {
        std::iter::once(builtin_part(written)).chain(self.kinds.iter().map(move |kind| kind.part(written)))
    }

    /// The v3 document of a group version.
    pub fn version(&self, group: &'static str, version: &'static str) -> &Document {
        match self.versions.get(&(group, version)) {
            Some(described) => described.document.get_or_init(|| described.write(group, version)),
            None => builtin_version(group, version),
        }
    }
}

impl DescribedKind {
    fn part(&self, written: Written) -> &Part {
        let part = match written {
            Written::Json => &self.json,
            Written::Protobuf => &self.protobuf,
        };
        part.get_or_init(|| {
            let routes: Vec<_> = routes::of(&self.kind).collect();
            let mut document = v2(&table(std::slice::from_ref(&self.kind)), &routes);
            if let Some((name, schema)) = definition(&self.kind, true) {
                document["definitions"][name] = schema;
            }
            let mut part = Part::of(&document, written);
            part.definitions.retain(|name, _| !builtin_part(written).definitions.contains_key(name));
            part
        })
    }
}

impl DescribedVersion {
    fn write(&self, group: &str, version: &str) -> Document {
        let custom = self.kinds.iter().flat_map(|kind| routes::of(kind));
        let routes: Vec<_> = routes::builtin().iter().copied().chain(custom).collect();
        let mut document = v3(&table(&self.kinds), group, version, &routes);
        for (name, schema) in self.kinds.iter().filter_map(|kind| definition(kind, false)) {
            document["components"]["schemas"][name] = schema;
        }
        Document::of(&document)
    }
}

fn builtin_part(written: Written) -> &'static Part {
    static JSON: OnceLock<Part> = OnceLock::new();
    static PROTOBUF: OnceLock<Part> = OnceLock::new();
    let part = match written {
        Written::Json => &JSON,
        Written::Protobuf => &PROTOBUF,
    };
    part.get_or_init(|| Part::of(&v2(builtin(), routes::builtin()), written))
}

fn builtin_version(group: &'static str, version: &'static str) -> &'static Document {
    static DOCUMENTS: OnceLock<BTreeMap<(&str, &str), OnceLock<Document>>> = OnceLock::new();
    static NONE: OnceLock<Document> = OnceLock::new();
    let documents = DOCUMENTS.get_or_init(|| {
        let versions = super::group_versions(&Kinds::default());
        versions.into_iter().map(|of| (of, OnceLock::new())).collect()
    });
    let document = documents.get(&(group, version)).unwrap_or(&NONE);
    document.get_or_init(|| Document::of(&v3(builtin(), group, version, routes::builtin())))
}

/// The built-in types and the names of these custom ones, which documents refer to.
fn table(kinds: &[Arc<Kind>]) -> Table {
    custom_types(kinds.iter().map(|kind| (kind.type_name, (kind.group, kind.version, kind.kind), kind.list_kind())))
}

/// What a custom kind's objects look like, under the name that references have.
fn definition(kind: &Kind, v2: bool) -> Option<(&'static str, Value)> {
    const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    let custom = kind.custom.as_ref()?;
    let gvk = (kind.group, kind.version, kind.kind);
    let fields = custom.fields.iter().map(|(path, _)| path.as_str());
    Some((kind.type_name, published(&custom.published, gvk, fields, METADATA, v2)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kontiki_kinds::custom;
    use kontiki_schema::openapi::assembled;
    use serde_json::json;

    use super::*;

    fn kinds(plural: &str, revision: u64) -> Vec<Arc<Kind>> {
        let names = json!({"plural": plural, "singular": plural, "kind": plural, "listKind": format!("{plural}List")});
        let definition = json!({
            "spec": {"group": "example.com", "scope": "Namespaced", "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}},
                "selectableFields": [{"jsonPath": ".spec.color"}],
            }]},
            "status": {"acceptedNames": names, "conditions": [{"type": "Established", "status": "True"}]},
        });
        custom::served(&definition, revision)
    }

    #[test]
    fn whatever_a_document_refers_to_is_in_it() {
        fn references<'d>(value: &'d Value, found: &mut Vec<&'d str>) {
            match value {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str));
                    members.values().for_each(|member| references(member, found));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        let described = Described::of(&Kinds::with(kinds("ones", 1)), &Described::default());
        for (group, version) in [("example.com", "v1"), ("", "v1"), ("apps", "v1")] {
            let document: Value = serde_json::from_slice(&described.version(group, version).bytes).unwrap();
            let mut found = Vec::new();
            references(&document, &mut found);
            let dangling = found.iter().filter(|target| document.pointer(target.trim_start_matches('#')).is_none());
            assert_eq!(dangling.collect::<Vec<_>>(), Vec::<&&str>::new(), "{group}/{version}");
            assert!(found.iter().any(|target| target.ends_with(".ObjectMeta")));
        }
    }

    #[test]
    fn what_did_not_change_is_written_once() {
        let (one, other) = (kinds("ones", 1), kinds("others", 2));
        let first = Described::of(&Kinds::with([one.clone(), other].concat()), &Described::default());
        let written: Vec<*const Part> = first.parts(Written::Json).map(std::ptr::from_ref).collect();
        first.version("example.com", "v1");
        let second = Described::of(&Kinds::with([one, kinds("others", 3)].concat()), &first);
        let again: Vec<*const Part> = second.parts(Written::Json).map(std::ptr::from_ref).collect();
        let same: Vec<bool> = written.iter().zip(&again).map(|(one, other)| one == other).collect();
        assert_eq!(same, [true, true, false]);
        // What is put together is what would be made at once.
        let fresh = Described::of(&Kinds::with([kinds("ones", 1), kinds("others", 3)].concat()), &Described::default());
        for written in [Written::Json, Written::Protobuf] {
            assert_eq!(assembled(second.parts(written), written), assembled(fresh.parts(written), written));
        }
        assert_eq!(second.version("example.com", "v1").bytes, fresh.version("example.com", "v1").bytes);
        let text = assembled(second.parts(Written::Json), Written::Json);
        let document: Value = serde_json::from_slice(&text).unwrap();
        let list = "/definitions/com.example.v1.othersList/properties/items/items/$ref";
        assert_eq!(document.pointer(list), Some(&json!("#/definitions/com.example.v1.others")));
        assert!(document.pointer("/paths/~1apis~1example.com~1v1~1ones/get").is_some());
        assert!(document.pointer("/definitions/io.k8s.api.core.v1.Pod").is_some());
    }

    /// Types and properties of a definition's document without a word about them.
    fn undescribed(definitions: &Value) -> Vec<String> {
        let silent = |value: &Value| value["description"].as_str().is_none_or(str::is_empty);
        let mut found = Vec::new();
        for (name, definition) in definitions.as_object().unwrap() {
            if silent(definition) {
                found.push(name.clone());
            }
            let properties = definition["properties"].as_object().into_iter().flatten();
            found.extend(properties.filter(|(_, one)| silent(one)).map(|(field, _)| format!("{name}.{field}")));
        }
        found
    }

    #[test]
    fn every_type_and_field_is_described() {
        let whole = v2(builtin(), routes::builtin());
        assert_eq!(undescribed(&whole["definitions"]), Vec::<String>::new());
        for (group, version) in crate::openapi::group_versions(&Kinds::default()) {
            let document = v3(builtin(), group, version, routes::builtin());
            assert_eq!(undescribed(&document["components"]["schemas"]), Vec::<String>::new(), "{group}/{version}");
        }
    }

    #[test]
    fn documents_tell_what_selectors_of_a_custom_kind_may_name() {
        let described = Described::of(&Kinds::with(kinds("ones", 1)), &Described::default());
        let text = assembled(described.parts(Written::Json), Written::Json);
        let v2: Value = serde_json::from_slice(&text).unwrap();
        let v3: Value = serde_json::from_slice(&described.version("example.com", "v1").bytes).unwrap();
        for one in [&v2["definitions"]["com.example.v1.ones"], &v3["components"]["schemas"]["com.example.v1.ones"]] {
            assert_eq!(one["x-kubernetes-selectable-fields"], json!([{"fieldPath": "spec.color"}]), "{one}");
        }
        let list = &v2["definitions"]["com.example.v1.onesList"];
        assert!(list.is_object() && list["x-kubernetes-selectable-fields"].is_null(), "{list}");
    }

    #[test]
    fn custom_kinds_are_described_as_far_as_all_objects_are() {
        let described = Described::of(&Kinds::with(kinds("ones", 1)), &Described::default());
        let text = assembled(described.parts(Written::Json), Written::Json);
        let document: Value = serde_json::from_slice(&text).unwrap();
        let own = &document["definitions"]["com.example.v1.ones"]["properties"];
        let list = &document["definitions"]["com.example.v1.onesList"]["properties"];
        let pod = &document["definitions"]["io.k8s.api.core.v1.Pod"]["properties"];
        let pods = &document["definitions"]["io.k8s.api.core.v1.PodList"]["properties"];
        for field in ["apiVersion", "kind", "metadata"] {
            assert!(pod[field]["description"].is_string());
            assert_eq!(own[field]["description"], pod[field]["description"], "{field}");
            assert_eq!(list[field]["description"], pods[field]["description"], "{field}");
        }
    }
}
