//! The type table: what the engine knows of every type, whichever source it came from.
//!
//! The built-in table is static data (`generated.rs`, written by `cargo xtask codegen`). A CRD's schema compiles at run
//! time into another [`Table`] of the same shape, which is why every text and list here is a `Cow`. This module knows
//! no operation on values.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use crate::generated;

pub type Text = Cow<'static, str>;

/// Index of a type in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u16);

/// All types one schema operation can meet, closed under reference.
#[derive(Debug)]
pub struct Table {
    types: Cow<'static, [Type]>,
    /// For each type its fields by ascending protobuf number, as places in its `fields`.
    by_number: Vec<Box<[u16]>>,
    by_name: HashMap<Text, TypeId>,
    by_gvk: HashMap<Gvk, TypeId>,
}

#[derive(Clone, Debug)]
pub struct Type {
    /// `core.v1.Pod`: package and Go name.
    pub name: Text,
    pub gvk: Option<Gvk>,
    pub form: Form,
    /// JSON starts with `kind` and `apiVersion`, which are not among the fields.
    pub type_meta: bool,
    /// Apply treats the whole value as one.
    pub atomic: bool,
    /// Members that are no fields are data, not mistakes.
    pub preserve_unknown: bool,
    /// In the order of their declaration, which is the order of JSON output.
    pub fields: Cow<'static, [Field]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gvk {
    pub group: Text,
    pub version: Text,
    pub kind: Text,
}

/// What the JSON form of a type looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An object of the type's fields.
    Struct,
    Quantity,
    Time,
    MicroTime,
    Duration,
    IntOrString,
    /// Any object, kept as it is.
    RawExtension,
    FieldsV1,
    /// Any JSON, kept as it is.
    Json,
    SchemaOrArray,
    SchemaOrBool,
    SchemaOrStringArray,
    /// An array of strings.
    StringList,
}

#[derive(Clone, Debug)]
pub struct Field {
    /// Empty for an inlined struct.
    pub json: Text,
    /// Protobuf field number; 0 where the type has no protobuf form.
    pub number: u32,
    pub shape: Shape,
    /// The members of the struct stand in the parent's JSON.
    pub inline: bool,
    /// Presence is explicit: absent differs from zero.
    pub pointer: bool,
    pub omit: Omit,
    pub required: bool,
    /// JSON text of a default that changes the object (zero defaults of plain fields are not here).
    pub default: Option<Text>,
    /// The values that a string, or each string of a list or map, is known to have; empty where anything may be.
    pub values: &'static [&'static str],
    pub list: ListType,
    /// Keys of a `ListType::Map`.
    pub keys: Cow<'static, [Text]>,
    /// `Some(true)`: the map or struct is one value for apply; `Some(false)`: granular although its type is atomic.
    pub atomic: Option<bool>,
    pub patch: Patch,
    /// Strategic merge patch: the key that identifies a list's elements; empty for lists of scalars.
    pub merge_key: Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    One(Item),
    List(Item),
    /// Keys are strings.
    Map(Item),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    String,
    Bool,
    Int32,
    Int64,
    Double,
    /// Base64 in JSON.
    Bytes,
    /// Anything.
    Any,
    Of(TypeId),
}

/// When a member is left out of the JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Omit {
    /// Never: it is written also when it is zero or null.
    Never,
    /// Go's `omitempty`: structs that are no pointers are written all the same.
    Empty,
    /// Go's `omitzero`.
    Zero,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    Unset,
    Atomic,
    Set,
    Map,
}

/// Strategy of a strategic merge patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    Default,
    Merge,
    MergeRetainKeys,
    Replace,
    RetainKeys,
}

/// The table of the built-in types.
pub fn builtin() -> &'static Table {
    static BUILTIN: LazyLock<Table> = LazyLock::new(|| Table::new(Cow::Borrowed(&generated::TYPES)));
    &BUILTIN
}

impl Table {
    pub fn new(types: Cow<'static, [Type]>) -> Self {
        let id = |index: usize| TypeId(u16::try_from(index).expect("a table holds fewer than 65536 types"));
        let named = types.iter().enumerate();
        let by_name = named.clone().map(|(index, one)| (one.name.clone(), id(index))).collect();
        let by_gvk = named.filter_map(|(index, one)| Some((one.gvk.clone()?, id(index)))).collect();
        let by_number = types.iter().map(Type::by_number).collect();
        Table { types, by_number, by_name, by_gvk }
    }

