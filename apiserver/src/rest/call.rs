//! One request below a resource, with what every verb asks of it: the kind, the place, the words of its failures.

use std::{borrow::Cow, sync::Arc};

use chrono::{DateTime, SubsecRound, Utc};
use kontiki_kinds::Kind;
use kontiki_model::{Faults, Key, Revision, Scope, Status};
use kontiki_schema::Schema;
use serde_json::Value;

use super::{conversion::Forms, object};
use crate::{
    Core,
    admission::NAMESPACES,
    authz::{self, Question},
    failure::{self, Qualified},
    kontiki::horizon,
    negotiate::{self, Form, Offer},
    request::{ApiRequest, ResourceRequest},
    route::{ResourceInfo, Target},
};

#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub core: &'a Arc<Core>,
    pub route: &'a ResourceRequest,
    pub request: &'a ApiRequest,
    pub kind: &'a Kind,
    /// Of a write: its object in other versions.
    pub forms: Option<&'a Forms>,
}

/// What a request body must be: the kind itself, or what a subresource takes.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
    pub schema: Schema<'a>,
}

impl<'a> Call<'a> {
    pub fn new(core: &'a Arc<Core>, route: &'a ResourceRequest, request: &'a ApiRequest) -> Self {
        Call { core, route, request, kind: &route.kind, forms: None }
    }

    /// `pods`, `deployments.apps`: how most failures name the object.
    pub fn resource(&self) -> Qualified<'static> {
        Qualified { group: self.kind.group, resource: self.kind.resource }
    }

    /// `Pod`, `Deployment.apps`: how Invalid names it.
    pub fn group_kind(&self) -> Qualified<'static> {
        Qualified { group: self.kind.group, resource: self.kind.kind }
    }

    /// The namespace of the path; empty for cluster-scoped kinds.
    pub fn namespace(&self) -> &'a str {
        match self.kind.namespaced {
            true => self.route.namespace.as_deref().unwrap_or(""),
            false => "",
        }
    }

    pub fn name(&self) -> Result<&'a str, Status> {
        self.route.name.as_deref().ok_or_else(|| failure::bad_request("the path names no object"))
    }

    pub fn key(&self, name: &str) -> Key {
        Key::new(self.kind.storage_resource(), self.namespace(), name)
    }

    /// What a list or a watch of this path covers.
    pub fn scope(&self) -> Scope {
        let namespace = self.route.namespace.clone().filter(|_| self.kind.namespaced);
        Scope { resource: self.kind.storage_resource(), namespace }
    }

    pub fn expected(&self) -> Expected<'a> {
        Expected {
            group: self.kind.group,
            version: self.kind.version,
            kind: self.kind.kind,
            schema: self.kind.schema(),
        }
    }

    /// The form of the answer, of those that the kind's objects have.
    pub fn form(&self, offer: Offer) -> Result<Form, Status> {
        match self.kind.custom {
            Some(_) => negotiate::negotiate_untyped(self.request, offer),
            None => negotiate::negotiate(self.request, offer),
        }
    }

    /// How the log calls what is asked for: `update`, and for a part of an object `update/status`.
    pub fn authors_verb(&self) -> Cow<'static, str> {
        match &self.route.subresource {
            Some(subresource) => format!("{}/{subresource}", self.route.verb).into(),
            None => self.route.verb.into(),
        }
    }

    /// Whoever may update or patch may not create for that reason.
    pub fn may_create(&self) -> Result<(), Status> {
        let target = Target::Resource(self.target());
        let identity = &self.request.identity;
        authz::authorize(self.core, Question { identity, verb: "create", target: &target, field_selector: "" })
    }

    /// Why a revision is not told of to who asks, who may have the present of this.
    pub fn is_beyond(&self, revision: Revision) -> Result<Option<Status>, Status> {
        let mut target = self.target();
        target.subresource = self.route.subresource.clone().unwrap_or_default();
        if self.kind.resource == NAMESPACES.resource && self.kind.group.is_empty() {
            // A namespace is in itself.
            target.namespace.clone_from(&target.name);
        }
        let target = Target::Resource(target);
        let field_selector = self.request.query_value("fieldSelector").unwrap_or_default();
        let question =
            Question { identity: &self.request.identity, verb: self.route.verb, target: &target, field_selector };
        horizon::refusal(self.core, question, revision)
    }

    fn target(&self) -> ResourceInfo {
        ResourceInfo {
            group: self.kind.group.to_owned(),
            version: self.kind.version.to_owned(),
            namespace: self.namespace().to_owned(),
            resource: self.kind.resource.to_owned(),
            name: self.route.name.clone().unwrap_or_default(),
            ..ResourceInfo::default()
        }
    }

    /// The moment that ages count to.
    pub fn now(&self) -> DateTime<Utc> {
        self.request.at.map_or_else(Utc::now, |past| past.time)
    }

    pub fn not_found(&self, name: &str) -> Status {
        failure::not_found(self.resource(), name)
    }

    pub fn modified(&self, name: &str) -> Status {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        failure::conflict(self.resource(), name, why)
    }

    /// An error if there are faults.
    pub fn valid(&self, object: &Value, faults: &Faults) -> Result<(), Status> {
        if faults.is_empty() {
            return Ok(());
        }
        Err(failure::invalid(self.group_kind(), object::text(object, "/metadata/name"), faults))
    }
}

/// The time as objects carry it: whole seconds.
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(0)
}

pub fn time_text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
