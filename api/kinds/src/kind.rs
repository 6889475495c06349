//! What the API server must know of a kind. One declaration per kind; everything generic derives from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use kontiki_model::{Faults, Retention};
use kontiki_schema::managed::{Path, Reach};
use kontiki_schema::{Schema, builtin};
use serde_json::{Value, json};

use crate::podsecurity::PodSecurity;
use crate::quota::Measure;
use crate::{
    Admit, Claim, Custom, DefaultClass, Disabled, Edit, Limited, Review, Scale, Subresource, column, disabled, pod,
    tree,
};

/// Who says what, in `metadata`.
const MANAGED: &str = "managedFields";

/// One kind, declared. All functions are pure and get objects that passed the schema (right types, known fields).
///
/// The server calls them in Kubernetes' order. Create: `default`, `admit`, `prepare_create`, `validate`, `validate_create`.
/// Update: `default`, `prepare_update`, `validate`, `validate_update`. Status: `default`, `prepare_status`, `validate_status`.
/// What is prepared is stamped before it is validated.
pub struct Kind {
    pub group: &'static str,
    pub version: &'static str,
    /// `Pod`.
    pub kind: &'static str,
    /// Plural resource name, as in URLs: `pods`.
    pub resource: &'static str,
    pub singular: &'static str,
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    pub namespaced: bool,
    /// Name in the schema table: `core.v1.Pod`.
    pub type_name: &'static str,
    pub verbs: &'static [&'static str],
    pub name_rule: NameRule,
    pub finalizers: FinalizerRule,
    /// `metadata.generation` is kept; changes of anything but metadata and status raise it, and `prepare_update` may.
    pub generation: bool,
    pub subresources: &'static [Subresource],
    /// Fields that a write of `…/status` leaves as they are ([`Kind::keep_reset`]): whoever writes the status does not come to say
    /// them. `managedFields` is not among them.
    pub status_resets: &'static [Path<'static>],
    /// Where `…/scale` finds its numbers; set exactly when `subresources` has [`Subresource::Scale`].
    pub scale: Option<Scale>,
    pub deletion: Deletion,
    /// What cannot be deleted: the cluster does not work without it.
    pub protected: Protected,
    /// Seconds a graceful deletion waits when the request names none.
    pub grace_period: fn(&Value) -> i64,
    /// Removed at once in spite of [`Deletion::Graceful`], because nobody runs it (an unscheduled or finished Pod).
    pub removable_now: fn(&Value) -> bool,
    /// DELETE answers with the object instead of a Status.
    pub delete_returns_object: bool,
    /// An update may name an object that does not exist and so create it.
    pub create_on_update: bool,
    /// An update may leave out `metadata.resourceVersion`.
    pub unconditional_update: bool,
    /// Selectable fields besides `metadata.name` and `metadata.namespace`.
    pub fields: &'static [Field],
    pub columns: &'static [Column],
    /// One value per column. `now` gives ages.
    pub cells: fn(&Value, DateTime<Utc>) -> Vec<Value>,
    /// Conditions of the Table row, e.g. `Completed` of a finished Pod (kubectl greys such rows out).
    pub row_conditions: fn(&Value) -> Vec<Value>,
    /// Fills what the schema's own defaults cannot: values that depend on other fields. Idempotent.
    pub default: fn(&mut Value),
    /// The objects whose state `admit` depends on.
    pub lookups: fn(&Value) -> Vec<Lookup>,
    /// Built-in admission of a new object, in order.
    pub admit: &'static [Admit],
    /// What Kubernetes has in its types and does not take yet. That of pods and of templates of pods is not repeated here.
    pub disabled: &'static [Disabled],
    /// Before a create: resets what a client may not set (status), sets the initial state.
    pub prepare_create: fn(&mut Value),
    /// Before an update of the main resource: `(new, old)`; keeps what a client may not change (status).
    pub prepare_update: fn(&mut Value, &Value),
    /// Before an update of `…/status`: `(new, old)`; keeps all but the status.
    pub prepare_status: fn(&mut Value, &Value),
    /// Subresources that change a part of the object by rules of their own.
    pub edits: &'static [Edit],
    /// Fills the times that a write leaves open: `(object, old, now)`; `old` on changes only. Called last before validation.
    pub stamp: fn(&mut Value, Option<&Value>, DateTime<Utc>),
    /// Everything below `metadata` is checked by [`crate::metadata`]; this checks the rest.
    pub validate: fn(&Value, &mut Faults),
    /// What holds for new objects alone, on top of `validate`.
    pub validate_create: fn(&Value, &mut Faults),
    /// `(new, old)`: immutable fields and the like, on top of `validate`.
    pub validate_update: fn(&Value, &Value, &mut Faults),
    /// `(new, old)`: what an update of `…/status` must satisfy.
    pub validate_status: fn(&Value, &Value, &mut Faults),
    /// Cluster-wide values that this object must be the only one to hold.
    pub claims: fn(&Value) -> Vec<Claim>,
    /// Told to the client with every answer about this resource.
    pub deprecation: Option<&'static str>,
    /// Warnings to the client about a valid object: `(new, old)`; `old` on updates only.
    pub warnings: fn(&Value, Option<&Value>) -> Vec<String>,
    /// How long history keeps changes of this kind, and whether it shreds them.
    pub retention: Retention,
    /// What a restore from a snapshot does with its objects.
    pub restore: Restore,
    /// Members, as JSON pointers, that a restore leaves as they are in an object that is still there: they tell of the world,
    /// which does not go back.
    pub restore_keeps: &'static [&'static str],
    /// Set where objects are stored in the form of another declaration. All functions but `default` then get that form.
    pub spelling: Option<Spelling>,
    /// What depends on a deleted object stays, unless the request says otherwise; the text warns who deletes one and says nothing.
    pub orphans: Option<Orphans>,
    /// Objects may depend on it; else how far its deletion goes is nothing to wait for.
    pub has_dependents: bool,
    /// How a field selector is refused that names none of `fields`; `None` words it as for most kinds.
    pub unknown_field: Option<fn(&str) -> String>,
    /// The objects that every cluster has from its first second. A `status` is written after the object, as its subresource.
    pub initial: fn() -> Vec<Value>,
    /// Its objects define kinds: what is served follows each change of one.
    pub defines_kinds: bool,
    /// The first step of a deletion, before finalizers are looked at: `(object, now)`.
    pub prepare_delete: fn(&mut Value, &str),
    /// Set where a CustomResourceDefinition defines the kind.
    pub custom: Option<Arc<Custom>>,
    /// The kind of its lists, where that is not its own name with `List` behind.
    pub list_kind: Option<&'static str>,
    /// The server tells these from what it is; none is ever stored.
    pub computed: Option<Computed>,
    /// Its objects are what others are in; each is in itself.
    pub is_scope: bool,
    /// Its objects decide about writes: none is asked about them, so that whoever broke the cluster with one can take it back.
    pub decides_writes: bool,
    /// What ResourceQuotas measure; `None` where they do not even count.
    pub measure: Option<&'static Measure>,
    /// How LimitRanges bound its objects.
    pub limited: Option<&'static Limited>,
    /// Whether a write changes what other writes in the object's namespace are held against (the new object, the old one): it is
    /// then a new revision of the namespace, so that none of those goes on that was decided before.
    pub rebounds: fn(&Value, Option<&Value>) -> bool,
    /// The class that its objects get when they name none.
    pub default_class: Option<&'static DefaultClass>,
    /// What other objects have to do with a write of the object itself.
    pub review: Option<&'static Review>,
    /// Its objects give permissions: nobody writes one that gives more than they hold.
    pub grants: Option<Grants>,
    /// Its objects are pods, make pods, or say what pods may do.
    pub pod_security: Option<PodSecurity>,
    /// Its objects ask a signer, and only those who are trusted with that signer decide about them.
    pub signed: Option<Signed>,
}

