//! Types as schemas.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Dialect, RouteInfo};
use crate::descriptions::Described;
use crate::table::{Field, Form, Item, ListType, Omit, Patch, Shape, Table, Type, TypeId};

/// Types that the operations of every resource name.
const SHARED: [&str; 5] =
    ["meta.v1.APIResourceList", "meta.v1.DeleteOptions", "meta.v1.Patch", "meta.v1.Status", "meta.v1.WatchEvent"];

/// The schemas of all types that the routes reach, by OpenAPI name, sorted.
pub(super) fn reachable(table: &Table, routes: &[RouteInfo<'_>], dialect: Dialect) -> Value {
    let builder = Builder { table, dialect };
    let mut found = BTreeMap::new();
    let lists = routes.iter().filter(|route| route.has("list")).map(|route| format!("{}List", route.type_name));
    let bodies = routes.iter().filter(|route| !route.connect).map(|route| route.type_name.to_owned());
    for name in SHARED.map(str::to_owned).into_iter().chain(bodies).chain(lists) {
        if let Some(id) = table.lookup(&name) {
            builder.add(id, &mut found);
        }
    }
    found.into_iter().collect::<Map<String, Value>>().into()
}

struct Builder<'a> {
    table: &'a Table,
    dialect: Dialect,
}

impl Builder<'_> {
    fn add(&self, id: TypeId, found: &mut BTreeMap<String, Value>) {
        let name = self.table.openapi_name(id).into_owned();
        if found.contains_key(&name) {
            return;
        }
        found.insert(name, self.definition(id));
        let fields = self.table.flat_fields(id);
        let below = fields.iter().filter_map(|field| match field.item() {
            Item::Of(id) => Some(id),
            Item::String | Item::Bool | Item::Int32 | Item::Int64 | Item::Double | Item::Bytes | Item::Any => None,
        });
        for id in below.filter(|id| self.table.get(*id).form != Form::StringList) {
            self.add(id, found);
        }
    }

    fn definition(&self, id: TypeId) -> Value {
        let kind = self.table.get(id);
        let mut definition = self.shape(id, kind);
        if let Some(text) = Described::of(kind).text() {
            definition["description"] = text.into();
        }
        definition
    }

    fn shape(&self, id: TypeId, kind: &Type) -> Value {
        match (kind.form, self.dialect) {
            (Form::Struct, _) => self.object(id, kind),
            (Form::Quantity, Dialect::V2) | (Form::Duration, _) => json!({"type": "string"}),
            (Form::Quantity, Dialect::V3) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            (Form::Time | Form::MicroTime, _) => json!({"type": "string", "format": "date-time"}),
            (Form::IntOrString, Dialect::V2) => json!({"type": "string", "format": "int-or-string"}),
            (Form::IntOrString, Dialect::V3) => {
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
            }
            (Form::RawExtension | Form::FieldsV1, _) => json!({"type": "object"}),
            (Form::Json | Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStringArray, _) => json!({}),
            (Form::StringList, _) => string_list(),
        }
    }

    fn object(&self, id: TypeId, kind: &Type) -> Value {
        let fields = self.fields(id);
        let mut properties: BTreeMap<String, Value> =
            fields.iter().map(|(field, text)| (field.json.to_string(), self.property(field, *text))).collect();
        if kind.type_meta {
            let described = Described::of(kind);
            for name in ["apiVersion", "kind"] {
                properties.insert(name.to_owned(), json!({"type": "string", "description": described.field(name)}));
            }
        }
        let mut required: Vec<&str> =
            fields.iter().filter(|(field, _)| field.required).map(|(field, _)| &*field.json).collect();
        required.sort_unstable();
        let mut out = Map::new();
        out.insert("type".to_owned(), "object".into());
        if !required.is_empty() {
            out.insert("required".to_owned(), required.into());
        }
        if !properties.is_empty() {
            out.insert("properties".to_owned(), Value::Object(properties.into_iter().collect()));
        }
        if let Some(gvk) = &kind.gvk {
            let gvk = json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind});
            out.insert("x-kubernetes-group-version-kind".to_owned(), json!([gvk]));
        }
        if kind.atomic {
            out.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
        }
        if kind.preserve_unknown {
            out.insert("x-kubernetes-preserve-unknown-fields".to_owned(), true.into());
        }
        Value::Object(out)
    }

    /// The fields of a type as they stand in JSON, each with what is said of it: nearest to where it stands.
    fn fields(&self, id: TypeId) -> Vec<(&Field, Option<&'static str>)> {
        let kind = self.table.get(id);
        let described = Described::of(kind);
        let mut out = Vec::new();
        for field in kind.fields.iter() {
            match (field.inline, field.shape) {
                (true, Shape::One(Item::Of(inner))) => {
                    let inner = self.fields(inner).into_iter();
                    out.extend(inner.map(|(field, text)| (field, described.field(&field.json).or(text))));
                }
                _ => out.push((field, described.field(&field.json))),
            }
        }
        out
    }

    fn property(&self, field: &Field, description: Option<&'static str>) -> Value {
        let mut out = match field.shape {
            Shape::One(item) => self.item(field, item, self.zero_default(field, item), description.is_some()),
            Shape::List(item) => members([("type", "array".into()), ("items", self.element(field, item))]),
            Shape::Map(item) => {
                members([("type", "object".into()), ("additionalProperties", self.element(field, item))])
            }
        };
        if let Some(text) = description {
            out.insert("description".to_owned(), text.into());
        }
        if let Some(default) = &field.default {
            let default = serde_json::from_str(default).expect("defaults in the table are JSON");
            out.insert("default".to_owned(), default);
        }
        if !field.keys.is_empty() {
            out.insert("x-kubernetes-list-map-keys".to_owned(), field.keys.iter().map(|key| key.to_string()).collect());
        }
        let list_type = match field.list {
            ListType::Unset => None,
            ListType::Atomic => Some("atomic"),
            ListType::Set => Some("set"),
            ListType::Map => Some("map"),
        };
        let map_type = field.atomic.map(|atomic| if atomic { "atomic" } else { "granular" });
        let strategy = match field.patch {
            Patch::Default => None,
            Patch::Merge => Some("merge"),
            Patch::MergeRetainKeys => Some("merge,retainKeys"),
            Patch::Replace => Some("replace"),
            Patch::RetainKeys => Some("retainKeys"),
        };
        let merge_key = (!field.merge_key.is_empty()).then_some(&*field.merge_key);
        let extensions = [
            ("x-kubernetes-list-type", list_type),
            ("x-kubernetes-map-type", map_type),
            ("x-kubernetes-patch-merge-key", merge_key),
            ("x-kubernetes-patch-strategy", strategy),
        ];
        for (name, value) in extensions {
            if let Some(value) = value {
                out.insert(name.to_owned(), value.into());
            }
        }
        Value::Object(out)
    }

    /// Version 3 also publishes the zero values that Go writes anyway.
    fn zero_default(&self, field: &Field, item: Item) -> Option<Value> {
        if self.dialect == Dialect::V2 || field.pointer {
            return None;
        }
        match item {
            Item::Of(id) => (self.table.get(id).form == Form::Struct).then(|| json!({})),
            _ if field.omit != Omit::Never => None,
            Item::String => Some("".into()),
            Item::Bool => Some(false.into()),
            Item::Int32 | Item::Int64 | Item::Double => Some(0.into()),
            Item::Bytes | Item::Any => None,
        }
    }

    fn element(&self, field: &Field, item: Item) -> Value {
        let default = match (self.dialect, item) {
            (Dialect::V2, _) => None,
            (Dialect::V3, Item::Of(id)) => (self.table.get(id).form == Form::Struct).then(|| json!({})),
            (Dialect::V3, Item::String) => Some("".into()),
            (Dialect::V3, Item::Bool) => Some(false.into()),
            (Dialect::V3, Item::Int32 | Item::Int64 | Item::Double) => Some(0.into()),
            (Dialect::V3, Item::Bytes | Item::Any) => None,
        };
        Value::Object(self.item(field, item, default, false))
    }

    fn item(&self, field: &Field, item: Item, default: Option<Value>, described: bool) -> Map<String, Value> {
        let simple = |name: &str| members([("type", name.into())]);
        let formatted = |name: &str, format: &str| members([("type", name.into()), ("format", format.into())]);
        let mut out = match item {
            Item::String => simple("string"),
            Item::Bool => simple("boolean"),
            Item::Int32 => formatted("integer", "int32"),
            Item::Int64 => formatted("integer", "int64"),
            Item::Double => formatted("number", "double"),
            Item::Bytes => formatted("string", "byte"),
            Item::Any => Map::new(),
            Item::Of(id) => self.reference(id, default.is_some() || described),
        };
        if let Some(default) = default {
            out.insert("default".to_owned(), default);
        }
        if !field.values.is_empty() {
            out.insert("enum".to_owned(), field.values.into());
        }
        out
    }

    /// In version 3 a reference that has siblings is wrapped, because they would be ignored.
    fn reference(&self, id: TypeId, siblings: bool) -> Map<String, Value> {
        if self.table.get(id).form == Form::StringList {
            return members([("type", "array".into()), ("items", json!({"type": "string"}))]);
        }
        let target = reference(self.dialect, &self.table.openapi_name(id));
        let wrapped = siblings && self.dialect == Dialect::V3;
        if wrapped { members([("allOf", json!([target]))]) } else { members([("$ref", target["$ref"].clone())]) }
    }
}

/// A reference to a definition.
pub(super) fn reference(dialect: Dialect, name: &str) -> Value {
    match dialect {
        Dialect::V2 => json!({"$ref": format!("#/definitions/{name}")}),
        Dialect::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
    }
}

fn string_list() -> Value {
    json!({"type": "array", "items": {"type": "string"}})
}

fn members<const N: usize>(list: [(&str, Value); N]) -> Map<String, Value> {
    list.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
