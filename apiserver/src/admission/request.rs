//! A request as policies and webhooks are told of it: what it is about by every name that this has, its options, and its objects
//! in the form of one of the names.

use kontiki_kinds::{Kind, KindRef, Subresource};
use kontiki_schema::{Document, Schema, TypeId, builtin};
use serde_json::{Value, json};

use super::{
    Attributes, Operation,
    matching::{Asked, Form},
};
use crate::{
    failure,
    rest::{self, Refusal, conversion, object::text},
};

/// What is asked, once for all who judge it.
pub(crate) struct Request<'a> {
    attributes: &'a Attributes<'a>,
    /// What the request names, then what is stored as the same.
    kinds: Vec<KindRef>,
    /// What the subresource takes, where that is not the object.
    body: Option<(&'static str, &'static str, &'static str)>,
}

impl Operation {
    /// As rules name it.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }

    fn options_kind(self) -> Option<&'static str> {
        match self {
            Operation::Create => Some("CreateOptions"),
            Operation::Update => Some("UpdateOptions"),
            Operation::Delete => Some("DeleteOptions"),
            Operation::Connect => None,
        }
    }
}

impl<'a> Request<'a> {
    pub fn of(attributes: &'a Attributes<'a>) -> Self {
        let kind = &attributes.call.route.kind;
        let subresource = attributes.subresource;
        let known = kind.subresources.iter().find(|one| one.name() == subresource);
        let has =
            |other: &Kind| subresource.is_empty() || other.subresources.iter().any(|one| one.name() == subresource);
        let mut kinds = vec![kind.clone()];
        // Most custom kinds have one version: nothing to look for.
        if kind.custom.as_ref().is_none_or(|custom| !custom.only_version) {
            let alike = attributes.view.kinds(attributes.call.core).stored_alike(kind);
            kinds.extend(alike.into_iter().filter(|other| has(other)));
        }
        let body = known.and_then(|one| one.response_kind()).map(|(group, version, name)| {
            // The core group's are declared without their version.
            (group, if version.is_empty() { "v1" } else { version }, name)
        });
        Request { attributes, kinds, body }
    }

    /// The names of the resource.
    pub fn forms(&self) -> Vec<Form<'_>> {
        let form = |kind: &'_ KindRef| Form { group: kind.group, version: kind.version, resource: kind.resource };
        self.kinds.iter().map(form).collect()
    }

    /// How rules see it. `forms` are its own.
    pub fn asked<'f>(&'f self, forms: &'f [Form<'f>]) -> Asked<'f> {
        let Attributes { operation, subresource, name, kind, .. } = *self.attributes;
        let (operation, namespace) = (operation.name(), self.namespace());
        Asked { forms, subresource, operation, name, namespace, is_scope: kind.is_scope }
    }

    /// The namespace it is in; of a Namespace, its own name.
    pub fn namespace(&self) -> &str {
        let Attributes { kind, name, namespace, .. } = *self.attributes;
        if kind.is_scope { name } else { namespace }
    }

    /// The kind that a name of the resource stands for.
    pub fn kind(&self, form: usize) -> &KindRef {
        &self.kinds[form]
    }

    /// `(group, version, kind)` of the objects in one of the forms.
    pub fn object_kind(&self, form: usize) -> (&'static str, &'static str, &'static str) {
        let kind = &self.kinds[form];
        self.body.unwrap_or((kind.group, kind.version, kind.kind))
    }

    /// An object as one of the forms has it, as it would be written.
    pub async fn shown(&self, form: usize, object: &Value) -> Result<Value, Refusal> {
        let kind = &self.kinds[form];
        if self.is_scale() {
            return Ok(rest::scale::of(self.attributes.kind, object)?);
        }
        if self.body.is_some() {
            // What was posted may have left out what it is.
            let (group, version, name) = self.object_kind(form);
            let mut shown = object.clone();
            shown["kind"] = name.into();
            shown["apiVersion"] = if group.is_empty() { version.into() } else { format!("{group}/{version}").into() };
            self.schema(form)?.canonical(&mut shown);
            return Ok(shown);
        }
        let shown = kind.from_stored(object.clone());
        Ok(conversion::in_version(self.attributes.call.core, kind, shown).await?)
    }

    /// What the objects look like in one of the forms.
    pub fn schema(&self, form: usize) -> Result<Schema<'_>, Refusal> {
        let (group, version, name) = self.object_kind(form);
        let schema = match self.body {
            Some(_) => posted(group, version, name).map(Schema::builtin),
            None => Some(self.kinds[form].schema()),
        };
        schema.ok_or_else(|| failure::internal(format!("{name} of {group}/{version} has no schema")).into())
    }

    /// What somebody made of a shown object, read as if it came from outside: it must fit its type, and gets its defaults.
    pub fn read_again(&self, form: usize, changed: Value) -> Result<Value, Refusal> {
        let kind = &self.kinds[form];
        let (group, version, name) = self.object_kind(form);
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let schema = self.schema(form)?;
        let document = Document { value: changed, duplicates: Vec::new() };
        schema.check_document(&document).map_err(|error| failure::internal(error.0))?;
        let Document { mut value, .. } = document;
        if value["kind"] != name || value["apiVersion"] != api_version {
            let why = format!("{name} in {api_version} was changed into {} in {}", value["kind"], value["apiVersion"]);
            return Err(failure::internal(why).into());
        }
        if self.body.is_none() && text(&value, "/metadata/namespace") != self.attributes.namespace {
            let why = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(failure::bad_request(why).into());
        }
        schema.prune(&mut value);
        schema.default(&mut value);
        if self.body.is_none() {
            (kind.default)(&mut value);
        }
        schema.canonical(&mut value);
        Ok(value)
    }

    /// The way back, into an object as admission has it.
    pub async fn taken(&self, form: usize, object: &Value, shown: Value) -> Result<Value, Refusal> {
        let kind = &self.kinds[form];
        if self.is_scale() {
            let mut taken = object.clone();
            rest::scale::put_into(self.attributes.kind, &mut taken, &shown)?;
            return Ok(taken);
        }
        if self.body.is_some() {
            return Ok(shown);
        }
        let taken = kind.to_stored(shown);
        Ok(conversion::in_version(self.attributes.call.core, self.attributes.kind.stored(), taken).await?)
    }

    fn is_scale(&self) -> bool {
        self.attributes.subresource == Subresource::Scale.name()
    }

    /// The options of the operation, as an object.
    pub fn options(&self) -> Result<Option<Value>, Refusal> {
        let request = self.attributes.call.request;
        let Some(kind) = self.attributes.operation.options_kind() else { return Ok(None) };
        let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        if self.attributes.operation == Operation::Delete {
            let given = rest::delete_options(request)?;
            let given = given.as_object().into_iter().flatten();
            let said =
                given.filter(|(name, value)| !matches!(name.as_str(), "kind" | "apiVersion") && !is_empty(value));
            for (name, value) in said {
                options[name] = value.clone();
            }
            return Ok(Some(options));
        }
        if self.attributes.view.dry_run {
            options["dryRun"] = json!(["All"]);
        }
        for name in ["fieldManager", "fieldValidation"] {
            if let Some(value) = request.query_value(name).filter(|value| !value.is_empty()) {
                options[name] = value.into();
            }
        }
        Ok(Some(options))
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// The type of what is posted. The options of connections are kinds by name alone.
fn posted(group: &str, version: &str, name: &str) -> Option<TypeId> {
    let of_core = || builtin().lookup(&format!("core.{version}.{name}")).filter(|_| group.is_empty());
    builtin().lookup_gvk(group, version, name).or_else(of_core)
}