    /// A type by name: `core.v1.Pod`.
    pub fn lookup(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }

    /// A type by `(group, version, kind)`; the core group is empty.
    pub fn lookup_gvk(&self, group: &str, version: &str, kind: &str) -> Option<TypeId> {
        let text = |part: &str| Cow::Owned(part.to_owned());
        self.by_gvk.get(&Gvk { group: text(group), version: text(version), kind: text(kind) }).copied()
    }

    pub fn get(&self, id: TypeId) -> &Type {
        &self.types[usize::from(id.0)]
    }

    pub fn iter(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        (0u16..).map(TypeId).zip(self.types.iter())
    }

    /// The fields of a type in the order protobuf writes them.
    pub(crate) fn fields_by_number(&self, id: TypeId) -> impl Iterator<Item = &Field> {
        let fields = &self.get(id).fields;
        self.by_number[usize::from(id.0)].iter().map(|place| &fields[usize::from(*place)])
    }

    /// The name of a type's definition in OpenAPI documents: `io.k8s.api.core.v1.Pod`.
    pub fn openapi_name(&self, id: TypeId) -> Text {
        let name = &self.get(id).name;
        let Some((package, short)) = name.rsplit_once('.') else { return name.clone() };
        let packages = &generated::PACKAGES;
        match packages.binary_search_by_key(&package, |(package, _)| package) {
            Ok(index) => Cow::Owned(format!("{}.{short}", packages[index].1)),
            Err(_) => name.clone(),
        }
    }

    /// The field a JSON member belongs to, looked up through inlined structs.
    pub fn field(&self, id: TypeId, json: &str) -> Option<&Field> {
        self.get(id).fields.iter().find_map(|field| match (field.inline, field.shape) {
            (false, _) => (field.json == json).then_some(field),
            (true, Shape::One(Item::Of(inner))) => self.field(inner, json),
            (true, _) => None,
        })
    }

    /// The fields as they stand in JSON: inlined structs replaced by their members.
    pub fn flat_fields(&self, id: TypeId) -> Vec<&Field> {
        let mut out = Vec::new();
        self.flatten(id, &mut out);
        out
    }

    fn flatten<'a>(&'a self, id: TypeId, out: &mut Vec<&'a Field>) {
        for field in self.get(id).fields.iter() {
            match (field.inline, field.shape) {
                (true, Shape::One(Item::Of(inner))) => self.flatten(inner, out),
                _ => out.push(field),
            }
        }
    }
}

impl Type {
    fn by_number(&self) -> Box<[u16]> {
        let places = 0..u16::try_from(self.fields.len()).expect("a type has fewer than 65536 fields");
        let mut places: Vec<u16> = places.collect();
        places.sort_by_key(|place| self.fields[usize::from(*place)].number);
        places.into()
    }

    /// The Go name without its package: `PodSpec`.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }

    /// The name as Go prints it: `v1.PodSpec`.
    pub fn go_name(&self) -> &str {
        self.name.split_once('.').map_or(&self.name, |(_, rest)| rest)
    }
}

impl Field {
    /// A field of a custom kind: present or not, and never in protobuf.
    pub(crate) fn custom(json: &str, shape: Shape) -> Self {
        Field { json: Cow::Owned(json.to_owned()), pointer: true, ..field("", 0, shape) }
    }

    pub fn item(&self) -> Item {
        match self.shape {
            Shape::One(item) | Shape::List(item) | Shape::Map(item) => item,
        }
    }
}

// Builders for the generated statics.

/// Assignment in `const fn`, where the old value may not be dropped; the builders only replace borrowed ones.
const fn put<T>(place: &mut T, value: T) {
    std::mem::forget(std::mem::replace(place, value));
}

pub(crate) const fn gvk(group: &'static str, version: &'static str, kind: &'static str) -> Option<Gvk> {
    Some(Gvk { group: Cow::Borrowed(group), version: Cow::Borrowed(version), kind: Cow::Borrowed(kind) })
}

impl Type {
    pub(crate) const fn named(name: &'static str, form: Form, fields: &'static [Field]) -> Self {
        Type {
            name: Cow::Borrowed(name),
            gvk: None,
            form,
            type_meta: false,
            atomic: false,
            preserve_unknown: false,
            fields: Cow::Borrowed(fields),
        }
    }

    pub(crate) const fn top(mut self, gvk: Option<Gvk>) -> Self {
        self.type_meta = true;
        put(&mut self.gvk, gvk);
        self
    }

