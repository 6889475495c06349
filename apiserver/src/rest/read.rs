//! GET of one object and of a collection, now or in the past.

use chrono::Utc;
use http::StatusCode;
use kontiki_kinds::KindRef;
use kontiki_model::{Head, Key, Revision, Scope, Status};
use kontiki_raft::{self as raft, Log, Page, ReadError, Stored};

use super::{
    call::Call,
    conversion,
    limits::{CONVERSION_BATCH_OBJECTS, SELECTED_ATTEMPTS_MAX},
    options::{ListOptions, Match, go_number_error},
    render::{self, ListMeta},
    selection::Selection,
    store,
    token::Token,
};
use crate::{
    Core, content, failure,
    negotiate::{Form, Offer},
    request::ApiResponse,
};

/// The state a read shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// Everything acknowledged before the request.
    Newest,
    /// What this server has.
    Local,
    NotOlderThan(Revision),
    Exact(Revision),
}

pub async fn get(call: &Call<'_>) -> Result<ApiResponse, Status> {
    let form = call.form(Offer::Object)?;
    let name = call.name()?;
    let as_of = match call.request.query_value("resourceVersion").unwrap_or("") {
        "" => AsOf::Newest,
        text => match number(text).map_err(failure::unexpected)? {
            0 => AsOf::Local,
            revision => AsOf::NotOlderThan(revision),
        },
    };
    let mut found = [stored(call, name, as_of).await?];
    conversion::prepare(call.core, call.kind, &mut found).await?;
    render::object(call, form, StatusCode::OK, &found[0])
}

/// One object in the state that the request asks for.
pub async fn stored(call: &Call<'_>, name: &str, as_of: AsOf) -> Result<Stored, Status> {
    let (log, key) = (&call.core.log, call.key(name));
    if let Some(refusal) = call.request.at.map(|past| call.is_beyond(past.revision)).transpose()?.flatten() {
        return Err(refusal);
    }
    let found = match (call.request.at.map(|past| past.revision), as_of) {
        (Some(past), AsOf::NotOlderThan(revision)) if revision > past => return Err(store::too_large(revision, past)),
        (Some(past), _) => log.get_at(&key, past),
        (None, as_of) => {
            reach(call, as_of).await?;
            log.get(&key)
        }
    };
    let found = found.map_err(|error| store::read_failed(&error))?;
    found.ok_or_else(|| call.not_found(name))
}

/// A `resourceVersion`, or why it is none.
pub fn number(text: &str) -> Result<Revision, String> {
    text.parse().map_err(|error| {
        format!("resourceVersion: Invalid value: {text:?}: {}", go_number_error("ParseUint", text, &error))
    })
}

/// Waits until the local state may answer.
pub async fn reach(call: &Call<'_>, as_of: AsOf) -> Result<(), Status> {
    let wanted = match as_of {
        AsOf::Local => return Ok(()),
        AsOf::Newest if call.request.is_present => return Ok(()),
        AsOf::Newest => 0,
        AsOf::NotOlderThan(revision) | AsOf::Exact(revision) if revision <= call.core.log.revision() => return Ok(()),
        AsOf::NotOlderThan(revision) | AsOf::Exact(revision) => revision,
    };
    // Behind the barrier is all that was ever acknowledged, so what is not there does not exist.
    let current = store::barrier(call.core).await?;
    if wanted > current { Err(store::too_large(wanted, current)) } else { Ok(()) }
}

pub async fn list(call: &Call<'_>) -> Result<ApiResponse, Status> {
    let form = call.form(Offer::Collection)?;
    let options = ListOptions::read(call.request, false)?;
    let selection = Selection::read(call, &options)?;
    let include = render::check_list_form(call, form)?;
    let mut plan = Plan::new(call, &options)?;
    match call.request.at {
        // What was does not change any more.
        Some(past) => plan = plan.below(past.revision)?,
        None => {
            if let Some(token) = plan.expired() {
                return expired(form, token);
            }
        }
    }
    reach(call, plan.as_of).await?;
    if let Some(refusal) = plan.at.map(|at| call.is_beyond(at)).transpose()?.flatten() {
        return Err(refusal);
    }
    let (log, scope, kind) = (call.core.log.clone(), call.scope(), call.route.kind.clone());
    let after = plan.token.clone();
    let now = call.now();
    let rendered = move |page: Page| {
        let meta = list_meta(&page);
        render::list(&kind, form, include, page.items, &meta, now)
    };
    let window = Window { at: plan.at, rest: plan.token.map(|token| token.rest), limit: plan.limit };
    if conversion::is_possible(call.kind) || selection.is_of_version() {
        let mut page = match selected(call.core, &call.route.kind, (&scope, &selection), window).await {
            Err(unread) => return unread.answer(form, after),
            Ok(page) => page,
        };
        conversion::prepare(call.core, call.kind, &mut page.items).await?;
        return tokio::task::spawn_blocking(move || rendered(page)).await.map_err(failure::internal)?;
    }
    // Read and written in one go: long lists cost milliseconds of copying, and others wait for this thread.
    let listed = tokio::task::spawn_blocking(move || page(&log, &scope, &selection, window).map(rendered));
    listed.await.map_err(failure::internal)?.unwrap_or_else(|error| Unread::Log(error).answer(form, after))
}

