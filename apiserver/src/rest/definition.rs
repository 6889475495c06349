//! What a definition of kinds comes to as it is written, and what a write of a custom object relies on: that its kind is still the
//! one by which it was read and judged.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use kontiki_kinds::{
    Custom, Kind, Kinds, custom,
    customresourcedefinition::{self, KIND},
};
use kontiki_model::{Head, Key, Revision, Status};
use kontiki_raft::Expect;
use serde_json::{Value, json};

use super::{
    call::{self, Call},
    object::{self, Sealed, text},
    ownership::Managed,
    plan::{self, Change, Effect, Plan, Planned, Write},
    store::{self, Refusal},
    update::{Rules, Update, Wanted},
    view::View,
};
use crate::{
    Core, bootstrap, definitions, failure,
    request::{ApiRequest, ResourceRequest},
};

/// A key for each group, written whenever names in it are accepted: of two who accept at the same time, the second looks again.
const NAMES: &str = "definednames.kontiki.dev";

/// The definition stays as it is until the write is applied: nothing is left behind of a kind that has gone, or in another's form.
pub fn stays(kind: &Kind, change: &mut Change) {
    if let Some((key, revision)) = defined(kind) {
        change.expect(&key, Expect::Revision(revision));
    }
}

/// Whether the kind is another one by now, or no more.
pub fn is_over(core: &Core, kind: &Kind) -> bool {
    defined(kind).is_some_and(|(key, revision)| core.log.head(&key).is_none_or(|(now, _)| now != revision))
}

/// What defines a custom kind, which is named as the kind is stored.
fn defined(kind: &Kind) -> Option<(Key, Revision)> {
    let custom = kind.custom.as_ref()?;
    Some((key(&kind.storage_resource()), custom.since))
}

/// Whether a key says no more than that names were accepted.
pub fn is_of_names(key: &Key) -> bool {
    key.resource == NAMES
}

pub fn key(name: &str) -> Key {
    Key::new(KIND.storage_resource(), "", name)
}

/// The kinds that are served once what is seen here is committed.
pub fn kinds(core: &Core, view: &View<'_>) -> Result<Kinds, Status> {
    let served = core.kinds();
    let stays = |kind: &&Arc<Kind>| defined(kind).is_none_or(|(key, _)| !view.is_pending(&key));
    let mut all: Vec<Arc<Kind>> = served.custom().iter().filter(stays).cloned().collect();
    for stored in view.pending(&definitions::resource()) {
        all.extend(custom::served(&object::open(stored)?, Custom::UNWRITTEN));
    }
    Ok(Kinds::with(all))
}

/// Refuses a kind that a transaction's own definition was to define, and another one has: what was meant is not what would be written.
pub fn is_own(view: &View<'_>, kind: &Kind) -> Result<(), Status> {
    if kind.custom.as_ref().is_none_or(|custom| custom.since == Custom::UNWRITTEN) {
        return Ok(());
    }
    let names = |definition: &Value| {
        text(definition, "/spec/group") == kind.group && text(definition, "/spec/names/kind") == kind.kind
    };
    let why = unserved(view, names)?;
    if why.is_empty() {
        return Ok(());
    }
    let message = format!("no matches for kind {:?} in version {:?}{why}", kind.kind, kind.group_version());
    Err(Status { message, ..failure::no_such_resource() })
}

/// Why kinds of such definitions that a transaction writes are not served, in words to be added to a refusal.
pub fn unserved(view: &View<'_>, such: impl Fn(&Value) -> bool) -> Result<String, Status> {
    let mut words = String::new();
    for stored in view.pending(&definitions::resource()) {
        let definition = object::open(stored)?;
        if !such(&definition) || custom::is_true(&definition, "Established") {
            continue;
        }
        let conditions = definition["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let why = conditions.iter().find(|one| one["type"] == "NamesAccepted").map_or("", |one| text(one, "/message"));
        words.push_str(&format!(": its definition {:?} is not served: {why}", stored.key.name));
    }
    Ok(words)
}

/// What the server says of a definition beside all others: names go to whoever was accepted first.
pub struct Settlement<'a> {
    pub name: &'a str,
}

impl Write for Settlement<'_> {
    fn plan<'a>(&'a self, call: &'a Call<'a>, view: &'a View<'a>) -> Planned<'a> {
        Box::pin(async move {
            let key = key(self.name);
            let current = view.get(&key).map_err(|error| store::read_failed(&error))?;
            let current = current.ok_or_else(|| Refusal::Judged(call.not_found(self.name)))?;
            let definition = object::open(&current)?;
            let names = Key::new(NAMES, "", text(&definition, "/spec/group"));
            // Before it is asked who has which names.
            let accepted = view.head(&names).map(|(revision, _)| revision);
            let others = others(call.core, view).await?;
            let settled = match text(&definition, "/metadata/deletionTimestamp") {
                "" => customresourcedefinition::settle(&definition, &others, &call::time_text(call::now())),
                _ => None,
            };
            let Some(settled) = settled else {
                let (effect, change) = (Effect::Unchanged, Change::default());
                return Ok(Plan { effect, object: current, change, warnings: Vec::new() });
            };
            let settled = settled.definition;
            let has_new_names = settled["status"]["acceptedNames"] != definition["status"]["acceptedNames"];
            let make = |_: Option<&Value>| {
                Ok(Wanted { object: settled.clone(), warnings: Vec::new(), managed: Managed::ByChange })
            };
            let update = Update { name: self.name, rules: Rules::Status, make: &make, uid_is_precondition: true };
            let mut plan = update.plan(call, view).await?;
            if has_new_names {
                plan.change.expect(&names, accepted.map_or(Expect::Absent, Expect::Revision));
                plan.change.put(&names, &last_named(&settled));
            }
            Ok(plan)
        })
    }
}

/// The definitions in outline, as they are seen here.
async fn others(core: &Arc<Core>, view: &View<'_>) -> Result<Vec<Value>, Status> {
    definitions::refresh_apart(core).await?;
    let mut all = core.definitions.outlines();
    all.retain(|one| !view.is_pending(&key(text(one, "/metadata/name"))));
    for stored in view.pending(&definitions::resource()) {
        all.push(object::open(stored)?);
    }
    Ok(all)
}

fn last_named(definition: &Value) -> Sealed {
    let uid = text(definition, "/metadata/uid").to_owned();
    let body = json!({"resource": KIND.storage_resource(), "name": definition["metadata"]["name"], "uid": uid});
    Sealed { head: Head { uid, ..Head::default() }, body: Bytes::from(body.to_string()) }
}

/// The write of a definition's status as this server itself.
pub fn own(name: &str) -> (ApiRequest, ResourceRequest) {
    let route = ResourceRequest {
        kind: (&KIND).into(),
        namespace: None,
        name: Some(name.to_owned()),
        subresource: Some("status".to_owned()),
        rest: String::new(),
        verb: "update",
    };
    (bootstrap::own_request(Method::PUT, String::new()), route)
}

/// Writes what a definition has come to. That somebody else was faster is no fault: their write is looked at next.
pub async fn settle(core: &Arc<Core>, name: &str) -> Result<Effect, Status> {
    let (request, route) = own(name);
    let request = request.caused_by(core.log.head(&key(name)).map(|(revision, _)| revision));
    match plan::carry_out(&Call::new(core, &route, &request), name, &Settlement { name }, false).await {
        Ok(written) => Ok(written.effect),
        Err(status) if matches!(status.code, 404 | 409) => Ok(Effect::Unchanged),
        Err(status) => Err(status),
    }
}
