//! Apply: an object becomes what a configuration says, as `kubectl apply` does it on the client's side. The configuration
//! is kept in the annotation that kubectl uses, so both may be used on the same objects.

use kontiki_model::Status;
use kontiki_schema::managed::last_applied;
use serde_json::{Map, Value, json};

use super::{
    call::Call,
    create::{Creation, refuse_version},
    decode::{self, Decoded},
    object,
    options::WriteOptions,
    ownership::Managed,
    patch,
    plan::{Planned, Write},
    store::Refusal,
    update::{Rules, Update, Wanted},
    view::View,
};
use crate::{content, failure};

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
        annotations(&mut configuration);
        let text = last_applied::configuration_text(configuration);
        annotations(&mut wanted.object).insert(last_applied::ANNOTATION.to_owned(), text.into());
        Ok(Application { name, wanted, may_create })
    }

    fn creation(&self) -> Result<Creation, Status> {
        refuse_version(&self.wanted.object)?;
        let Decoded { object, warnings } = self.wanted.clone();
        Ok(Creation { object, warnings, managed: Managed::ByChange, allowed: self.may_create.clone() })
    }
}

impl Write for Application<'_> {
    fn plan<'a>(&'a self, call: &'a Call<'a>, view: &'a View<'a>) -> Planned<'a> {
        let make = |old: Option<&Value>| {
            let old = old.ok_or_else(|| call.not_found(self.name))?;
            let (schema, Decoded { object, warnings }) = (call.kind.schema(), &self.wanted);
            let patch = schema.table.three_way_patch(schema.id, &configured(old)?, object, old);
            let object = schema.table.strategic_merge(schema.id, old.clone(), patch).map_err(patch::refused)?;
            Ok(Wanted { object, warnings: warnings.clone(), managed: Managed::ByChange })
        };
        Box::pin(async move {
            if view.head(&call.key(self.name)).is_none() {
                return self.creation().map_err(Refusal::Judged)?.plan(call, view).await;
            }
            let update = Update { name: self.name, rules: Rules::Main, make: &make, uid_is_precondition: false };
            update.plan(call, view).await
        })
    }
}

/// What was applied last; nothing, if the object was not made by apply.
fn configured(object: &Value) -> Result<Value, Status> {
    let Some(text) = last_applied::last_applied(object) else { return Ok(json!({})) };
    let annotation = last_applied::ANNOTATION;
    let unreadable = |error| failure::bad_request(format!("the annotation {annotation} cannot be read: {error}"));
    serde_json::from_str(text).map_err(unreadable)
}

/// The annotations of an object, made if there are none.
fn annotations(object: &mut Value) -> &mut Map<String, Value> {
    let annotations = object::metadata(object).entry("annotations").or_insert_with(|| json!({}));
    if !annotations.is_object() {
        *annotations = json!({});
    }
    annotations.as_object_mut().expect("it was made an object above")
}