/// Objects about which a signer decides: who approves must be allowed to `approve` for it, who decides to `sign`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Where the signer's name stands, as a JSON pointer.
    pub signer: &'static str,
    /// What of the status only the signer changes.
    pub decisions: &'static [&'static str],
}

/// Where the permissions stand that objects of a kind give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grants {
    /// In its own `rules`, and in those that its `aggregationRule` gathers.
    Rules,
    /// In the role that `roleRef` names.
    Role,
    /// A policy reads objects of its `paramKind`.
    Parameters,
    /// A binding has a policy, of this resource, read what its `paramRef` names.
    ParametersOf(&'static str),
}

/// Names of a kind that cannot be deleted, and what whoever tries is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protected {
    pub names: &'static [&'static str],
    pub why: &'static str,
}

/// What objects that are not stored are told from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Computed {
    /// The parts of the control plane and how they are.
    Components,
    /// Nothing is told: what is posted is done to the pod that it names.
    PodBinding,
}

/// Another group or version of a kind that is stored. What was written in one spelling is read in all of them.
#[derive(Clone, Copy)]
pub struct Spelling {
    /// The kind whose form is stored; it is no spelling itself.
    pub of: &'static Kind,
    /// From the stored form to this one. The server sets `kind` and `apiVersion`.
    pub from_stored: fn(Value) -> Value,
    /// The way back. What one form has no field for goes through annotations, so that no round trip loses anything.
    pub to_stored: fn(Value) -> Value,
    /// Selectable fields that the stored kind calls otherwise: `(here, there)`.
    pub fields: &'static [(&'static str, &'static str)],
}

