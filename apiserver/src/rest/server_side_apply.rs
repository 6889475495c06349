//! PATCH with a configuration: the object says what the configuration says, and who applied it says so.

use http::StatusCode;
use kontiki_model::Status;
use kontiki_schema::{
    Document, decode_yaml,
    managed::{Applied, Conflict, Conflicts, FieldManager, ManagedFields},
};
use serde_json::Value;

use super::{
    call::{Call, Expected},
    create::Creation,
    decode,
    object::{self, text},
    options::{FieldValidation, WriteOptions},
    ownership::{self, Managed, Writer},
    plan::{self, Effect, Planned, Write},
    render,
    store::Refusal,
    update::{Rules, Update, Wanted},
    view::View,
};
use crate::{failure, negotiate::Offer, request::ApiResponse};

/// A configuration that was read.
pub struct Configuration {
    value: Value,
    /// Keys that were given twice.
    warnings: Vec<String>,
    /// In whose name it is applied.
    manager: String,
    force: bool,
}

/// A configuration to be applied to one object.
pub struct Application<'a> {
    name: &'a str,
    rules: Rules,
    options: WriteOptions,
    configuration: Configuration,
}

pub async fn apply(call: &Call<'_>, rules: Rules) -> Result<ApiResponse, Status> {
    let form = call.form(Offer::Object)?;
    let application = Application::read(call, rules)?;
    let written = plan::carry_out(call, application.name, &application, application.options.dry_run).await?;
    let code = match written.effect {
        Effect::Created => StatusCode::CREATED,
        Effect::Updated | Effect::Unchanged | Effect::Deleted => StatusCode::OK,
    };
    render::written(call, form, code, &written.stored, written.warnings.iter())
}

impl Configuration {
    /// Reads the request's body, which must be a configuration of the expected kind.
    pub fn read(call: &Call<'_>, expected: Expected<'_>, options: WriteOptions) -> Result<Self, Status> {
        let document = decode_yaml(call.request.body.bytes());
        let document = document.map_err(|error| failure::bad_request(format!("error decoding YAML: {error}")))?;
        let Document { value, duplicates } = document;
        if !value.is_object() && !value.is_null() {
            let why = "json: cannot unmarshal into Go value of type map[string]interface {}";
            return Err(failure::bad_request(format!("error decoding YAML: error unmarshaling JSON: {why}")));
        }
        let (api_version, kind) = (text(&value, "/apiVersion"), text(&value, "/kind"));
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        if (group, version, kind) != (expected.group, expected.version, expected.kind) {
            return Err(failure::bad_request(format!("invalid object type: {group}/{version}, Kind={kind}")));
        }
        if value.pointer("/metadata/managedFields").is_some_and(|fields| !fields.is_null()) {
            return Err(failure::bad_request("metadata.managedFields must be nil"));
        }
        expected.schema.table.check_config(expected.schema.id, &value).map_err(|why| {
            let (namespace, name) = (text(&value, "/metadata/namespace"), text(&value, "/metadata/name"));
            let told = format!("{namespace}/{name}; {group}/{version}, Kind={kind}");
            failure::unexpected(format!("failed to create typed patch object ({told}): {why}"))
        })?;
        let warnings: Vec<String> = duplicates.into_iter().map(|one| one.message).collect();
        let warnings = match options.field_validation {
            FieldValidation::Strict if !warnings.is_empty() => {
                let lines = warnings.join("\n  ");
                let why = format!("error converting YAML to JSON: yaml: unmarshal errors:\n  {lines}");
                return Err(failure::bad_request(format!("error strict decoding YAML: {why}")));
            }
            FieldValidation::Strict | FieldValidation::Ignore => Vec::new(),
            FieldValidation::Warn => warnings,
        };
        let manager = ownership::manager_name(call.request);
        Ok(Configuration { value, warnings, manager, force: call.request.query_flag("force") })
    }

    /// What is to be told about it.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What it makes of an object, and who says what then.
    pub fn apply(
        &self,
        manager: &FieldManager<'_>,
        live: &Value,
        managed: &ManagedFields,
    ) -> Result<(Value, ManagedFields), Status> {
        let applied = manager.apply_or_take_over(live, &self.value, managed, &self.manager, self.force);
        let Applied { object, managed } = applied.map_err(|conflicts| refused(&conflicts))?;
        let object = object.unwrap_or_else(|| live.clone());
        let fits = manager.schema.table.check(manager.schema.id, &object);
        fits.map_err(|why| failure::unexpected(format!("failed to convert the applied object: {why}")))?;
        Ok((object, managed))
    }
}

impl<'a> Application<'a> {
    pub fn read(call: &Call<'a>, rules: Rules) -> Result<Self, Status> {
        let options = WriteOptions::read_patch(call.request, true)?;
        let configuration = Configuration::read(call, call.expected(), options)?;
        Ok(Application { name: call.name()?, rules, options, configuration })
    }

    fn wanted(&self, call: &Call<'_>, live: &Value) -> Result<Wanted, Status> {
        let writer = Writer::of(call);
        let managed = ownership::managers(live);
        let (mut object, managed) = self.configuration.apply(&writer.manager(), live, &managed)?;
        decode::named(&object, self.name)?;
        decode::place(call, &mut object)?;
        let warnings = self.configuration.warnings.clone();
        Ok(Wanted { object, warnings, managed: Managed::As(managed.encode()) })
    }

    fn creation(&self, call: &Call<'_>) -> Result<Creation, Status> {
        let Wanted { object, warnings, managed } = self.wanted(call, &object::empty(call.kind))?;
        let uid = text(&object, "/metadata/uid");
        if !uid.is_empty() {
            let why =
                format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
            return Err(failure::conflict(call.resource(), self.name, &why));
        }
        Ok(Creation { object, warnings, managed, allowed: call.may_create() })
    }
}

impl Write for Application<'_> {
    fn plan<'a>(&'a self, call: &'a Call<'a>, view: &'a View<'a>) -> Planned<'a> {
        Box::pin(async move {
            if call.route.subresource.is_none() && view.head(&call.key(self.name)).is_none() {
                return self.creation(call).map_err(Refusal::Judged)?.plan(call, view).await;
            }
            let make = |old: Option<&Value>| self.wanted(call, old.ok_or_else(|| call.not_found(self.name))?);
            let update = Update { name: self.name, rules: self.rules, make: &make, uid_is_precondition: false };
            update.plan(call, view).await
        })
    }
}

/// 409, with every field that somebody else says otherwise.
fn refused(Conflicts(conflicts): &Conflicts) -> Status {
    let field = |conflict: &Conflict| (format!("conflict with {}", conflict.manager), conflict.field());
    let told = match conflicts.as_slice() {
        [one] => format!("1 conflict: conflict with {}: {}", one.manager, one.field()),
        many => {
            let mut lines = Vec::new();
            for (index, conflict) in many.iter().enumerate() {
                if index == 0 || many[index - 1].manager != conflict.manager {
                    lines.push(format!("conflicts with {}:", conflict.manager));
                }
                lines.push(format!("- {}", conflict.field()));
            }
            format!("{} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    failure::apply_conflict(format!("Apply failed with {told}"), conflicts.iter().map(field))
}
