//! DELETE of one object and of a selection of them.

use futures::{StreamExt as _, TryStreamExt as _, stream::FuturesUnordered};
use http::StatusCode;
use kontiki_kinds::Orphans;
use kontiki_model::{Head, Key, Scope, Status};
use kontiki_raft::{Expect, Mutation, Page, ReadError, Stored};
use serde_json::{Value, json};

use super::{
    call::{self, Call},
    claims, conversion,
    deletion::{self, Verdict},
    limits::{DELETE_COLLECTION_PAGE, DELETE_COLLECTION_WIDTH},
    object::{self, text},
    options::{DeleteOptions, ListOptions},
    plan::{self, Change, Effect, Plan, Planned, Write, Written},
    read::{self, Unread, Window},
    render::{self, IncludeObject},
    selection::Selection,
    store::{self, Refusal},
    view::View,
};
use crate::{
    admission::{self, Attributes, Operation, Told},
    content,
    failure::{self, Qualified},
    negotiate::{Form, Offer, Shape},
    request::ApiResponse,
};

/// A DELETE of one object.
pub struct Removal<'a> {
    pub name: &'a str,
    pub options: DeleteOptions,
    /// What the object comes to say on its way out.
    pub last_words: Option<fn(&mut Value)>,
}

pub async fn delete(call: &Call<'_>) -> Result<ApiResponse, Status> {
    let form = call.form(Offer::Object)?;
    let options = DeleteOptions::read(call.request)?;
    let deleted = remove(call, call.name()?, &options).await?;
    let response = answer(call, form, &options, &deleted).await?;
    Ok(told_of_orphans(call, &options, response))
}

/// Who says nothing of dependents may expect them to go.
fn told_of_orphans(call: &Call<'_>, options: &DeleteOptions, mut response: ApiResponse) -> ApiResponse {
    if let (Some(Orphans::Warning(text)), None) = (call.kind.orphans, options.propagation) {
        content::warn(&mut response, text);
    }
    response
}

async fn answer(
    call: &Call<'_>,
    form: Form,
    options: &DeleteOptions,
    deleted: &Written,
) -> Result<ApiResponse, Status> {
    let gone = deleted.effect == Effect::Deleted;
    let code = if !gone && options.cascades { StatusCode::ACCEPTED } else { StatusCode::OK };
    if !gone || call.kind.delete_returns_object {
        let mut left = [deleted.stored.clone()];
        conversion::prepare(call.core, call.kind, &mut left).await?;
        return render::object(call, form, code, &left[0]);
    }
    let mut details = json!({"name": deleted.stored.key.name});
    if !call.kind.group.is_empty() {
        details["group"] = call.kind.group.into();
    }
    details["kind"] = call.kind.resource.into();
    details["uid"] = deleted.stored.head.uid.as_str().into();
    let form = Form { shape: Shape::Object, ..form };
    content::answer_value(code, form, &success(Some(details), None))
}

/// A `Status` that says yes.
pub fn success(details: Option<Value>, code: Option<StatusCode>) -> Value {
    let mut status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    if let Some(details) = details {
        status["details"] = details;
    }
    if let Some(code) = code {
        status["code"] = code.as_u16().into();
    }
    status
}

/// Deletes one object, or begins to.
pub async fn remove(call: &Call<'_>, name: &str, options: &DeleteOptions) -> Result<Written, Status> {
    plan::carry_out(call, name, &Removal { name, options: options.clone(), last_words: None }, options.dry_run).await
}

impl Write for Removal<'_> {
    fn plan<'a>(&'a self, call: &'a Call<'a>, view: &'a View<'a>) -> Planned<'a> {
        Box::pin(self.decide(call, view))
    }
}

