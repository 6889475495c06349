//! The watch protocol: initial events, changes as a selection sees them, bookmarks, and the ends of a stream.
//!
//! A stream is a cursor and little else: an idle watcher holds no buffer, and frames are shared with its neighbours.

use std::{borrow::Cow, future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{FutureExt as _, stream};
use http::StatusCode;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use kontiki_kinds::KindRef;
use kontiki_model::{Revision, Scope, Status};
use kontiki_raft::{self as raft, Event, EventKind, ReadError, Rest, WatchItem};
use rand::Rng as _;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    call::Call,
    conversion,
    frames::{self, EventType, FrameForm},
    limits::{BOOKMARK_INTERVAL, DRAIN_TIME_MAX, INITIAL_EVENTS_PAGE, WATCH_TIME_MAX, WATCH_TIME_MIN},
    options::ListOptions,
    read::{self, Unread, Window},
    render::{self, IncludeObject},
    selection::Selection,
    store,
};
use crate::{
    Core, content, failure,
    fairness::{Lease, Seat},
    kontiki::at,
    negotiate::{self, Offer, Shape},
    request::{ApiResponse, BodyError, Endless, Past},
    websocket::Handshake,
};

pub async fn watch(call: &Call<'_>) -> Result<ApiResponse, Status> {
    let options = ListOptions::read(call.request, true)?;
    let lists = options.send_initial_events == Some(true);
    let form = call.form(if lists { Offer::WatchList } else { Offer::Collection })?;
    let selection = Selection::read(call, &options)?;
    let include = if form.shape == Shape::Table { render::include_object(call)? } else { IncludeObject::Metadata };
    let frame_form = FrameForm::of(form, include).ok_or_else(|| failure::not_acceptable(negotiate::STREAM_TYPES))?;
    // An event without a form would only be noticed when it is told.
    frames::bookmark(call.kind, frame_form, 0, false)?;
    let handshake = Handshake::of_any(call.request)?;
    let stage = begin(call, &options).await?;
    let seat = call.request.seat.clone().filter(|_| matches!(stage, Stage::Initial { .. }));
    let stream = Stream {
        core: call.core.clone(),
        over: call.core.definitions.serving(&call.route.kind).map(|serving| Box::pin(serving.cancelled_owned())),
        kind: call.route.kind.clone(),
        scope: call.scope(),
        selection,
        form: frame_form,
        first: true,
        then: call.request.at.map(|past| past.time),
        bookmarks: options.allow_bookmarks,
        marked: lists,
        ends: Instant::now() + lifetime(options.timeout_s),
        next_bookmark: Instant::now() + BOOKMARK_INTERVAL,
        stage,
        seat: seat.map(Seat::lease),
    };
    let frames = stream::unfold(Box::new(stream), |mut stream| async move {
        let frame = stream.next().await?;
        Some((Ok::<_, BodyError>(Frame::data(frame)), stream))
    });
    let body = StreamBody::new(frames).boxed_unsync();
    if let Some(handshake) = handshake {
        return Ok(handshake.answer(body, frame_form.payload()));
    }
    let mut response = content::response(StatusCode::OK, frame_form.content_type(), Bytes::new());
    *response.body_mut() = body;
    response.extensions_mut().insert(Endless);
    Ok(response)
}

/// How long a stream goes on, where its client asks for so many seconds.
pub(crate) fn lifetime(timeout_s: Option<u64>) -> Duration {
    match timeout_s {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds).min(WATCH_TIME_MAX),
        _ => WATCH_TIME_MIN.mul_f64(rand::rng().random_range(1.0..2.0)),
    }
}

/// Where a stream is.
enum Stage {
    /// Telling the state at a revision (the first page's, if none is asked for), behind a key.
    Initial {
        at: Option<Revision>,
        begun: bool,
        rest: Option<Rest>,
        queue: std::vec::IntoIter<raft::Stored>,
    },
    /// Telling what happens; events at or below `from` are not told, nor is what comes after `until`.
    Following {
        watch: Box<raft::Watch>,
        from: Revision,
        until: Revision,
    },
    /// Telling why it ends.
    Failing(Box<Status>),
    Ended,
}

struct Stream {
    core: Arc<Core>,
    kind: KindRef,
    /// Of a custom kind: until it is another one than when the stream began.
    over: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    scope: Scope,
    selection: Selection,
    form: FrameForm,
    /// Nothing was told yet: the first Table describes its columns.
    first: bool,
    /// Below `/at/`: when what is told came to be.
    then: Option<DateTime<Utc>>,
    bookmarks: bool,
    /// The end of the initial events is marked by a bookmark.
    marked: bool,
    ends: Instant,
    next_bookmark: Instant,
    stage: Stage,
    /// Held while the initial events are told.
    seat: Option<Lease>,
}