/// What happens to the dependents of a deleted object by default, as old clients rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphans {
    Silently,
    /// Whoever does not say what should happen to the dependents is told this.
    Warning(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain, up to 253 characters.
    Subdomain,
    /// RFC 1123 label, up to 63 characters.
    Label,
    /// RFC 1035 label (Services before 1.34).
    Rfc1035Label,
    /// Any path segment (RBAC, requests for certificates).
    PathSegment,
    /// An address in its canonical form.
    IpAddress,
}

/// What `metadata.finalizers` may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalizerRule {
    /// Any qualified name.
    Qualified,
    /// Names with a domain, and Kubernetes' own.
    Known,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// Gone at once unless finalizers hold it.
    Immediate,
    /// Marked first and removed by the node agent after a grace period (Pods).
    Graceful,
    /// Marked first; a controller empties `spec.finalizers` (Namespaces).
    SpecFinalizers,
}

/// A selectable field.
#[derive(Clone, Copy)]
pub struct Field {
    pub path: &'static str,
    pub get: fn(&Value) -> String,
}

/// A column of the Table form. Priority 0 is always shown, 1 with `-o wide`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub r#type: &'static str,
    pub format: &'static str,
    pub description: &'static str,
    pub priority: i32,
}

/// An object that admission must see: the storage resource, the namespace (empty: cluster-scoped) and the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    pub resource: &'static str,
    pub namespace: String,
    pub name: String,
    /// Every namespace is given such an object soon after it is made: in one that is just being made, it counts as there.
    pub comes_with_namespace: bool,
}

impl Lookup {
    /// An object of the whole cluster; without a name, all of them.
    pub fn of_cluster(resource: &'static str, name: impl Into<String>) -> Self {
        Lookup { resource, namespace: String::new(), name: name.into(), comes_with_namespace: false }
    }
}

/// What admission may use besides the object itself, all chosen before the command is proposed.
#[derive(Clone, Copy, Debug)]
pub struct AdmitFacts<'a> {
    /// Five random characters, as generated names end in.
    pub suffix: &'a str,
    /// The objects that `lookups` asked for, in its order; `None` where there is none.
    pub found: &'a [Option<Value>],
    pub author: Author<'a>,
}

/// Who makes the object.
#[derive(Clone, Copy, Debug, Default)]
pub struct Author<'a> {
    pub user: &'a str,
    pub uid: &'a str,
    pub groups: &'a [String],
    pub extra: &'a [(String, Vec<String>)],
}

/// What a restore from a snapshot does with objects of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restore {
    /// They become what they were: made, changed, removed.
    Whole,
    /// Those that are still there become what they were; none is made or removed, for they stand for something outside
    /// (Nodes: machines).
    WhileThere,
    /// They are left alone: they tell who holds what and what happened, now (Leases, Events).
    Never,
}