impl Removal<'_> {
    async fn decide(&self, call: &Call<'_>, view: &View<'_>) -> Result<Plan, Refusal> {
        let protected = call.kind.protected;
        if protected.names.contains(&self.name) {
            return Err(Refusal::Final(failure::forbidden(call.resource(), self.name, protected.why)));
        }
        let key = call.key(self.name);
        let current = view.get(&key).map_err(|error| store::read_failed(&error))?;
        let current = current.ok_or_else(|| Refusal::Judged(call.not_found(self.name)))?;
        let mut object = object::open(&current)?;
        preconditions(call, &object, &self.options).map_err(Refusal::Judged)?;
        let (attributes, mut told) = (Attributes::new(call, view, Operation::Delete, self.name), Told::default());
        let mut change = Change::default();
        admission::restrict(&attributes, None, Some(&object))?;
        // An eviction was judged as what it is.
        if attributes.subresource.is_empty() {
            admission::mutate(&attributes, None, Some(&object), &mut told).await?;
            admission::validate(&attributes, None, Some(&object), &mut told, &mut change).await?;
        }
        if text(&object, "/metadata/deletionTimestamp").is_empty() {
            (call.kind.prepare_delete)(&mut object, &call::time_text(call::now()));
        }
        self.last_words.inspect(|say| say(&mut object));
        let verdict = deletion::decide(call.kind, &object, &self.options, call::now());
        if verdict != Verdict::Already {
            change.expect(&key, Expect::Revision(current.revision));
        }
        let (effect, object) = match verdict {
            Verdict::Already => (Effect::Unchanged, current),
            Verdict::Mark(marked) => {
                let sealed = object::seal_as_it_is(call.kind, marked)?;
                change.put(&key, &sealed);
                (Effect::Updated, plan::uncommitted(key, current.revision, sealed))
            }
            Verdict::Remove(last) => {
                claims::release(view, call.kind, &object, &mut change)?;
                let last = last.or_else(|| self.last_words.map(|_| object));
                let last = last.map(|last| object::seal_as_it_is(call.kind, last)).transpose()?;
                let form = last.as_ref().map(|sealed| (sealed.head.clone(), sealed.body.to_vec()));
                change.mutations.push(Mutation::Delete { key: key.clone(), last: form });
                let last = last.map(|sealed| plan::uncommitted(key, current.revision, sealed));
                (Effect::Deleted, last.unwrap_or(current))
            }
        };
        Ok(Plan { effect, object, change, warnings: told.warnings })
    }
}

/// The uid and the `resourceVersion` that the client relies on.
pub fn preconditions(call: &Call<'_>, object: &Value, options: &DeleteOptions) -> Result<(), Status> {
    let uid = text(object, "/metadata/uid");
    let revision = text(object, "/metadata/resourceVersion");
    let why = match (&options.uid, &options.resource_version) {
        (Some(wanted), _) if wanted != uid => format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been \
             deleted and then recreated"
        ),
        (_, Some(wanted)) if wanted != revision => format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record \
             ({revision}). The object might have been modified"
        ),
        _ => return Ok(()),
    };
    let kind = Qualified { group: call.kind.group, resource: call.kind.kind };
    Err(failure::conflict(kind, text(object, "/metadata/name"), &why))
}

/// Deletes what a list with the same options shows; the answer is that list.
pub async fn delete_collection(call: &Call<'_>) -> Result<ApiResponse, Status> {
    let form = call.form(Offer::Collection)?;
    let list = ListOptions::read(call.request, false)?;
    let selection = Selection::read(call, &list)?;
    let plan = read::Plan::new(call, &list)?;
    if let Some(token) = plan.expired() {
        return read::expired(form, token);
    }
    let options = DeleteOptions::read(call.request)?;
    // What is deleted is told as it was then.
    if let Some(refusal) = plan.at.map(|at| call.is_beyond(at)).transpose()?.flatten() {
        return Err(refusal);
    }
    let after = plan.token.clone();
    let mut deleted = match remove_all(call, &selection, plan, &options).await {
        Err(unread) => return unread.answer(form, after),
        Ok(deleted) => deleted,
    };
    conversion::prepare(call.core, call.kind, &mut deleted.items).await?;
    let meta = read::list_meta(&deleted);
    let response = render::list(call.kind, form, IncludeObject::Metadata, deleted.items, &meta, call.now())?;
    Ok(told_of_orphans(call, &options, response))
}