    pub(crate) const fn atomic(mut self) -> Self {
        self.atomic = true;
        self
    }
}

pub(crate) const fn field(json: &'static str, number: u32, shape: Shape) -> Field {
    Field {
        json: Cow::Borrowed(json),
        number,
        shape,
        inline: false,
        pointer: false,
        omit: Omit::Empty,
        required: false,
        default: None,
        values: &[],
        list: ListType::Unset,
        keys: Cow::Borrowed(&[]),
        atomic: None,
        patch: Patch::Default,
        merge_key: Cow::Borrowed(""),
    }
}

impl Field {
    pub(crate) const fn inline(mut self) -> Self {
        self.inline = true;
        self
    }

    pub(crate) const fn pointer(mut self) -> Self {
        self.pointer = true;
        self
    }

    pub(crate) const fn omit(mut self, omit: Omit) -> Self {
        self.omit = omit;
        self
    }

    pub(crate) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub(crate) const fn default(mut self, json: &'static str) -> Self {
        put(&mut self.default, Some(Cow::Borrowed(json)));
        self
    }

    pub(crate) const fn values(mut self, values: &'static [&'static str]) -> Self {
        self.values = values;
        self
    }

    pub(crate) const fn list(mut self, list: ListType) -> Self {
        self.list = list;
        self
    }

    pub(crate) const fn keys(mut self, keys: &'static [Text]) -> Self {
        self.list = ListType::Map;
        put(&mut self.keys, Cow::Borrowed(keys));
        self
    }

    pub(crate) const fn atomic(mut self, atomic: bool) -> Self {
        self.atomic = Some(atomic);
        self
    }

    pub(crate) const fn patch(mut self, patch: Patch, merge_key: &'static str) -> Self {
        self.patch = patch;
        put(&mut self.merge_key, Cow::Borrowed(merge_key));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids;

    #[test]
    fn types_are_found_by_name_and_by_kind() {
        let table = builtin();
        assert_eq!(table.lookup("core.v1.Pod"), Some(ids::CORE_V1_POD));
        assert_eq!(table.lookup_gvk("", "v1", "Pod"), Some(ids::CORE_V1_POD));
        assert_eq!(table.lookup_gvk("apps", "v1", "Deployment"), Some(ids::APPS_V1_DEPLOYMENT));
        assert_eq!(table.lookup("core.v1.Nothing"), None);
        assert_eq!(table.openapi_name(ids::CORE_V1_POD), "io.k8s.api.core.v1.Pod");
        assert_eq!(table.openapi_name(ids::INTSTR_INTORSTRING), "io.k8s.apimachinery.pkg.util.intstr.IntOrString");
    }

    #[test]
    fn fields_of_inlined_structs_are_found_in_their_place() {
        let table = builtin();
        assert_eq!(table.field(ids::CORE_V1_PROBE, "httpGet").map(|field| field.number), Some(2));
        let names: Vec<_> = table.flat_fields(ids::CORE_V1_PROBE).iter().map(|field| field.json.as_ref()).collect();
        assert_eq!(names[..5], ["exec", "httpGet", "tcpSocket", "grpc", "initialDelaySeconds"]);
    }

    #[test]
    fn references_stay_inside_the_table() {
        let table = builtin();
        for (_, kind) in table.iter() {
            for field in kind.fields.iter() {
                if let Item::Of(id) = field.item() {
                    assert!(usize::from(id.0) < table.types.len(), "{} {}", kind.name, field.json);
                }
                assert!(
                    !field.inline || matches!(field.shape, Shape::One(Item::Of(_))),
                    "{} {}",
                    kind.name,
                    field.json
                );
            }
        }
    }

    /// A schema that arrives at run time becomes a table of the same shape.
    #[test]
    fn tables_can_be_built_at_run_time() {
        let mut widget = Type::named("example.v1.Widget", Form::Struct, &[]);
        widget.gvk = Some(Gvk { group: "example.com".into(), version: "v1".into(), kind: "Widget".into() });
        widget.fields =
            Cow::Owned(vec![Field { json: Cow::Owned("size".to_owned()), ..field("", 0, Shape::One(Item::Int64)) }]);
        let table = Table::new(Cow::Owned(vec![widget]));
        let id = table.lookup_gvk("example.com", "v1", "Widget").unwrap();
        assert_eq!(table.check(id, &serde_json::json!({"size": 1, "color": "red"})).unwrap(), ["color"]);
        assert_eq!(table.openapi_name(id), "example.v1.Widget");
    }
}
