//! Watch events as they go over the wire, rendered once for all watchers who want the same form.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use kontiki_kinds::Kind;
use kontiki_model::{Revision, Status};
use kontiki_raft::Stored;
use kontiki_schema::{Source, watch_frame};
use serde_json::{Value, json};

use super::{
    limits::{FRAMES_BYTES_MAX, FRAMES_MAX},
    render::{self, IncludeObject, ListMeta, Rows},
};
use crate::{
    content, failure,
    negotiate::{Form, Media, MetaVersion, Shape},
    websocket::Payload,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    Added,
    Modified,
    Deleted,
}

/// How a watcher wants its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameForm {
    Object(Wire),
    Metadata(Wire, MetaVersion),
    Table(IncludeObject, MetaVersion),
}

/// What the events are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// A line of JSON each.
    Json,
    /// Behind its length each.
    Protobuf,
}

/// Which rendering of which event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FrameKey {
    revision: Revision,
    event: EventType,
    form: FrameForm,
    /// Whether it is the object before the change (for those whose selection it left).
    previous: bool,
    /// Kinds that share storage are told each in its own form.
    spelling: (&'static str, &'static str),
    /// Of the definition, for a kind that has one: another one tells other members.
    definition: Revision,
}

/// The last frames that were rendered. Bounded; a frame that is not here any more is rendered again.
#[derive(Debug, Default)]
pub struct Frames {
    cached: Mutex<Cached>,
}

#[derive(Debug, Default)]
struct Cached {
    frames: HashMap<FrameKey, Bytes>,
    order: VecDeque<FrameKey>,
    bytes: usize,
}

impl EventType {
    pub fn name(self) -> &'static str {
        match self {
            EventType::Added => "ADDED",
            EventType::Modified => "MODIFIED",
            EventType::Deleted => "DELETED",
        }
    }
}

impl FrameForm {
    /// The form of a watch; lists of metadata are no form of one event, and YAML does not stream.
    pub fn of(form: Form, include: IncludeObject) -> Option<Self> {
        let wire = match form.media {
            Media::Json { .. } => Wire::Json,
            Media::Protobuf => Wire::Protobuf,
            Media::Yaml => return None,
        };
        match form.shape {
            Shape::Object => Some(FrameForm::Object(wire)),
            Shape::PartialMetadata => Some(FrameForm::Metadata(wire, form.meta)),
            Shape::Table => Some(FrameForm::Table(include, form.meta)),
            Shape::PartialMetadataList | Shape::AggregatedDiscovery => None,
        }
    }

    fn wire(self) -> Wire {
        match self {
            FrameForm::Object(wire) | FrameForm::Metadata(wire, _) => wire,
            FrameForm::Table(..) => Wire::Json,
        }
    }

    /// How an event is told over a WebSocket.
    pub fn payload(self) -> Payload {
        match self.wire() {
            Wire::Json => Payload::Text,
            Wire::Protobuf => Payload::Delimited,
        }
    }

    /// The content type of the stream, as Kubernetes tells it.
    pub fn content_type(self) -> &'static str {
        match self.wire() {
            Wire::Json => "application/json",
            Wire::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        }
    }
}