impl Kind {
    /// Reading, watching and writing, one by one and all at once.
    pub const ALL_VERBS: &'static [&'static str] =
        &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

    /// What a write of `…/status` leaves as it is where it is to tell of nothing but the status.
    pub const ALL_BUT_STATUS: &'static [Path<'static>] = &[&["spec"], &["metadata"]];

    /// What most kinds have in common, for `..Kind::BASE` in a declaration.
    pub const BASE: Kind = Kind {
        group: "",
        version: "v1",
        kind: "",
        resource: "",
        singular: "",
        short_names: &[],
        categories: &[],
        namespaced: true,
        type_name: "",
        verbs: Kind::ALL_VERBS,
        name_rule: NameRule::Subdomain,
        finalizers: FinalizerRule::Known,
        generation: false,
        subresources: &[],
        status_resets: &[&["spec"]],
        scale: None,
        deletion: Deletion::Immediate,
        protected: Protected { names: &[], why: "" },
        grace_period: |_| 0,
        removable_now: |_| true,
        delete_returns_object: false,
        create_on_update: false,
        unconditional_update: true,
        fields: &[],
        columns: &[column::NAME, column::AGE],
        cells: |object, now| vec![column::name(object), column::age(object, now)],
        row_conditions: |_| Vec::new(),
        default: |_| {},
        lookups: |_| Vec::new(),
        admit: &[],
        disabled: &[],
        prepare_create: |_| {},
        prepare_update: |_, _| {},
        prepare_status: tree::keep_all_but_status,
        edits: &[],
        stamp: |_, _, _| {},
        validate: |_, _| {},
        validate_create: |_, _| {},
        validate_update: |_, _, _| {},
        validate_status: |_, _, _| {},
        claims: |_| Vec::new(),
        deprecation: None,
        warnings: |_, _| Vec::new(),
        retention: Retention::Normal,
        restore: Restore::Whole,
        restore_keeps: &["/status"],
        spelling: None,
        orphans: None,
        has_dependents: true,
        unknown_field: None,
        initial: Vec::new,
        defines_kinds: false,
        prepare_delete: |_, _| {},
        custom: None,
        list_kind: None,
        computed: None,
        is_scope: false,
        decides_writes: false,
        measure: Some(&Measure::COUNT),
        limited: None,
        rebounds: |_, _| false,
        default_class: None,
        review: None,
        grants: None,
        pod_security: None,
        signed: None,
    };

    /// What its objects look like.
    pub fn schema(&self) -> Schema<'_> {
        if let Some(custom) = &self.custom {
            return Schema::custom(&custom.structural);
        }
        let id = builtin().lookup(self.type_name);
        Schema::builtin(id.expect("a kind's type_name is in the table: a test checks it"))
    }

    /// `(group, version, resource)`.
    pub fn gvr(&self) -> (&'static str, &'static str, &'static str) {
        (self.group, self.version, self.resource)
    }

    /// The `apiVersion` of its objects: `v1`, `apps/v1`.
    pub fn group_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The kind whose form is stored: this one, or the one that it spells.
    pub fn stored(&self) -> &Kind {
        self.spelling.map_or(self, |spelling| spelling.of)
    }

    /// An object of this kind in the form that is stored.
    pub fn to_stored(&self, object: Value) -> Value {
        match self.spelling {
            Some(spelling) => (spelling.to_stored)(object),
            None => object,
        }
    }

    /// The way back.
    pub fn from_stored(&self, object: Value) -> Value {
        let Some(spelling) = self.spelling else { return object };
        let mut object = (spelling.from_stored)(object);
        object["kind"] = self.kind.into();
        object["apiVersion"] = self.group_version().into();
        object
    }

    /// What the stored kind calls a selectable field of this one.
    pub fn stored_field<'a>(&self, field: &'a str) -> &'a str {
        let names = self.spelling.map_or(&[][..], |spelling| spelling.fields);
        names.iter().find(|(here, _)| *here == field).map_or(field, |(_, there)| *there)
    }

    /// The resource in store keys: `pods`, `deployments.apps`.
    pub fn storage_resource(&self) -> String {
        let Kind { group, resource, .. } = self.stored();
        if group.is_empty() { (*resource).to_owned() } else { format!("{resource}.{group}") }
    }

    /// The kind as error messages name it: `Pod`, `Deployment.apps`.
    pub fn group_kind(&self) -> String {
        if self.group.is_empty() { self.kind.to_owned() } else { format!("{}.{}", self.kind, self.group) }
    }

    /// Whether `…/<name>` is answered below an object of this kind.
    pub fn has(&self, subresource: Subresource) -> bool {
        self.subresources.contains(&subresource)
    }

    /// What a write of the object, or of what is served below it, can change.
    pub fn reach(&self, subresource: Option<&str>) -> Reach<'static> {
        let Some(name) = subresource else {
            return if self.has(Subresource::Status) { Reach::AllBut(&[&["status"]]) } else { Reach::ALL };
        };
        if name == Subresource::Status.name() {
            return Reach::AllBut(self.status_resets);
        }
        self.edits.iter().find(|edit| edit.subresource.name() == name).map_or(Reach::ALL, |edit| edit.reach)
    }

    /// Makes of `new` what a write of `…/status` may not change what it is in `old`; who says it stays told anew.
    pub fn keep_reset(&self, new: &mut Value, old: &Value) {
        let managed = tree::object_mut(new, "/metadata").and_then(|metadata| tree::remove(metadata, MANAGED));
        for path in self.status_resets {
            tree::keep_at(new, old, path);
        }
        let Some(metadata) = tree::object_mut(new, "/metadata") else { return };
        match managed {
            Some(managed) => metadata[MANAGED] = managed,
            None => _ = tree::remove(metadata, MANAGED),
        }
    }

    /// Whether the cluster does not work without the object of this name.
    pub fn needs(&self, name: &str) -> bool {
        let initial = || (self.initial)().iter().any(|object| tree::text(object, "/metadata/name") == name);
        self.protected.names.contains(&name) || initial()
    }

    /// Takes away what Kubernetes does not take yet, unless the old object has it. Before the object is prepared.
    pub fn drop_disabled(&self, new: &mut Value, old: Option<&Value>) {
        let kind = self.stored();
        disabled::drop_disabled(kind.disabled, new, old);
        let Some(pods) = kind.pod_security.and_then(PodSecurity::pod_spec) else { return };
        if let Some(spec) = new.pointer_mut(&pods) {
            disabled::drop_disabled(pod::DISABLED, spec, old.map(|old| tree::at(old, &pods)));
        }
    }

    /// How the subresource changes the object, if it is one that does.
    pub fn edit(&self, subresource: Subresource) -> Option<&'static Edit> {
        self.edits.iter().find(|edit| edit.subresource == subresource)
    }

    /// The kind of a list of its objects.
    pub fn list_kind(&self) -> String {
        self.list_kind.map_or_else(|| format!("{}List", self.kind), str::to_owned)
    }

    /// The `apiVersion` that its objects are stored under.
    pub fn stored_group_version(&self) -> String {
        match &self.custom {
            Some(custom) => format!("{}/{}", self.group, custom.storage_version),
            None => self.group_version(),
        }
    }

    /// What a selector compares: the selectable fields of an object, by name.
    pub fn field_values(&self, object: &Value) -> BTreeMap<String, String> {
        match &self.custom {
            Some(custom) => custom.field_values(object),
            None => self.fields.iter().map(|field| (field.path.to_owned(), (field.get)(object))).collect(),
        }
    }

    /// The columns of a Table, as it describes them.
    pub fn column_definitions(&self) -> Vec<Value> {
        if let Some(custom) = &self.custom {
            return custom.column_definitions();
        }
        let column = |column: &Column| {
            json!({
                "name": column.name, "type": column.r#type, "format": column.format,
                "description": column.description, "priority": column.priority,
            })
        };
        self.columns.iter().map(column).collect()
    }

    /// The cells of an object's row, one for each column.
    pub fn row(&self, object: &Value, now: DateTime<Utc>) -> Vec<Value> {
        match &self.custom {
            Some(custom) => custom.row(object, now),
            None => (self.cells)(object, now),
        }
    }

    /// What a definition's schema says of an object, `old` being what it replaces; built-in kinds have functions instead.
    /// Rules come last: they make sense only of what has no other faults.
    pub fn validate_schema(&self, object: &Value, old: Option<&Value>, faults: &mut Faults) {
        self.schema().validate(object, old, faults);
        if self.custom.is_some() {
            Custom::validate_scale(self, object, faults);
        }
        self.schema().run_rules(object, old, faults);
    }

    /// What a field selector may name, as Kubernetes lists it: cluster-scoped kinds with own fields know no namespace.
    pub fn selectable(&self) -> Vec<&str> {
        let mut out = vec!["metadata.name"];
        let custom = self.custom.as_ref().map(|custom| custom.fields.as_slice()).unwrap_or_default();
        if self.namespaced || self.fields.is_empty() {
            out.push("metadata.namespace");
        }
        out.extend(self.fields.iter().map(|field| field.path));
        out.extend(custom.iter().map(|(name, _)| name.as_str()));
        out
    }
}
