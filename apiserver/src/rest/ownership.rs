//! Who says what: keeps `metadata.managedFields` through every write. The rules are `kontiki_schema::managed`'s; here is what a
//! request says about its writer.

use kontiki_kinds::KindRef;
use kontiki_model::{Status, tree::at};
use kontiki_schema::{
    Schema,
    managed::{FieldManager, MANAGER_BYTES_MAX, ManagedFields, Reach, Versions},
};
use serde_json::Value;

use super::{
    call::{self, Call},
    conversion,
    object::{self, text},
};
use crate::request::ApiRequest;

/// The member of `metadata`.
const MEMBER: &str = "managedFields";
const POINTER: &str = "/metadata/managedFields";
/// A writer that says nothing about itself.
const UNKNOWN: &str = "unknown";

/// Who says what after a write.
#[derive(Clone, Debug, PartialEq)]
pub enum Managed {
    /// The writer says what the write changes.
    ByChange,
    /// As before: an edit of the server's own.
    Kept,
    /// This form of the member; `None` where nobody says anything.
    As(Option<Value>),
}

/// What does not change during one attempt of a write.
pub struct Writer<'a> {
    call: &'a Call<'a>,
    api_version: String,
    now: String,
}

impl<'a> Writer<'a> {
    pub fn of(call: &'a Call<'a>) -> Self {
        Writer { call, api_version: call.kind.group_version(), now: call::time_text(call::now()) }
    }

    /// The kind in another version, if that is served and stored as this one is.
    fn kind_of(&self, api_version: &str) -> Option<KindRef> {
        let kind = self.call.kind;
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let other = self.call.core.registry().kinds.by_gvk(group, version, kind.kind)?;
        (other.storage_resource() == kind.storage_resource()).then_some(other)
    }

    /// Of the kind's own objects; a Scale has another type.
    pub fn manager(&self) -> FieldManager<'_> {
        let subresource = self.call.route.subresource.as_deref();
        FieldManager {
            schema: self.call.kind.schema(),
            api_version: &self.api_version,
            subresource: subresource.unwrap_or_default(),
            reach: self.call.kind.reach(subresource),
            now: &self.now,
            versions: self,
        }
    }
}

/// The other spellings of the kind, and the other versions of a custom one.
impl Versions for Writer<'_> {
    fn told(&self, object: &Value, api_version: &str) -> Option<Value> {
        let other = self.kind_of(api_version)?;
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.shift_remove(MEMBER);
        }
        let own = text(&object, "/apiVersion").to_owned();
        if own == api_version {
            return Some(object);
        }
        if conversion::is_possible(&other) {
            // What names no version is the empty form of one.
            let forms = self.call.forms.filter(|_| !own.is_empty());
            return Some(forms.map_or_else(|| object::empty(&other), |forms| forms.told(&other, object)));
        }
        if other.custom.is_some() {
            object["apiVersion"] = api_version.into();
        } else {
            let from = if own == self.api_version { None } else { self.kind_of(&own) };
            object = other.from_stored(from.as_deref().unwrap_or(self.call.kind).to_stored(object));
        }
        other.schema().canonical(&mut object);
        Some(object)
    }

    fn of_type(&self, api_version: &str, look: &mut dyn FnMut(Schema<'_>, Reach<'_>)) {
        if let Some(other) = self.kind_of(api_version) {
            look(other.schema(), other.reach(self.call.route.subresource.as_deref()));
        }
    }
}

/// In whose name a request writes: what it says, or else the first word of its user agent.
pub fn manager_name(request: &ApiRequest) -> String {
    match request.query_value("fieldManager").filter(|name| !name.is_empty()) {
        Some(name) => name.to_owned(),
        None => from_user_agent(request.user_agent()),
    }
}

fn from_user_agent(agent: &str) -> String {
    let program = agent.split('/').next().unwrap_or_default();
    let mut name = String::new();
    for character in program.chars().filter(|character| !character.is_control()) {
        if name.len() + character.len_utf8() > MANAGER_BYTES_MAX {
            break;
        }
        name.push(character);
    }
    if name.is_empty() { UNKNOWN.to_owned() } else { name }
}

/// The managers of an object; none where what is there cannot be read.
pub fn managers(object: &Value) -> ManagedFields {
    ManagedFields::decode(at(object, POINTER)).unwrap_or_default()
}

/// Has forms made in other versions that were asked for and were not there: then all is to be looked at again.
pub async fn learn(call: &Call<'_>) -> Result<bool, Status> {
    match call.forms {
        Some(forms) => forms.learn(call.core).await,
        None => Ok(false),
    }
}

