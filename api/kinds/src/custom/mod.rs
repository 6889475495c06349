//! What a kind that a CustomResourceDefinition defines has in the place of a declaration's functions: its schema, its columns,
//! its selectable fields, and the version its objects are stored in.

mod intern;
mod jsonpath;
mod printer;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use kontiki_model::{Faults, Revision, version::preference};
use kontiki_schema::Structural;
use serde_json::{Value, json};

use crate::tree::{self, at, flag, list, text};
use crate::{FinalizerRule, Kind, Scale, SelectorForm, Subresource};

pub use jsonpath::JsonPath;
pub use printer::Printer;

/// The heavy part of a custom kind; shared by nobody else, gone with the definition it was made from.
#[derive(Debug)]
pub struct Custom {
    pub structural: Structural,
    pub printers: Vec<Printer>,
    /// Selectable fields: as a selector names them, and where they are.
    pub fields: Vec<(String, JsonPath)>,
    /// The revision of the definition: objects that were written later are such as it makes them.
    pub since: Revision,
    /// There is no other version, which might know other members.
    pub only_version: bool,
    /// The version that is stored.
    pub storage_version: &'static str,
    /// Versions differ in more than their name: this webhook (`spec.conversion.webhook`) turns one into another.
    pub conversion_webhook: Option<Value>,
    /// The definition is being removed: nothing new comes in.
    pub terminating: bool,
    /// The schema of the version as it was written, for the documents that tell of it.
    pub published: Value,
}

/// The kinds that a definition serves, one for each served version; none before its names are accepted.
pub fn served(definition: &Value, revision: Revision) -> Vec<Arc<Kind>> {
    if !is_true(definition, "Established") {
        return Vec::new();
    }
    let storage = storage(definition).map_or("", |version| text(version, "/name"));
    let served = list(definition, "/spec/versions").iter().filter(|version| flag(version, "/served"));
    served.filter_map(|version| kind(definition, version, storage, revision)).map(Arc::new).collect()
}

/// The kind in the version that a definition stores, which need not be served.
pub fn stored(definition: &Value, revision: Revision) -> Option<Arc<Kind>> {
    let version = storage(definition)?;
    kind(definition, version, text(version, "/name"), revision).map(Arc::new)
}

fn storage(definition: &Value) -> Option<&Value> {
    list(definition, "/spec/versions").iter().find(|version| flag(version, "/storage"))
}

/// Whether a condition of a definition is true.
pub fn is_true(definition: &Value, condition: &str) -> bool {
    let mut conditions = list(definition, "/status/conditions").iter();
    conditions.any(|one| text(one, "/type") == condition && text(one, "/status") == "True")
}

/// The kind of one version. `None` where its schema cannot be read, which no definition that was let in has.
fn kind(definition: &Value, version: &Value, storage: &str, revision: Revision) -> Option<Kind> {
    let schema = at(version, "/schema/openAPIV3Schema");
    let mut faults = Faults::default();
    let structural = Structural::read(schema, "schema.openAPIV3Schema", &mut faults)?;
    let names = at(definition, "/status/acceptedNames");
    let texts =
        |pointer: &str| intern::list(&list(names, pointer).iter().filter_map(Value::as_str).collect::<Vec<_>>());
    let has_status = !at(version, "/subresources/status").is_null();
    let scale = at(version, "/subresources/scale");
    let mut subresources: &'static [Subresource] = &[];
    if has_status {
        subresources = &[Subresource::Status];
    }
    if !scale.is_null() {
        subresources = if has_status { &[Subresource::Status, Subresource::Scale] } else { &[Subresource::Scale] };
    }
    let deprecation = flag(version, "/deprecated").then(|| deprecation(definition, version));
    let group = text(definition, "/spec/group");
    // As the documents of Kubernetes name it: the group backwards.
    let backwards: Vec<&str> = group.rsplit('.').collect();
    let type_name = format!("{}.{}.{}", backwards.join("."), text(version, "/name"), text(names, "/kind"));
    let fields = list(version, "/selectableFields").iter().filter_map(|field| {
        let path = text(field, "/jsonPath");
        Some((path.strip_prefix('.')?.to_owned(), JsonPath::parse(path).ok()?))
    });
    let custom = Custom {
        structural,
        printers: Printer::all(version),
        fields: fields.collect(),
        since: revision,
        only_version: list(definition, "/spec/versions").len() == 1,
        storage_version: intern::name(storage),
        conversion_webhook: (text(definition, "/spec/conversion/strategy") == "Webhook")
            .then(|| at(definition, "/spec/conversion/webhook").clone()),
        terminating: is_true(definition, "Terminating"),
        published: schema.clone(),
    };
    Some(Kind {
        group: intern::name(group),
        type_name: intern::name(&type_name),
        version: intern::name(text(version, "/name")),
        kind: intern::name(text(names, "/kind")),
        list_kind: Some(intern::name(text(names, "/listKind"))),
        resource: intern::name(text(names, "/plural")),
        singular: intern::name(text(names, "/singular")),
        short_names: texts("/shortNames"),
        categories: texts("/categories"),
        namespaced: text(definition, "/spec/scope") == "Namespaced",
        verbs: VERBS,
        generation: true,
        subresources,
        scale: (!scale.is_null()).then(|| paths_of_scale(scale)),
        create_on_update: false,
        unconditional_update: false,
        prepare_create: if has_status { |object| _ = tree::remove(object, "status") } else { |_| {} },
        prepare_update: if has_status { |new, old| tree::keep(new, old, "status") } else { |_, _| {} },
        finalizers: FinalizerRule::Qualified,
        warnings: crate::metadata::finalizer_warnings,
        deprecation: deprecation.map(|text| intern::name(&text)),
        status_resets: Kind::ALL_BUT_STATUS,
        restore_keeps: if has_status { &["/status"] } else { &[] },
        custom: Some(Arc::new(custom)),
        ..Kind::BASE
    })
}