/// Where a page begins and ends.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// The past state at this revision.
    pub at: Option<Revision>,
    /// What an earlier page left.
    pub rest: Option<raft::Rest>,
    pub limit: Option<usize>,
}

/// Why there is no page.
#[derive(Debug)]
pub enum Unread {
    Log(ReadError),
    Untold(Status),
}

impl Unread {
    /// Why there is no page behind a token; where its state is forgotten, with a token that goes on in the present.
    pub fn answer(self, form: Form, after: Option<Token>) -> Result<ApiResponse, Status> {
        match (self, after) {
            (Unread::Log(ReadError::Compacted { .. }), Some(token)) => expired(form, token),
            (unread, _) => Err(unread.into()),
        }
    }
}

impl From<Status> for Unread {
    fn from(status: Status) -> Self {
        Unread::Untold(status)
    }
}

impl From<Unread> for Status {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Log(error) => store::read_failed(&error),
            Unread::Untold(status) => status,
        }
    }
}

/// One page of a selection; where that asks for the version of the request, as this version tells it. That takes its time: if the
/// present that it was to be of is forgotten by then, it is of another.
pub async fn selected(
    core: &Core,
    kind: &KindRef,
    (scope, selection): (&Scope, &Selection),
    window: Window,
) -> Result<Page, Unread> {
    if !selection.is_of_version() {
        return by_head(core, (scope, selection), window).await;
    }
    let attempts = if window.at.is_none() { SELECTED_ATTEMPTS_MAX } else { 1 };
    for _ in 1..attempts {
        match by_version(core, kind, (scope, selection), window.clone()).await {
            Err(Unread::Log(ReadError::Compacted { .. })) => {}
            page => return page,
        }
    }
    by_version(core, kind, (scope, selection), window).await
}

/// Looks at batches of one state for as long as the page has room.
async fn by_version(
    core: &Core,
    kind: &KindRef,
    (scope, selection): (&Scope, &Selection),
    window: Window,
) -> Result<Page, Unread> {
    let Window { mut at, mut rest, limit } = window;
    let mut items = Vec::new();
    loop {
        let window = Window { at, rest, limit: Some(CONVERSION_BATCH_OBJECTS) };
        let page = by_head(core, (scope, selection), window).await?;
        let mut told = conversion::all_told(core, kind, page.items).await.map_err(Unread::Untold)?;
        told.retain(|item| selection.matches_told(&item.head));
        items.append(&mut told);
        let revision = page.revision;
        if let Some(limit) = limit.filter(|limit| items.len() > *limit) {
            items.truncate(limit);
            let rest = items.last().map(|item| raft::Rest { after: item.key.clone(), left: None });
            return Ok(Page { items, revision, rest });
        }
        if page.rest.is_none() {
            return Ok(Page { items, revision, rest: None });
        }
        (at, rest) = (Some(revision), page.rest);
    }
}

/// Long lists cost milliseconds of copying: not on a thread that others wait for.
async fn by_head(core: &Core, (scope, selection): (&Scope, &Selection), window: Window) -> Result<Page, Unread> {
    let (log, scope, selection) = (core.log.clone(), scope.clone(), selection.clone());
    let read = tokio::task::spawn_blocking(move || page(&log, &scope, &selection, window)).await;
    read.map_err(|error| Unread::Untold(failure::internal(error)))?.map_err(Unread::Log)
}