/// Where the stream starts. An unreadable version is refused; one that is too old or too new is told in the stream.
async fn begin(call: &Call<'_>, options: &ListOptions) -> Result<Stage, Status> {
    let text = options.resource_version.as_str();
    let asked = if text.is_empty() { 0 } else { read::number(text).map_err(failure::unexpected)? };
    let log = &call.core.log;
    let initial = options.send_initial_events.unwrap_or(asked == 0);
    let mut current = log.revision();
    if text.is_empty() || asked > current {
        current = store::barrier(call.core).await?;
    }
    if let Some(Past { revision: past, .. }) = call.request.at
        && (initial || asked == 0)
    {
        // The watch begins in the past, and goes on into the present.
        current = past;
    }
    let at = call.request.at.map(|past| past.revision);
    // From a revision that does not exist yet: nothing up to it will be told.
    let from = if initial || asked == 0 { current } else { asked };
    if (at.is_some() || !initial)
        && let Some(refusal) = call.is_beyond(from)?
    {
        return Ok(Stage::Failing(Box::new(refusal)));
    }
    if initial {
        return Ok(match asked > current {
            true => Stage::Failing(Box::new(store::too_large(asked, current))),
            false => Stage::Initial { at, begun: false, rest: None, queue: Vec::new().into_iter() },
        });
    }
    Ok(follow(call.core, call.scope(), from.min(current), from))
}

fn follow(core: &Core, scope: Scope, start: Revision, from: Revision) -> Stage {
    match core.log.watch(scope, start) {
        Ok(watch) => Stage::Following { watch: Box::new(watch), from, until: Revision::MAX },
        Err(error) => Stage::Failing(Box::new(ended(&error))),
    }
}

/// Why a stream ends before its time.
fn ended(error: &ReadError) -> Status {
    match error {
        ReadError::Compacted { requested, floor } => {
            failure::expired(format!("too old resource version: {requested} ({floor})"))
        }
        // The client looks again, and is told what it cannot have; or the past alone is lost to it.
        ReadError::Sealed(unopened) => failure::expired(failure::sealed(unopened).message),
        error => store::read_failed(error),
    }
}