/// As Kubernetes lists them for custom resources.
const VERBS: &[&str] = &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// What its author says of a deprecated version; or else which newer one to use, if there is one.
fn deprecation(definition: &Value, version: &Value) -> String {
    let own = text(version, "/deprecationWarning");
    if !own.is_empty() {
        return own.to_owned();
    }
    let (group, kind, name) =
        (text(definition, "/spec/group"), text(definition, "/spec/names/kind"), text(version, "/name"));
    let usable = |one: &&Value| flag(one, "/served") && !flag(one, "/deprecated");
    let names = list(definition, "/spec/versions").iter().filter(usable).map(|one| text(one, "/name"));
    let newer = names.filter(|one| preference(one) > preference(name)).max_by_key(|one| preference(one));
    let instead = newer.map(|newer| format!("; use {group}/{newer} {kind}")).unwrap_or_default();
    format!("{group}/{name} {kind} is deprecated{instead}")
}

fn paths_of_scale(scale: &Value) -> Scale {
    let pointer = |member: &str| intern::name(&text(scale, member).replace('.', "/"));
    Scale {
        spec_replicas: pointer("/specReplicasPath"),
        status_replicas: pointer("/statusReplicasPath"),
        selector: pointer("/labelSelectorPath"),
        selector_form: SelectorForm::Text,
    }
}

impl Custom {
    /// Stands for the revision of a definition that is about to be written: all objects that there are were written before.
    pub const UNWRITTEN: Revision = Revision::MAX;

    /// What a selector may name, and what the object has there.
    pub fn field_values(&self, object: &Value) -> BTreeMap<String, String> {
        let value = |path: &JsonPath| match path.find(object).first() {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        self.fields.iter().map(|(name, path)| (name.clone(), value(path))).collect()
    }

    /// The scale's numbers.
    pub fn validate_scale(kind: &Kind, object: &Value, faults: &mut Faults) {
        let Some(scale) = &kind.scale else { return };
        for pointer in [scale.spec_replicas, scale.status_replicas] {
            let value = at(object, pointer);
            let field = pointer.trim_start_matches('/').replace('/', ".");
            if value.as_i64().is_some_and(|number| number < 0) {
                faults.invalid(field, value.clone(), "should be a non-negative integer");
            } else if value.as_i64().is_some_and(|number| number > i64::from(i32::MAX)) {
                faults.invalid(field, value.clone(), format!("should be less than or equal to {}", i32::MAX));
            }
        }
    }

    /// `kind` and `apiVersion` of a body must be those of the path.
    pub fn type_meta(kind: &Kind, object: &Value, faults: &mut Faults) {
        let version = kind.group_version();
        for (member, wanted) in [("kind", kind.kind), ("apiVersion", version.as_str())] {
            match text(object, &format!("/{member}")) {
                "" => faults.required(member, "must not be empty"),
                given if given != wanted => faults.invalid(member, given, format!("must be {wanted}")),
                _ => {}
            }
        }
    }

    /// Whether an object that was written at a revision is told as it is stored: it has all defaults, and nothing that this version
    /// does not know.
    pub fn is_told_as_stored(&self, written: Revision) -> bool {
        self.only_version && written > self.since
    }

    /// The columns' definitions, as Tables have them.
    pub fn column_definitions(&self) -> Vec<Value> {
        let name = json!({
            "name": "Name", "type": "string", "format": "name",
            "description": "Name must be unique within a namespace and cannot be changed.", "priority": 0,
        });
        let rest = self.printers.iter().map(|printer| {
            json!({
                "name": printer.name, "type": printer.r#type, "format": printer.format,
                "description": printer.description, "priority": printer.priority,
            })
        });
        std::iter::once(name).chain(rest).collect()
    }

    /// An object's row.
    pub fn row(&self, object: &Value, now: DateTime<Utc>) -> Vec<Value> {
        let rest = self.printers.iter().map(|printer| printer.cell(object, now));
        std::iter::once(at(object, "/metadata/name").clone()).chain(rest).collect()
    }
}
