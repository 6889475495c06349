//! Compiles the type facts (`api/schema/facts/types.json`, and `enums.json`: the values that fields can have) into the static
//! table of the schema crate.
//! It decides nothing about objects: a fact is written down as it is, or left out because the engine has no use for it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::tool;

const FACTS: &str = "api/schema/facts/types.json";
const ENUMS: &str = "api/schema/facts/enums.json";
const TABLE: &str = "api/schema/src/generated.rs";

#[derive(Deserialize)]
struct Facts {
    level: String,
    packages: BTreeMap<String, PackageFacts>,
    types: BTreeMap<String, TypeFacts>,
}

#[derive(Deserialize)]
struct PackageFacts {
    openapi: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypeFacts {
    gvk: Option<[String; 3]>,
    #[serde(default)]
    type_meta: bool,
    special: Option<String>,
    map_type: Option<String>,
    fields: Vec<FieldFacts>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FieldFacts {
    #[serde(default)]
    json: String,
    #[serde(default)]
    num: u32,
    pb: Option<String>,
    #[serde(default)]
    rep: bool,
    map: Option<String>,
    go: Option<String>,
    #[serde(default)]
    inline: bool,
    #[serde(default)]
    ptr: bool,
    omit: Option<String>,
    #[serde(default)]
    always: bool,
    #[serde(default)]
    req: bool,
    def: Option<Value>,
    list_type: Option<String>,
    #[serde(default)]
    list_keys: Vec<String>,
    map_type: Option<String>,
    patch: Option<String>,
    merge_key: Option<String>,
}

/// The values of a type of strings, and the fields that have them: `core.v1.PodSpec.restartPolicy`.
#[derive(Deserialize)]
struct EnumFacts {
    values: Vec<String>,
    fields: Vec<String>,
}

/// What fields refer to: statics of their own, by what they hold.
struct Shared {
    /// By list keys.
    keys: BTreeMap<String, String>,
    /// By field.
    values: BTreeMap<String, String>,
}

/// Writes every generated file, or with `check` only compares.
pub fn run(check: bool) -> Result<()> {
    let root = tool::root();
    let path = root.join(TABLE);
    let text = table(&root)?;
    if check {
        let current = std::fs::read_to_string(&path).with_context(|| format!("reading {TABLE}"))?;
        ensure!(current == text, "{TABLE} is stale: run `cargo xtask codegen`");
        return Ok(());
    }
    std::fs::write(&path, text).with_context(|| format!("writing {TABLE}"))
}

fn table(root: &Path) -> Result<String> {
    let text = std::fs::read_to_string(root.join(FACTS)).with_context(|| format!("reading {FACTS}"))?;
    let facts: Facts = serde_json::from_str(&text).with_context(|| format!("parsing {FACTS}"))?;
    let mut out = String::new();
    writeln!(
        out,
        "//! The built-in types, level {}. Written by `cargo xtask codegen` from {FACTS}; do not edit.",
        facts.level
    )?;
    out.push_str("\nuse std::borrow::Cow;\n\nuse crate::table::{Field, Form, Item::*, ListType, Omit, Patch, Shape::*, Text, Type, field, gvk};\n");
    out.push_str("\n/// Every built-in type by name, for code that knows what it wants.\npub mod ids {\n    use crate::table::TypeId;\n\n");
    for (index, name) in facts.types.keys().enumerate() {
        writeln!(out, "    pub const {}: TypeId = TypeId({index});", constant(name))?;
    }
    out.push_str("}\nuse ids::*;\n\n");
    let keys = list_keys(&facts);
    for (joined, constant) in &keys {
        let texts: Vec<String> = joined.split(',').map(|key| format!("Cow::Borrowed({key:?})")).collect();
        writeln!(out, "static {constant}: [Text; {}] = [{}];", texts.len(), texts.join(", "))?;
    }
    out.push('\n');
    let values = write_values(&mut out, &enums(root)?, &facts)?;
    out.push('\n');
    let shared = Shared { keys, values };
    for (name, facts) in &facts.types {
        write_fields(&mut out, name, facts, &shared).with_context(|| format!("type {name}"))?;
    }
    writeln!(out, "\npub static TYPES: [Type; {}] = [", facts.types.len())?;
    for (name, facts) in &facts.types {
        writeln!(out, "    {},", type_expression(name, facts).with_context(|| format!("type {name}"))?)?;
    }
    out.push_str("];\n\n/// The names of packages in OpenAPI documents.\n");
    writeln!(out, "pub static PACKAGES: [(&str, &str); {}] = [", facts.packages.len())?;
    for (name, package) in &facts.packages {
        writeln!(out, "    ({name:?}, {:?}),", package.openapi)?;
    }
    out.push_str("];\n");
    Ok(out)
}

/// `core.v1.Pod` as `CORE_V1_POD`; words inside a name are not split, which keeps names unique.
fn constant(name: &str) -> String {
    name.replace('.', "_").to_uppercase()
}

/// One static per distinct set of list keys.
fn list_keys(facts: &Facts) -> BTreeMap<String, String> {
    let fields = facts.types.values().flat_map(|one| &one.fields).filter(|field| !field.list_keys.is_empty());
    fields
        .map(|field| (field.list_keys.join(","), format!("KEYS_{}", field.list_keys.join("_").to_uppercase())))
        .collect()
}

fn enums(root: &Path) -> Result<BTreeMap<String, EnumFacts>> {
    let text = std::fs::read_to_string(root.join(ENUMS)).with_context(|| format!("reading {ENUMS}"))?;
    serde_json::from_str(&text).with_context(|| format!("parsing {ENUMS}"))
}

/// One static per type of strings. Answers with its name, for each field that has its values.
fn write_values(
    out: &mut String,
    enums: &BTreeMap<String, EnumFacts>,
    facts: &Facts,
) -> Result<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    for (name, one) in enums {
        let constant = format!("VALUES_{}", constant(name));
        writeln!(out, "static {constant}: [&str; {}] = {:?};", one.values.len(), one.values)?;
        for field in &one.fields {
            let (kind, json) = field.rsplit_once('.').with_context(|| format!("{field} names no field"))?;
            let known = facts.types.get(kind).is_some_and(|known| known.fields.iter().any(|field| field.json == json));
            ensure!(known, "{name} is said of {field}, which there is none of");
            ensure!(values.insert(field.clone(), constant.clone()).is_none(), "{field} has two types");
        }
    }
    Ok(values)
}

fn write_fields(out: &mut String, name: &str, facts: &TypeFacts, shared: &Shared) -> Result<()> {
    let fields = json_fields(facts);
    if fields.is_empty() {
        return Ok(());
    }
    writeln!(out, "static {}_FIELDS: [Field; {}] = [", constant(name), fields.len())?;
    for field in fields {
        let expression = field_expression(field, &shared.keys).with_context(|| format!("field {}", field.json))?;
        match shared.values.get(&format!("{name}.{}", field.json)) {
            Some(values) => writeln!(out, "    {expression}.values(&{values}),")?,
            None => writeln!(out, "    {expression},")?,
        }
    }
    out.push_str("];\n");
    Ok(())
}

/// The fields of a special form are those of its message; its JSON has none, and the engine knows the form by name.
fn json_fields(facts: &TypeFacts) -> &[FieldFacts] {
    let message_only =
        facts.special.is_some() || facts.fields.iter().any(|field| field.json.is_empty() && !field.inline);
    if message_only { &[] } else { &facts.fields }
}

fn type_expression(name: &str, facts: &TypeFacts) -> Result<String> {
    let form = match facts.special.as_deref() {
        None => "Struct",
        Some("quantity") => "Quantity",
        Some("time") => "Time",
        Some("microTime") => "MicroTime",
        Some("duration") => "Duration",
        Some("intOrString") => "IntOrString",
        Some("rawExtension") => "RawExtension",
        Some("fieldsV1") => "FieldsV1",
        Some("json") => "Json",
        Some("schemaOrArray") => "SchemaOrArray",
        Some("schemaOrBool") => "SchemaOrBool",
        Some("schemaOrStringArray") => "SchemaOrStringArray",
        Some("list") => "StringList",
        Some(other) => bail!("unknown special form {other}"),
    };
    let fields = if json_fields(facts).is_empty() { "&[]".to_owned() } else { format!("&{}_FIELDS", constant(name)) };
    let mut out = format!("Type::named({name:?}, Form::{form}, {fields})");
    let gvk = facts.gvk.as_ref().map(|[group, version, kind]| format!("gvk({group:?}, {version:?}, {kind:?})"));
    match (facts.type_meta, gvk) {
        (true, gvk) => write!(out, ".top({})", gvk.as_deref().unwrap_or("None"))?,
        (false, Some(gvk)) => bail!("{gvk} without kind and apiVersion"),
        (false, None) => {}
    }
    match facts.map_type.as_deref() {
        None => {}
        Some("atomic") => out.push_str(".atomic()"),
        Some(other) => bail!("unknown map type {other}"),
    }
    Ok(out)
}

fn field_expression(field: &FieldFacts, keys: &BTreeMap<String, String>) -> Result<String> {
    let mut out = format!("field({:?}, {}, {})", field.json, field.num, shape(field)?);
    if field.inline {
        out.push_str(".inline()");
    }
    if field.ptr {
        out.push_str(".pointer()");
    }
    match (field.always, field.omit.as_deref()) {
        (true, None) => out.push_str(".omit(Omit::Never)"),
        (false, Some("empty")) => {}
        (false, Some("zero")) => out.push_str(".omit(Omit::Zero)"),
        (false, None) if field.inline => {}
        other => bail!("unknown presence {other:?}"),
    }
    if field.req {
        out.push_str(".required()");
    }
    if let Some(default) = effective_default(field) {
        write!(out, ".default({:?})", default.to_string())?;
    }
    write_merge_rules(&mut out, field, keys)?;
    Ok(out)
}

fn write_merge_rules(out: &mut String, field: &FieldFacts, keys: &BTreeMap<String, String>) -> Result<()> {
    match field.list_type.as_deref() {
        None => {}
        Some("atomic") => out.push_str(".list(ListType::Atomic)"),
        Some("set") => out.push_str(".list(ListType::Set)"),
        Some("map") => write!(out, ".keys(&{})", keys[&field.list_keys.join(",")])?,
        Some(other) => bail!("unknown list type {other}"),
    }
    match field.map_type.as_deref() {
        None => {}
        Some("atomic") => out.push_str(".atomic(true)"),
        Some("granular") => out.push_str(".atomic(false)"),
        Some(other) => bail!("unknown map type {other}"),
    }
    let patch = match field.patch.as_deref() {
        None => return Ok(()),
        Some("merge") => "Merge",
        Some("merge,retainKeys") => "MergeRetainKeys",
        Some("replace") => "Replace",
        Some("retainKeys") => "RetainKeys",
        Some(other) => bail!("unknown patch strategy {other}"),
    };
    write!(out, ".patch(Patch::{patch}, {:?})", field.merge_key.as_deref().unwrap_or(""))?;
    Ok(())
}

/// A zero default of a field without explicit presence says nothing; of a pointer it says that absent becomes zero.
fn effective_default(field: &FieldFacts) -> Option<&Value> {
    let default = field.def.as_ref()?;
    let zero = match default {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty(),
        Value::Array(_) | Value::Object(_) => return None,
    };
    (field.ptr || !zero).then_some(default)
}

fn shape(field: &FieldFacts) -> Result<String> {
    if let Some(go) = &field.go {
        return Ok(match go.as_str() {
            "string" | "RowConditionType" | "ConditionStatus" => "One(String)".to_owned(),
            "int32" => "One(Int32)".to_owned(),
            "ListMeta" => "One(Of(META_V1_LISTMETA))".to_owned(),
            "runtime.RawExtension" => "One(Of(RUNTIME_RAWEXTENSION))".to_owned(),
            list => match list.strip_prefix("[]") {
                Some(element) => format!("List(Of(META_V1_{}))", element.to_uppercase()),
                None => bail!("unknown Go type {list}"),
            },
        });
    }
    let item = match field.pb.as_deref().context("neither pb nor go")? {
        "string" => "String".to_owned(),
        "bool" => "Bool".to_owned(),
        "int32" => "Int32".to_owned(),
        "int64" => "Int64".to_owned(),
        "double" => "Double".to_owned(),
        "bytes" => "Bytes".to_owned(),
        name if name.contains('.') => format!("Of({})", constant(name)),
        other => bail!("unknown protobuf type {other}"),
    };
    ensure!(field.map.as_deref().is_none_or(|key| key == "string"), "map keys are strings");
    Ok(match (field.rep, field.map.is_some()) {
        (false, false) => format!("One({item})"),
        (true, false) => format!("List({item})"),
        (false, true) => format!("Map({item})"),
        (true, true) => bail!("both list and map"),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn generated_files_are_current() {
        super::run(true).unwrap();
    }
}
