//! Apply: an object becomes what a configuration says, as `kubectl apply` does it on the client's side. The configuration
//! is kept in the annotation that kubectl uses, so both may be used on the same objects.

use kontiki_model::Status;
use serde_json::{Map, Value, json};

use super::{
    call::Call,
    create::Creation,
    decode::{self, Decoded},
    object::{self, text},
    options::WriteOptions,
    patch,
    plan::{Plan, Write},
    store::Refusal,
    update::{Rules, Update, Wanted},
    view::View,
};
use crate::{content, failure};

/// Where the configuration is that was applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A configuration to be applied.
pub struct Application<'a> {
    name: &'a str,
    /// The configuration with its own text in the annotation.
    wanted: Decoded,
    /// Why its author may not create the object, if so.
    may_create: Result<(), Status>,
}

impl<'a> Application<'a> {
    pub fn read(call: &Call<'a>, options: WriteOptions, may_create: Result<(), Status>) -> Result<Self, Status> {
        let name = call.name()?;
        let mut wanted = decode::body(call, call.expected(), options.field_validation)?;
        decode::named(&wanted.object, name)?;
        decode::place(call, &mut wanted.object)?;
        let mut configuration = content::json_value(call.request)?;
        decode::place(call, &mut configuration)?;
        let text = configuration_text(configuration);
        annotations(&mut wanted.object).insert(LAST_APPLIED.to_owned(), text.into());
        Ok(Application { name, wanted, may_create })
    }

    fn creation(&self) -> Result<Creation, Status> {
        self.may_create.clone()?;
        if !text(&self.wanted.object, "/metadata/resourceVersion").is_empty() {
            return Err(failure::unexpected("resourceVersion should not be set on objects to be created"));
        }
        let Decoded { object, warnings } = self.wanted.clone();
        Ok(Creation { object, warnings })
    }
}

impl Write for Application<'_> {
    fn plan(&self, call: &Call<'_>, view: &View<'_>) -> Result<Plan, Refusal> {
        if view.head(&call.key(self.name)).is_none() {
            return self.creation().map_err(Refusal::Judged)?.plan(call, view);
        }
        let make = |old: Option<&Value>| {
            let old = old.ok_or_else(|| call.not_found(self.name))?;
            let (schema, Decoded { object, warnings }) = (call.kind.schema(), &self.wanted);
            let patch = schema.table.three_way_patch(schema.id, &last_applied(old)?, object, old);
            let object = schema.table.strategic_merge(schema.id, old.clone(), patch).map_err(patch::refused)?;
            Ok(Wanted { object, warnings: warnings.clone() })
        };
        Update { name: self.name, rules: Rules::Main, make: &make, uid_is_precondition: false }.plan(call, view)
    }
}

/// What was applied last; nothing, if the object was not made by apply.
fn last_applied(object: &Value) -> Result<Value, Status> {
    let annotation = object.pointer("/metadata/annotations").and_then(|all| all.get(LAST_APPLIED));
    let Some(text) = annotation.and_then(Value::as_str).filter(|text| !text.trim().is_empty()) else {
        return Ok(json!({}));
    };
    let unreadable = |error| failure::bad_request(format!("the annotation {LAST_APPLIED} cannot be read: {error}"));
    serde_json::from_str(text).map_err(unreadable)
}

/// The configuration as kubectl writes it down, byte for byte: what differs would count as a change.
fn configuration_text(mut configuration: Value) -> String {
    annotations(&mut configuration).shift_remove(LAST_APPLIED);
    let text = sorted(configuration).to_string();
    let text = text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    text.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029") + "\n"
}

/// The annotations of an object, made if there are none.
fn annotations(object: &mut Value) -> &mut Map<String, Value> {
    let annotations = object::metadata(object).entry("annotations").or_insert_with(|| json!({}));
    if !annotations.is_object() {
        *annotations = json!({});
    }
    annotations.as_object_mut().expect("it was made an object above")
}

/// Go writes maps in the order of their keys.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            Value::Object(members.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_written_down_as_kubectl_does() {
        let configuration = json!({
            "kind": "ConfigMap", "apiVersion": "v1", "data": {"b": "<&>", "a": "x"},
            "metadata": {"name": "m", "namespace": "n"},
        });
        let expected = "{\"apiVersion\":\"v1\",\"data\":{\"a\":\"x\",\"b\":\"\\u003c\\u0026\\u003e\"},\"kind\":\"ConfigMap\",\
                        \"metadata\":{\"annotations\":{},\"name\":\"m\",\"namespace\":\"n\"}}\n";
        assert_eq!(configuration_text(configuration), expected);
    }
}
