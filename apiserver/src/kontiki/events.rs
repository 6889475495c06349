//! `events`: the log as a stream, one line of JSON per event, in revision order, each once, without a gap.
//!
//! Query: `from` (a revision, an RFC 3339 time, or `start`; absent: now), `resource` (as in `pods` or `deployments.apps`,
//! repeated; absent: all), `namespace`, `class=lasting` (without what is kept shortly: Events, Leases), `objects=false`,
//! `timeoutSeconds`. It begins with a line of type `Begin`. Lines of type `Progress` say up to which revision nothing was left
//! out; one comes whenever the stream has caught up and every few seconds, so that a silent server is noticed. A stream that
//! cannot go on ends with a line of type `Error`; like a watch, any ends after a while, and its client goes on with another
//! one: who it is and what it may is judged anew then.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http::StatusCode;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use kontiki_kinds::{KindRef, Retention};
use kontiki_model::{Key, Revision, Scope, Status};
use kontiki_raft::{Event, ReadError, Subject, Watch, WatchItem};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::{
    Asked,
    at::Moment,
    era, horizon,
    limits::{PROGRESS_INTERVAL, START_TRIES},
    told::{Detail, Told},
};
use crate::{
    authz::Question,
    content,
    core::{Core, unreadable},
    failure, parts,
    request::{ApiRequest, ApiResponse, BodyError, number},
    rest,
    route::{RequestInfo, ResourceInfo, Target},
};

pub(super) async fn answer(core: Arc<Core>, asked: Asked) -> Result<ApiResponse, Status> {
    let selection = Selection::read(&core, &asked.request)?;
    let timeout_s = lifetime(&asked.request)?;
    selection.authorize(&core, &asked.request)?;
    let newest = core.log.barrier().await.map_err(|error| unreadable(&error))?;
    let subject = selection.subject();
    let own = selection.own_start(&core, &asked.request)?;
    let floor = core.log.floor().max(own);
    let from = from(&core, &asked.request, newest).await?;
    let (from, watch) = match from {
        Some(requested) if requested < own => {
            let why = format!(
                "events after revision {requested} are told to those who may watch all namespaces, for the one of today begins later"
            );
            return Err(expired(&why, floor));
        }
        Some(from) => (from, core.log.watch(subject, from).map_err(|error| refused(&error))?),
        None => from_start(&core, subject, floor)?,
    };
    let begin = json!({
        "type": "Begin", "from": from, "revision": newest, "floor": floor, "cluster": cluster(&core),
    });
    let stream = Stream {
        core,
        watch,
        selection,
        from,
        detail: Detail { objects: asked.request.query_value("objects") != Some("false"), changes: false },
        next: Some(line(&begin)),
        progress_due: Instant::now() + PROGRESS_INTERVAL,
        ends: Instant::now() + rest::lifetime(timeout_s),
        ended: false,
    };
    let frames = stream::unfold(Box::new(stream), |mut stream| async move {
        let frame = stream.next().await?;
        Some((Ok::<_, BodyError>(Frame::data(frame)), stream))
    });
    let mut response = content::response(StatusCode::OK, "application/x-ndjson", Bytes::new());
    *response.body_mut() = StreamBody::new(frames).boxed_unsync();
    Ok(response)
}

/// Which events are asked for.
struct Selection {
    /// Empty: all.
    kinds: Vec<KindRef>,
    namespace: Option<String>,
    lasting: bool,
}

impl Selection {
    fn read(core: &Core, request: &ApiRequest) -> Result<Self, Status> {
        let mut kinds = Vec::new();
        for (_, resource) in request.query.iter().filter(|(key, _)| key == "resource") {
            let unknown = || failure::bad_request(format!("there is no resource {resource:?}"));
            kinds.push(era::named(core, resource)?.ok_or_else(unknown)?);
        }
        let lasting = match request.query_value("class").unwrap_or("") {
            "" => false,
            "lasting" => true,
            other => return Err(failure::bad_request(format!("class={other:?} is not \"lasting\""))),
        };
        let namespace = request.query_value("namespace").filter(|namespace| !namespace.is_empty()).map(str::to_owned);
        Ok(Selection { kinds, namespace, lasting })
    }

    /// Whoever reads events reads objects: it takes what a watch of them takes.
    fn authorize(&self, core: &Core, request: &ApiRequest) -> Result<(), Status> {
        self.parts().try_for_each(|part| {
            let entry = parts::record(core, request, &part);
            let verdict = parts::judge(core, request, &part, entry.as_ref());
            if let Some(entry) = entry {
                entry.ended(StatusCode::OK.as_u16(), verdict.as_ref().err(), None);
            }
            verdict
        })
    }

    /// After which revision all may be told of.
    fn own_start(&self, core: &Core, request: &ApiRequest) -> Result<Revision, Status> {
        let mut begins = 0;
        for RequestInfo { verb, target } in self.parts() {
            let question = Question { identity: &request.identity, verb, target: &target, field_selector: "" };
            begins = begins.max(horizon::of(core, question)?);
        }
        Ok(begins.saturating_sub(1))
    }

    /// A watch of each resource that is selected.
    fn parts(&self) -> impl Iterator<Item = RequestInfo> {
        let named: Vec<_> = self.kinds.iter().map(|kind| (kind.group, kind.resource)).collect();
        let named = if named.is_empty() { vec![("*", "*")] } else { named };
        named.into_iter().map(|(group, resource)| {
            let target = Target::Resource(ResourceInfo {
                group: group.to_owned(),
                version: "v1".to_owned(),
                namespace: self.namespace.clone().unwrap_or_default(),
                resource: resource.to_owned(),
                ..ResourceInfo::default()
            });
            RequestInfo { verb: "watch", target }
        })
    }