impl Frames {
    /// The frame of an event; `stored` has the revision that is told.
    pub fn event(
        &self,
        kind: &Kind,
        form: FrameForm,
        event: EventType,
        stored: &Stored,
        previous: bool,
    ) -> Result<Bytes, Status> {
        let spelling = (kind.group, kind.version);
        let definition = kind.custom.as_ref().map_or(0, |custom| custom.since);
        let key = FrameKey { revision: stored.revision, event, form, previous, spelling, definition };
        if let Some(frame) = self.lock().frames.get(&key) {
            return Ok(frame.clone());
        }
        let frame = render(kind, form, event, stored, (false, Utc::now()))?;
        self.lock().keep(key, frame.clone());
        Ok(frame)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cached> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cached {
    fn keep(&mut self, key: FrameKey, frame: Bytes) {
        self.bytes += frame.len();
        if let Some(same) = self.frames.insert(key, frame) {
            self.bytes -= same.len();
        } else {
            self.order.push_back(key);
        }
        while self.order.len() > FRAMES_MAX || self.bytes > FRAMES_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            self.bytes -= self.frames.remove(&oldest).map_or(0, |frame| frame.len());
        }
    }
}

/// One frame of the stream. The first Table of a stream describes its columns; ages count to a moment.
pub fn render(
    kind: &Kind,
    form: FrameForm,
    event: EventType,
    stored: &Stored,
    (columns, now): (bool, DateTime<Utc>),
) -> Result<Bytes, Status> {
    let mut object = Vec::with_capacity(stored.body.len() + 128);
    if form.wire() == Wire::Json {
        object.extend_from_slice(format!("{{\"type\":\"{}\",\"object\":", event.name()).as_bytes());
    }
    match form {
        FrameForm::Object(_) => render::whole(kind, stored, &mut object)?,
        FrameForm::Metadata(_, version) => render::partial(kind, version, stored, &mut object)?,
        FrameForm::Table(include, version) => {
            let meta = ListMeta { revision: stored.revision, ..ListMeta::default() };
            let rows = Rows { include, columns, version, now };
            render::table(kind, rows, std::slice::from_ref(stored), &meta, &mut object)?;
        }
    }
    let mut frame = match form.wire() {
        Wire::Json => {
            object.extend_from_slice(b"}\n");
            object
        }
        Wire::Protobuf => {
            let object = content::protobuf(&Source::parse(&object).map_err(failure::internal)?)?;
            watch_frame(event.name(), &object)
        }
    };
    // It may be kept: the metadata of a large object holds on to no more than itself.
    frame.shrink_to_fit();
    Ok(frame.into())
}

/// A bookmark: everything up to the revision was told. `initial` marks the end of the initial events.
pub fn bookmark(kind: &Kind, form: FrameForm, revision: Revision, initial: bool) -> Result<Bytes, Status> {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if initial {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    let (name, version) = match form {
        FrameForm::Object(_) => (kind.kind, kind.group_version()),
        FrameForm::Metadata(_, version) | FrameForm::Table(_, version) => {
            ("PartialObjectMetadata", version.api_version().to_owned())
        }
    };
    let mut object = json!({"kind": name, "apiVersion": version, "metadata": metadata});
    let object = match form {
        FrameForm::Object(_) => {
            kind.schema().canonical(&mut object);
            object
        }
        FrameForm::Metadata(..) => object,
        FrameForm::Table(_, version) => json!({
            "kind": "Table", "apiVersion": version.api_version(), "metadata": {"resourceVersion": revision.to_string()},
            "columnDefinitions": null, "rows": [{"cells": vec![""; kind.column_definitions().len()], "object": object}],
        }),
    };
    written("BOOKMARK", form, &object)
}

/// A failure in the stream, after which it ends.
pub fn failed(form: FrameForm, status: &Status) -> Result<Bytes, Status> {
    written("ERROR", form, &content::status_value(status))
}

fn written(event: &str, form: FrameForm, object: &Value) -> Result<Bytes, Status> {
    Ok(match form.wire() {
        Wire::Json => {
            let event = json!({"type": event, "object": object});
            let mut line = kontiki_schema::json::text(&event).map_err(failure::internal)?;
            line.push(b'\n');
            line.into()
        }
        Wire::Protobuf => watch_frame(event, &content::protobuf(&Source::of(object))?).into(),
    })
}

/// An event's object before the change, under the event's own revision.
pub fn before(previous: &Stored, revision: Revision) -> Stored {
    Stored { revision, ..previous.clone() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kontiki_kinds::by_gvk;
    use kontiki_model::Key;

    use super::{super::object, *};

    fn stored(revision: Revision) -> (&'static Kind, Stored) {
        let kind = by_gvk("", "v1", "ConfigMap").unwrap();
        let object = json!({"metadata": {"name": "a", "namespace": "n", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}});
        let sealed = object::seal(kind, object).unwrap();
        let key = Key::new("configmaps", "n", "a");
        (kind, Stored { key, revision, head: sealed.head.into(), body: sealed.body })
    }

    #[test]
    fn a_frame_is_rendered_once_and_the_cache_is_bounded() {
        let frames = Frames::default();
        let form = FrameForm::Object(Wire::Json);
        let (kind, first) = stored(1);
        let one = frames.event(kind, form, EventType::Added, &first, false).unwrap();
        let two = frames.event(kind, form, EventType::Added, &first, false).unwrap();
        assert_eq!(one.as_ptr(), two.as_ptr());
        let other = frames.event(kind, form, EventType::Modified, &first, false).unwrap();
        assert_ne!(one, other);
        for revision in 0..2 * FRAMES_MAX as u64 {
            frames.event(kind, form, EventType::Added, &stored(revision).1, false).unwrap();
        }
        assert_eq!(frames.lock().order.len(), FRAMES_MAX);
        assert_eq!(frames.lock().frames.len(), FRAMES_MAX);
        let bytes: usize = frames.lock().frames.values().map(Bytes::len).sum();
        assert_eq!(frames.lock().bytes, bytes);
    }

    #[test]
    fn what_is_kept_of_a_large_object_is_no_larger_than_what_is_told_of_it() {
        let kind = by_gvk("", "v1", "ConfigMap").unwrap();
        let metadata = json!({"name": "a", "namespace": "n", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"});
        let object = json!({"metadata": metadata, "data": {"k": "x".repeat(500_000)}});
        let sealed = object::seal(kind, object).unwrap();
        let key = Key::new("configmaps", "n", "a");
        let stored = Stored { key, revision: 1, head: sealed.head.into(), body: sealed.body };
        for form in [
            FrameForm::Metadata(Wire::Json, MetaVersion::V1),
            FrameForm::Metadata(Wire::Protobuf, MetaVersion::V1),
            FrameForm::Table(IncludeObject::Metadata, MetaVersion::V1),
        ] {
            let frame = render(kind, form, EventType::Added, &stored, (true, Utc::now())).unwrap();
            let length = frame.len();
            // The allocation as it is, with its capacity.
            assert!(length < 8_000 && Vec::from(frame).capacity() < 2 * length, "{form:?}");
        }
    }

    #[test]
    fn frames_are_lines_of_json() {
        let (kind, stored) = stored(7);
        let version = MetaVersion::V1;
        for form in [
            FrameForm::Object(Wire::Json),
            FrameForm::Metadata(Wire::Json, version),
            FrameForm::Table(IncludeObject::Metadata, version),
        ] {
            let frame = render(kind, form, EventType::Added, &stored, (true, Utc::now())).unwrap();
            let event: Value = serde_json::from_slice(&frame).unwrap();
            assert_eq!(event["type"], "ADDED");
            assert_eq!(event["object"]["metadata"]["resourceVersion"], "7");
            assert!(frame.ends_with(b"\n"));
            let mark: Value = serde_json::from_slice(&bookmark(kind, form, 9, true).unwrap()).unwrap();
            assert_eq!(mark["object"]["metadata"]["resourceVersion"], "9");
        }
    }

    #[test]
    fn frames_in_protobuf_stand_behind_their_length() {
        let (kind, stored) = stored(7);
        let form = FrameForm::Object(Wire::Protobuf);
        for frame in [
            render(kind, form, EventType::Added, &stored, (true, Utc::now())).unwrap(),
            bookmark(kind, form, 9, true).unwrap(),
            failed(form, &failure::expired("too old")).unwrap(),
        ] {
            let (length, event) = frame.split_first_chunk::<4>().unwrap();
            assert_eq!(u32::from_be_bytes(*length) as usize, event.len());
            // An event's type is field 1, its object field 2.
            assert_eq!(event[0], 1 << 3 | 2);
            let object = &event[2 + usize::from(event[1])..];
            assert_eq!(object[0], 2 << 3 | 2);
        }
    }
}