/// Notes who says what of an object that is about to be written, defaults and all. `old` is what is stored, if anything is.
/// The object becomes canonical.
pub async fn note(call: &Call<'_>, managed: Managed, new: &mut Value, old: Option<&Value>) {
    let metadata = object::metadata(new);
    let given = metadata.shift_remove(MEMBER);
    call.kind.schema().canonical(new);
    let stored = old.and_then(|old| at(old, POINTER));
    let member = match managed {
        Managed::Kept => stored.cloned(),
        Managed::As(member) => member,
        Managed::ByChange => loop {
            let member = by_change(call, given.as_ref(), new, old, stored);
            match learn(call).await {
                Ok(true) => {}
                Ok(false) => break member,
                // Who only says something on the way is not kept from it: the others say what they said.
                Err(status) => tracing::warn!(message = status.message, "managers of another version are not asked"),
            }
        },
    };
    if let Some(member) = member {
        object::metadata(new).insert(MEMBER.to_owned(), member);
    }
}

fn by_change(
    call: &Call<'_>,
    given: Option<&Value>,
    new: &Value,
    old: Option<&Value>,
    stored: Option<&Value>,
) -> Option<Value> {
    let writer = Writer::of(call);
    let manager = writer.manager();
    let empty = match old {
        Some(_) => Value::Null,
        None => object::empty(call.kind),
    };
    let change = manager.change(old.unwrap_or(&empty), new);
    let given = given.filter(|given| !given.is_null() && call.route.subresource.is_none());
    if ManagedFields::is_reset(given) {
        return None;
    }
    let name = manager_name(call.request);
    if given.is_none_or(|given| Some(given) == stored) {
        if change.is_same() {
            return stored.cloned();
        }
        if let Some(renewed) = stored.and_then(|stored| manager.renewed(&change, stored, &name)) {
            return Some(renewed);
        }
    }
    // Who does not know the member, or breaks it, does not lose it.
    let given = ManagedFields::decode(given).filter(|given| !given.is_empty());
    let mut managed = given.or_else(|| ManagedFields::decode(stored)).unwrap_or_default();
    // Where nobody said anything, it stays so until somebody applies.
    if old.is_none() || !managed.is_empty() {
        manager.update(&change, &mut managed, &name);
    }
    managed.encode()
}

/// Who says what of an object.
pub fn said(object: &Value) -> Option<Value> {
    object.pointer(POINTER).cloned()
}

/// Puts back what was said before admission, if what admission left cannot be kept. The answer is the warning about it.
pub fn settle(object: &mut Value, before: Option<Value>) -> Option<String> {
    let left = object.pointer(POINTER);
    if left == before.as_ref() {
        return None;
    }
    let why = ManagedFields::check(left).err()?;
    let metadata = object::metadata(object);
    match before {
        Some(before) => _ = metadata.insert(MEMBER.to_owned(), before),
        None => _ = metadata.shift_remove(MEMBER),
    }
    Some(format!(
        ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating \
         admission controller; please fix your requests: {why}"
    ))
}

/// Whether an object is what is stored already, but for the times at which somebody said something. Both are canonical.
pub fn unchanged(new: &Value, old: &Value) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return false };
    let rest = |name: &str| !matches!(name, "metadata");
    new.iter().filter(|(name, _)| rest(name)).all(|(name, value)| old.get(name) == Some(value))
        && old.keys().all(|name| new.contains_key(name))
        && same_metadata(&new["metadata"], &old["metadata"])
}

fn same_metadata(new: &Value, old: &Value) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return false };
    let counts = |name: &str| !matches!(name, MEMBER | "resourceVersion");
    new.iter().filter(|(name, _)| counts(name)).all(|(name, value)| old.get(name) == Some(value))
        && old.keys().filter(|name| counts(name)).all(|name| new.contains_key(name))
        && ManagedFields::same_but_for_times(new.get(MEMBER), old.get(MEMBER))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn programs_write_in_the_name_of_their_user_agent() {
        for (agent, name) in [
            ("kubectl/v1.36.0 (linux/amd64) kubernetes/abc", "kubectl"),
            ("some agent", "some agent"),
            ("a\u{7}b/1", "ab"),
            ("", UNKNOWN),
            ("/x", UNKNOWN),
        ] {
            assert_eq!(from_user_agent(agent), name, "{agent}");
        }
        assert_eq!(from_user_agent(&"é".repeat(100)).len(), MANAGER_BYTES_MAX);
    }

    #[test]
    fn an_object_is_unchanged_if_only_times_differ() {
        let object = |time: &str, label: &str, data: &str| json!({"kind": "K", "metadata": {"labels": {"a": label}, "managedFields": [{"manager": "m", "time": time}]}, "data": data});
        let old = object("1", "x", "d");
        let mut stored = old.clone();
        stored["metadata"]["resourceVersion"] = "7".into();
        assert!(unchanged(&old, &stored));
        assert!(unchanged(&object("2", "x", "d"), &stored));
        assert!(!unchanged(&object("1", "y", "d"), &stored));
        assert!(!unchanged(&object("1", "x", "e"), &stored));
        stored["status"] = json!({});
        assert!(!unchanged(&old, &stored));
    }
}
