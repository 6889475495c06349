//! An event of the log as kontiki's own API tells it.

use chrono::SecondsFormat;
use kontiki_kinds::Kinds;
use kontiki_model::{Key, Revision, Status};
use kontiki_raft::{Event, EventKind, Stored};
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use super::{
    at,
    changes::{self, Changes},
};
use crate::{failure, rest};

/// One event: when, what, who and why.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Told {
    pub revision: Revision,
    pub time: String,
    /// `Created`, `Updated` or `Deleted`.
    pub r#type: &'static str,
    pub resource: Named,
    pub author: Author,
    /// The revision that this write reacted to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Revision>,
    /// The revision of the form that this event replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_revision: Option<Revision>,
    /// The place of its entry in the log; events of one transaction share it.
    pub index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// After the change; for a deletion, the last form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<Box<RawValue>>,
    /// Before the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Box<RawValue>>,
    /// A part of it is encrypted with a key that this server does not have.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub encrypted: bool,
}

/// The object that an event is about.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Named {
    /// Empty for what the cluster keeps besides objects, such as claimed addresses.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub api_version: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub kind: &'static str,
    /// As in `deployments.apps`.
    pub resource: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub namespace: String,
    pub name: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub uid: String,
    /// Its path in the API.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub path: String,
}

/// Who asked for a write.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Author {
    pub user: String,
    /// Who really asked, where they acted as `user`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub impersonator: String,
    pub user_agent: String,
    pub verb: String,
    /// Of which part of an object, if not of all.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub subresource: String,
    /// `Audit-Id` of the answer to the request.
    pub request_id: String,
}

/// What is told besides who, when and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Detail {
    pub objects: bool,
    pub changes: bool,
}

impl Told {
    pub fn of(kinds: &Kinds, event: &Event, detail: Detail) -> Result<Self, Status> {
        let (previous, object) = (event.previous.as_ref(), &event.object);
        // A deletion's last form may differ from the one before, by its own doing: that is not what it changed.
        let changes = match (event.kind, previous) {
            (EventKind::Updated, Some(previous)) if detail.changes => difference(previous, object)?,
            _ => None,
        };
        let raw = |stored: &Stored| rest::json(stored).map_err(failure::internal);
        let readable = |stored: &&Stored| detail.objects && !stored.is_sealed();
        let (verb, subresource) = event.author.verb.split_once('/').unwrap_or((&event.author.verb, ""));
        let encrypted = object.is_sealed() || previous.is_some_and(Stored::is_sealed);
        Ok(Told {
            revision: event.revision(),
            time: time(event.time_ms),
            r#type: kind_name(event.kind),
            resource: Named::of(kinds, &object.key, &object.head.uid),
            author: Author {
                user: event.author.user.clone(),
                impersonator: event.author.impersonator.clone(),
                user_agent: event.author.user_agent.clone(),
                verb: verb.to_owned(),
                subresource: subresource.to_owned(),
                request_id: event.author.request_id.clone(),
            },
            cause: event.cause,
            previous_revision: previous.map(|previous| previous.revision),
            index: event.index,
            changes,
            object: Some(object).filter(readable).map(raw).transpose()?,
            previous: previous.filter(readable).map(raw).transpose()?,
            encrypted,
        })
    }
}

/// What an update changed; `None` where a key is missing to tell.
pub(crate) fn difference(previous: &Stored, object: &Stored) -> Result<Option<Changes>, Status> {
    if previous.is_sealed() || object.is_sealed() {
        return Ok(None);
    }
    let tree = |stored: &Stored| serde_json::from_slice::<Value>(&stored.body).map_err(failure::internal);
    Ok(Some(changes::changes(&tree(previous)?, &tree(object)?)))
}

pub(crate) fn kind_name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Created => "Created",
        EventKind::Updated => "Updated",
        EventKind::Deleted => "Deleted",
    }
}

/// RFC 3339, to the millisecond.
pub(crate) fn time(ms: i64) -> String {
    at::time(ms).to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl Named {
    pub fn of(kinds: &Kinds, key: &Key, uid: &str) -> Self {
        let kind = kinds.by_storage_resource(&key.resource);
        let path = kind.as_ref().map(|kind| {
            let root = if kind.group.is_empty() { "/api" } else { "/apis" };
            let namespace =
                if key.namespace.is_empty() { String::new() } else { format!("/namespaces/{}", key.namespace) };
            format!("{root}/{}{namespace}/{}/{}", kind.group_version(), kind.resource, key.name)
        });
        Named {
            api_version: kind.as_ref().map(|kind| kind.group_version()).unwrap_or_default(),
            kind: kind.map_or("", |kind| kind.kind),
            resource: key.resource.clone(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            uid: uid.to_owned(),
            path: path.unwrap_or_default(),
        }
    }
}