/// One page of a selection by heads. A selection of one name is looked up instead of searched for.
fn page(
    log: &Log,
    scope: &Scope,
    selection: &Selection,
    Window { at, rest, limit }: Window,
) -> Result<Page, ReadError> {
    if let (None, None, Some(name), Some(namespace)) = (at, &rest, selection.only_name(), &scope.namespace) {
        let revision = log.revision();
        let found = log.get(&Key::new(scope.resource.as_str(), namespace.as_str(), name))?;
        let items: Vec<_> = found.into_iter().filter(|found| selection.matches(&found.key, &found.head)).collect();
        // Of this one key, nothing else can have happened up to here.
        let revision = items.first().map_or(revision, |item| revision.max(item.revision));
        return Ok(Page { items, revision, rest: None });
    }
    let matches = |key: &Key, head: &Head| selection.matches(key, head);
    // Of everything a page takes as long as it is, not as there is.
    let filter = (!selection.is_everything()).then_some(&matches as raft::Filter<'_>);
    log.list(scope, raft::ListOptions { rest, limit, at, filter })
}

/// Which page of which state a list shows.
pub struct Plan {
    pub as_of: AsOf,
    pub at: Option<Revision>,
    pub token: Option<Token>,
    pub limit: Option<usize>,
}

impl Plan {
    pub fn new(call: &Call<'_>, options: &ListOptions) -> Result<Self, Status> {
        let limit = usize::try_from(options.limit).ok().filter(|limit| *limit > 0);
        let text = options.resource_version.as_str();
        if !options.token.is_empty() {
            if !matches!(text, "" | "0") {
                let message = "specifying resource version is not allowed when using continue";
                return Err(failure::bad_request(message));
            }
            let token = Token::decode(&options.token, &call.scope())?;
            let at = token.revision;
            let as_of = at.map_or(AsOf::Newest, AsOf::Exact);
            return Ok(Plan { as_of, at, token: Some(token), limit });
        }
        let invalid = |why: String| failure::bad_request(format!("invalid resource version: {why}"));
        let revision = if text.is_empty() { 0 } else { number(text).map_err(invalid)? };
        let (as_of, at, limit) = match (text, revision, options.resource_version_match) {
            ("", ..) => (AsOf::Newest, None, limit),
            // From any state, all at once: Kubernetes does not page what it serves from its cache.
            (_, 0, _) => (AsOf::Local, None, None),
            (_, revision, Match::Exact) => (AsOf::Exact(revision), Some(revision), limit),
            // An older rule, from before there was a choice: a limit makes it exact.
            (_, revision, Match::Unset) if limit.is_some() => (AsOf::Exact(revision), Some(revision), limit),
            (_, revision, Match::Unset | Match::NotOlderThan) => (AsOf::NotOlderThan(revision), None, limit),
        };
        Ok(Plan { as_of, at, token: None, limit })
    }

    /// The token that it goes on from, if that is too old.
    pub fn expired(&self) -> Option<Token> {
        self.token.clone().filter(|token| token.is_expired(Utc::now()))
    }

    /// The same of a past state, where there is no newer revision.
    fn below(self, past: Revision) -> Result<Self, Status> {
        let at = match self.as_of {
            AsOf::Newest | AsOf::Local => past,
            AsOf::NotOlderThan(revision) | AsOf::Exact(revision) if revision > past => {
                return Err(store::too_large(revision, past));
            }
            AsOf::NotOlderThan(_) => past,
            AsOf::Exact(revision) => revision,
        };
        Ok(Plan { as_of: AsOf::Exact(at), at: Some(at), ..self })
    }
}

pub fn list_meta(page: &Page) -> ListMeta {
    let token = |rest: &raft::Rest| {
        Token { rest: rest.clone(), revision: Some(page.revision), made: Some(Utc::now()) }.encode()
    };
    ListMeta {
        revision: page.revision,
        token: page.rest.as_ref().map(token).unwrap_or_default(),
        remaining: page.rest.as_ref().and_then(|rest| rest.left),
    }
}

pub fn expired(form: Form, token: Token) -> Result<ApiResponse, Status> {
    let message = "The provided continue parameter is too old to display a consistent list result. You can start a new \
                   list without the continue parameter, or use the continue token in this response to retrieve the \
                   remainder of the results. Continuing with the provided token results in an inconsistent list - \
                   objects that were created, modified, or deleted between the time the first chunk was returned and \
                   now may show up in the list.";
    let mut status = content::status_value(&failure::expired(message));
    status["metadata"]["continue"] =
        Token { revision: None, rest: raft::Rest { left: None, ..token.rest }, made: None }.encode().into();
    content::answer_value(StatusCode::GONE, form, &status)
}