/// Deletes what a selection holds, some at a time; says what that was, as one page of a list. If the state that it was begun on is
/// forgotten meanwhile, what is there by then is meant by the rest.
async fn remove_all(
    call: &Call<'_>,
    selection: &Selection,
    plan: read::Plan,
    options: &DeleteOptions,
) -> Result<Page, Unread> {
    read::reach(call, plan.as_of).await?;
    let (mut at, mut deleted) = (plan.at, Page { items: Vec::new(), revision: 0, rest: None });
    let (mut rest, mut begun) = (plan.token.map(|token| token.rest), false);
    loop {
        let left = plan.limit.map_or(usize::MAX, |limit| limit - deleted.items.len());
        let window = Window { at, rest: rest.clone(), limit: Some(left.min(DELETE_COLLECTION_PAGE)) };
        let page = match read::selected(call.core, &call.route.kind, (&call.scope(), selection), window).await {
            Err(Unread::Log(ReadError::Compacted { .. })) if begun && plan.at.is_none() && at.is_some() => {
                at = None;
                continue;
            }
            page => page?,
        };
        (at, begun) = (Some(page.revision), true);
        let mut running = FuturesUnordered::new();
        for Stored { key, head, .. } in &page.items {
            if running.len() == DELETE_COLLECTION_WIDTH {
                running.try_next().await?;
            }
            running.push(remove_if_there(call, options, (key, head)));
        }
        while running.try_next().await?.is_some() {}
        drop(running);
        deleted.items.extend(page.items);
        (deleted.revision, deleted.rest) = (page.revision, page.rest);
        if deleted.rest.is_none() || plan.limit.is_some_and(|limit| deleted.items.len() >= limit) {
            return Ok(deleted);
        }
        rest = deleted.rest.clone();
    }
}

/// Deletes what there is of a kind, in all namespaces, and nobody has deleted yet. One object that cannot be deleted keeps no other:
/// why the first could not be is told at the end.
pub async fn empty(call: &Call<'_>) -> Result<(), Status> {
    let scope = Scope { resource: call.kind.storage_resource(), namespace: None };
    let mut left = call.core.log.heads(&scope);
    left.retain(|(_, _, head)| head.deletion.is_none());
    let (options, mut outcome) = (DeleteOptions::default(), Ok(()));
    let mut running = FuturesUnordered::new();
    for (key, _, head) in &left {
        if running.len() == DELETE_COLLECTION_WIDTH
            && let Some(one) = running.next().await
        {
            outcome = outcome.and(one);
        }
        running.push(remove_if_there(call, &options, (key, head)));
    }
    while let Some(one) = running.next().await {
        outcome = outcome.and(one);
    }
    outcome
}

async fn remove_if_there(call: &Call<'_>, options: &DeleteOptions, (key, head): (&Key, &Head)) -> Result<(), Status> {
    // Across namespaces, each object is deleted in its own.
    let route = crate::request::ResourceRequest {
        namespace: Some(key.namespace.clone()).filter(|namespace| !namespace.is_empty()),
        ..call.route.clone()
    };
    let call = Call { route: &route, ..*call };
    // Never one of the same name that came later.
    let options = DeleteOptions { uid: Some(head.uid.clone()), ..options.clone() };
    match remove(&call, &key.name, &options).await {
        Err(status) if call.core.log.head(key).is_some_and(|(_, there)| there.uid == head.uid) => Err(status),
        // Somebody else was faster, or another object has the name now.
        Ok(_) | Err(_) => Ok(()),
    }
}