    /// The least that holds everything selected: what is not read need not be left out, and reaches further back.
    fn subject(&self) -> Subject {
        match self.kinds.as_slice() {
            [] if self.lasting => Subject::Lasting,
            [] => Subject::Everything,
            [kind] => Scope { resource: kind.storage_resource(), namespace: self.namespace.clone() }.into(),
            kinds if kinds.iter().all(|kind| kind.retention != Retention::Short) => Subject::Lasting,
            _ => Subject::Everything,
        }
    }

    fn contains(&self, key: &Key, short_lived: bool) -> bool {
        let is = |kind: &KindRef| kind.storage_resource() == key.resource;
        (self.kinds.is_empty() || self.kinds.iter().any(is))
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
            && !(self.lasting && short_lived)
    }
}

/// How many seconds the client wants the stream to go on.
fn lifetime(request: &ApiRequest) -> Result<Option<u64>, Status> {
    let Some(text) = request.query_value("timeoutSeconds").filter(|text| !text.is_empty()) else { return Ok(None) };
    let refused = || failure::bad_request(format!("timeoutSeconds={text:?} is not a number of seconds"));
    number(text).map(Some).ok_or_else(refused)
}

/// After which revision to begin; `None` for the start of what is retained.
async fn from(core: &Core, request: &ApiRequest, newest: Revision) -> Result<Option<Revision>, Status> {
    match request.query_value("from").unwrap_or("") {
        "" => Ok(Some(newest)),
        "start" => Ok(None),
        // Before the first event there is nothing, and it is a place to begin.
        "0" => Ok(Some(0)),
        text => Moment::read(text)?.resolve(core).await.map(Some),
    }
}

/// From the oldest event that is retained: history may be dropped while we look where it begins.
fn from_start(core: &Core, subject: Subject, floor: Revision) -> Result<(Revision, Watch), Status> {
    let mut from = floor;
    for _ in 0..START_TRIES {
        match core.log.watch(subject.clone(), from) {
            Ok(watch) => return Ok((from, watch)),
            Err(ReadError::Compacted { floor, .. }) => from = floor,
            Err(error) => return Err(refused(&error)),
        }
    }
    Err(failure::unavailable("history is being dropped faster than it can be read", crate::limits::RETRY_AFTER_S))
}

fn refused(error: &ReadError) -> Status {
    match error {
        ReadError::Compacted { requested, floor } => {
            expired(&format!("events after revision {requested} are no longer all retained"), *floor)
        }
        error => unreadable(error),
    }
}

fn expired(why: &str, floor: Revision) -> Status {
    let mut status = failure::expired(format!("{why}: the oldest place to begin is {floor}"));
    let cause =
        kontiki_model::Cause { reason: "Floor".to_owned(), message: floor.to_string(), field: "from".to_owned() };
    status.details.get_or_insert_default().causes.push(cause);
    status
}

/// Whose uid names the cluster.
pub(super) fn cluster_object() -> Key {
    Key::new("namespaces", "", "kube-system")
}

/// What tells this cluster from others, on each of its servers.
pub(super) fn cluster(core: &Core) -> String {
    core.log.head(&cluster_object()).map(|(_, head)| head.uid.clone()).unwrap_or_default()
}

struct Stream {
    core: Arc<Core>,
    watch: Watch,
    selection: Selection,
    from: Revision,
    detail: Detail,
    next: Option<Bytes>,
    progress_due: Instant,
    ends: Instant,
    ended: bool,
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(line) = self.next.take() {
            return Some(line);
        }
        while !self.ended {
            // Also when there is always something, and nothing of it is selected.
            let due = self.progress_due.min(self.ends);
            let progress = |watch: &mut Watch| Ok(WatchItem::Progress(watch.progress()));
            let item = match due <= Instant::now() {
                true => progress(&mut self.watch),
                false => tokio::select! {
                    biased;
                    item = self.watch.next() => item,
                    () = sleep_until(due) => progress(&mut self.watch),
                },
            };
            self.ended = matches!(item, Ok(WatchItem::Progress(_))) && self.ends <= Instant::now();
            let line = match item {
                Ok(WatchItem::Event(event)) => match self.tell(&event) {
                    Ok(line) => line,
                    Err(status) => Some(self.fail(&status)),
                },
                Ok(WatchItem::Progress(revision)) => {
                    self.progress_due = Instant::now() + PROGRESS_INTERVAL;
                    Some(line(&json!({"type": "Progress", "revision": revision.max(self.from)})))
                }
                // The server goes down; the client will ask another one.
                Err(ReadError::Closed) => return None,
                Err(error) => Some(self.fail(&refused(&error))),
            };
            if line.is_some() {
                return line;
            }
        }
        None
    }

    fn tell(&self, event: &Event) -> Result<Option<Bytes>, Status> {
        if event.revision() <= self.from
            || !self.selection.contains(&event.object.key, event.object.head.retention == Retention::Short)
        {
            return Ok(None);
        }
        let told = Told::of(&self.core.kinds(), event, self.detail)?;
        let mut text = kontiki_schema::json::text(&told).map_err(failure::internal)?;
        text.push(b'\n');
        Ok(Some(text.into()))
    }

    fn fail(&mut self, status: &Status) -> Bytes {
        self.ended = true;
        line(&json!({"type": "Error", "status": content::status_value(status)}))
    }
}

fn line(value: &Value) -> Bytes {
    Bytes::from(kontiki_schema::json::escaped_text(format!("{value}\n")))
}
