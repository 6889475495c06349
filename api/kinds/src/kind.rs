//! What the API server must know of a kind. One declaration per kind; everything generic derives from it.

use chrono::{DateTime, Utc};
use kontiki_model::{Fault, Faults};
use serde_json::Value;

/// One kind, declared. All functions are pure and get objects that passed the schema (right types, known fields).
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
    /// Spec changes raise `metadata.generation`.
    pub generation: bool,
    pub subresources: &'static [Subresource],
    pub deletion: Deletion,
    /// DELETE answers with the object instead of a Status.
    pub delete_returns_object: bool,
    /// An update may name an object that does not exist and so create it.
    pub create_on_update: bool,
    /// Selectable fields besides `metadata.name` and `metadata.namespace`.
    pub fields: &'static [Field],
    pub columns: &'static [Column],
    /// One value per column. `now` gives ages.
    pub cells: fn(&Value, DateTime<Utc>) -> Vec<Value>,
    /// Fills what the schema's own defaults cannot: values that depend on other fields. Idempotent.
    pub default: fn(&mut Value),
    /// Before a create: resets what a client may not set (status), sets the initial state.
    pub prepare_create: fn(&mut Value),
    /// Before an update of the main resource: `(new, old)`; keeps what a client may not change (status).
    pub prepare_update: fn(&mut Value, &Value),
    /// Before an update of `…/status`: `(new, old)`; keeps all but the status.
    pub prepare_status: fn(&mut Value, &Value),
    pub validate: fn(&Value, &mut Faults),
    /// `(new, old)`: immutable fields and the like, on top of `validate`.
    pub validate_update: fn(&Value, &Value, &mut Faults),
    /// Cluster-wide values that this object must be the only one to hold.
    pub claims: fn(&Value) -> Vec<Claim>,
    /// Warnings to the client about a valid object (deprecated fields, surprising values).
    pub warnings: fn(&Value) -> Vec<String>,
    pub retention: Retention,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain, up to 253 characters.
    Subdomain,
    /// RFC 1123 label, up to 63 characters.
    Label,
    /// RFC 1035 label (Services).
    Rfc1035Label,
    /// Any path segment (RBAC).
    PathSegment,
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

/// A subresource and what serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subresource {
    Status,
    /// `autoscaling/v1 Scale` over `spec.replicas`, `status.replicas` and the selector.
    Scale,
    /// `pods/binding`.
    Binding,
    /// `namespaces/finalize`.
    Finalize,
    /// `pods/log`: proxied to the node agent.
    Log,
    /// `pods/exec` and `pods/attach`, `pods/portforward`: upgraded and proxied to the node agent.
    Exec,
    /// `pods/eviction`.
    Eviction,
    /// `nodes/proxy`.
    NodeProxy,
    /// `serviceaccounts/token`.
    Token,
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

/// A value from a pool that only one object may hold: a cluster address, a node port.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    pub pool: Pool,
    /// Where the value stands in the object, as a JSON pointer.
    pub pointer: String,
    /// The value asked for; `None` lets the server choose.
    pub value: Option<String>,
    /// The fault to report when the value is taken or outside the pool; its detail is completed by the server.
    pub fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pool {
    ClusterIp,
    NodePort,
}

/// How long history keeps changes of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    Normal,
    /// Leases and Events.
    Short,
}