/// What comes out of one step.
enum Step {
    Frame(Bytes),
    /// Nothing to tell, but the stream goes on.
    Again,
    End,
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.step().await {
                Step::Frame(frame) => return Some(frame),
                Step::Again => {}
                Step::End => return None,
            }
        }
    }

    async fn step(&mut self) -> Step {
        match &mut self.stage {
            Stage::Initial { queue, .. } => match queue.next() {
                Some(stored) => self.tell(EventType::Added, &stored, false).await,
                // Boxed: an idle watcher is past it, and need not have room for it.
                None => self.page().boxed().await,
            },
            Stage::Following { watch, from, until } => {
                let due = if self.bookmarks { self.ends.min(self.next_bookmark) } else { self.ends };
                let (from, until, over) = (*from, *until, &mut self.over);
                if Instant::now() >= due {
                    // Also where one event follows the other.
                    return self.due();
                }
                tokio::select! {
                    biased;
                    () = poll_fn(|waker| over.as_mut().map_or(Poll::Pending, |over| over.as_mut().poll(waker))) => {
                        self.over().boxed().await
                    }
                    item = watch.next() => match item {
                        Ok(WatchItem::Event(event)) if event.revision() > until => Step::End,
                        Ok(WatchItem::Event(event)) if event.revision() > from => self.change(&event).await,
                        Ok(WatchItem::Progress(seen)) if seen >= until => Step::End,
                        Ok(WatchItem::Event(_) | WatchItem::Progress(_)) => Step::Again,
                        // The server goes down; the client will ask another one.
                        Err(ReadError::Closed) => Step::End,
                        Err(error) => self.fail(ended(&error)),
                    },
                    () = sleep_until(due) => self.due(),
                }
            }
            Stage::Failing(status) => {
                let frame = frames::failed(self.form, status);
                self.stage = Stage::Ended;
                frame.map_or(Step::End, Step::Frame)
            }
            Stage::Ended => Step::End,
        }
    }

    /// The kind is another one: the client asks again, and is told in its form. A kind that is no more nobody can ask for, so what
    /// became of its objects is told before the end.
    async fn over(&mut self) -> Step {
        self.over = None;
        let Stage::Following { watch, from, .. } = &mut self.stage else { return Step::End };
        if self.core.kinds().by_storage_resource(&self.scope.resource).is_some() {
            return Step::End;
        }
        let (seen, from, until) = (watch.progress(), *from, self.core.log.revision());
        if let Err(error) = self.core.log.wait_for(until, DRAIN_TIME_MAX).await {
            return self.fail(ended(&error));
        }
        // One that has told nothing yet says when it has told all.
        self.stage = follow(&self.core, self.scope.clone(), seen, from);
        if let Stage::Following { until: end, .. } = &mut self.stage {
            *end = until;
        }
        Step::Again
    }

    /// The next page of the initial events, or their end.
    async fn page(&mut self) -> Step {
        let Stage::Initial { at, begun, rest, .. } = &mut self.stage else { return Step::End };
        if let (Some(at), true, None) = (*at, *begun, &rest) {
            self.stage = follow(&self.core, self.scope.clone(), at, at);
            self.seat = None;
            return match self.marked && self.bookmarks {
                true => self.frame(frames::bookmark(&self.kind, self.form, at, true)),
                false => Step::Again,
            };
        }
        let window = Window { at: *at, rest: rest.take(), limit: Some(INITIAL_EVENTS_PAGE) };
        let page = read::selected(&self.core, &self.kind, (&self.scope, &self.selection), window);
        match page.boxed().await {
            Ok(mut page) => {
                if conversion::is_possible(&self.kind) {
                    let prepared = conversion::prepare(&self.core, &self.kind, &mut page.items).boxed().await;
                    if let Err(status) = prepared {
                        return self.fail(status);
                    }
                }
                self.stage = Stage::Initial {
                    at: Some(page.revision),
                    begun: true,
                    rest: page.rest,
                    queue: page.items.into_iter(),
                };
                Step::Again
            }
            Err(Unread::Log(error)) => self.fail(ended(&error)),
            Err(Unread::Untold(status)) => self.fail(status),
        }
    }

    /// A change as the selection sees it: what enters it is added, what leaves it is deleted.
    async fn change(&mut self, event: &Event) -> Step {
        self.then = self.then.map(|_| at::time(event.time_ms));
        let matches = |stored: &&raft::Stored| self.selection.matches(&stored.key, &stored.head);
        let mut before = event.previous.as_ref().filter(matches);
        let mut after = match event.kind {
            EventKind::Created | EventKind::Updated => Some(&event.object).filter(matches),
            EventKind::Deleted => None,
        };
        if self.selection.is_of_version() {
            let selected = async { Ok((self.selected(before).await?, self.selected(after).await?)) };
            (before, after) = match selected.boxed().await {
                Ok(selected) => selected,
                Err(status) => return self.fail(status),
            };
        }
        match (before, after) {
            (None, None) => Step::Again,
            (None, Some(object)) => self.tell(EventType::Added, object, false).await,
            (Some(_), Some(object)) => self.tell(EventType::Modified, object, false).await,
            (Some(_), None) if event.kind == EventKind::Deleted => {
                self.tell(EventType::Deleted, &event.object, false).await
            }
            (Some(previous), None) => {
                let last = Box::new(frames::before(previous, event.revision()));
                self.tell(EventType::Deleted, &last, true).await
            }
        }
    }

    /// What is selected as the version of the watch tells it.
    async fn selected<'s>(&self, stored: Option<&'s raft::Stored>) -> Result<Option<&'s raft::Stored>, Status> {
        let Some(stored) = stored else { return Ok(None) };
        let told = conversion::told(&self.core, &self.kind, stored).await?;
        Ok(self.selection.matches_told(&told.head).then_some(stored))
    }

    async fn tell(&mut self, event: EventType, stored: &raft::Stored, previous: bool) -> Step {
        if conversion::is_needed(&self.kind, stored) {
            // Apart: few streams need it, and idle ones are to be small.
            let told = conversion::told(&self.core, &self.kind, stored).boxed().await.map(Cow::into_owned);
            return match told {
                Ok(told) => self.tell_prepared(event, &told, previous),
                Err(status) => self.fail(status),
            };
        }
        self.tell_prepared(event, stored, previous)
    }

    fn tell_prepared(&mut self, event: EventType, stored: &raft::Stored, previous: bool) -> Step {
        let first = std::mem::take(&mut self.first);
        let frame = match (self.form, first, self.then) {
            (FrameForm::Table(..), ..) if first || self.then.is_some() => {
                let now = self.then.unwrap_or_else(Utc::now);
                frames::render(&self.kind, self.form, event, stored, (first, now))
            }
            _ => self.core.frames.event(&self.kind, self.form, event, stored, previous),
        };
        self.frame(frame)
    }

    fn frame(&mut self, frame: Result<Bytes, Status>) -> Step {
        frame.map_or_else(|status| self.fail(status), Step::Frame)
    }

    /// Time for a bookmark, or for the end (with a last bookmark, so that the next watch starts where this one ends).
    fn due(&mut self) -> Step {
        let Stage::Following { watch, from, .. } = &mut self.stage else { return Step::End };
        let revision = watch.progress().max(*from);
        let ended = Instant::now() >= self.ends;
        self.next_bookmark = Instant::now() + BOOKMARK_INTERVAL;
        if ended {
            self.stage = Stage::Ended;
        }
        match self.bookmarks {
            true => self.frame(frames::bookmark(&self.kind, self.form, revision, false)),
            false => Step::Again,
        }
    }

    fn fail(&mut self, status: Status) -> Step {
        self.stage = Stage::Failing(Box::new(status));
        self.seat = None;
        Step::Again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten thousand watchers are to cost less than their TLS sessions.
    const IDLE_BYTES_MAX: usize = 1100;

    #[test]
    fn an_idle_watcher_is_small() {
        fn size_of_future<F: Future>(_: impl FnOnce(&'static mut Stream) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = size_of::<Stream>() + size_of_future(|stream| stream.next()) + size_of::<raft::Watch>();
        assert!(bytes <= IDLE_BYTES_MAX, "{bytes} bytes");
    }
}
