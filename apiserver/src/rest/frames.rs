//! Watch events as they go over the wire, rendered once for all watchers who want the same form.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use kontiki_kinds::Kind;
use kontiki_model::{Revision, Status};
use kontiki_raft::Stored;
use serde_json::{Value, json};

use super::{
    limits::{FRAMES_BYTES_MAX, FRAMES_MAX},
    object,
    render::{self, IncludeObject, ListMeta},
};
use crate::negotiate::Shape;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    Added,
    Modified,
    Deleted,
}

/// How a watcher wants its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameForm {
    Object,
    Metadata,
    Table(IncludeObject),
}

/// Which rendering of which event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FrameKey {
    revision: Revision,
    event: EventType,
    form: FrameForm,
    /// Whether it is the object before the change (for those whose selection it left).
    previous: bool,
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
    /// The form of a watch; lists of metadata are no form of one event.
    pub fn of(shape: Shape, include: IncludeObject) -> Option<Self> {
        match shape {
            Shape::Object => Some(FrameForm::Object),
            Shape::PartialMetadata => Some(FrameForm::Metadata),
            Shape::Table => Some(FrameForm::Table(include)),
            Shape::PartialMetadataList | Shape::AggregatedDiscovery => None,
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
        let key = FrameKey { revision: stored.revision, event, form, previous };
        if let Some(frame) = self.lock().frames.get(&key) {
            return Ok(frame.clone());
        }
        let frame = render(kind, form, event, stored, false)?;
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

/// One line of the stream. The first Table of a stream describes its columns.
pub fn render(kind: &Kind, form: FrameForm, event: EventType, stored: &Stored, columns: bool) -> Result<Bytes, Status> {
    let mut out = Vec::with_capacity(stored.body.len() + 128);
    out.extend_from_slice(format!("{{\"type\":\"{}\",\"object\":", event.name()).as_bytes());
    shape(kind, form, stored, columns, &mut out)?;
    out.extend_from_slice(b"}\n");
    Ok(out.into())
}

fn shape(kind: &Kind, form: FrameForm, stored: &Stored, columns: bool, out: &mut Vec<u8>) -> Result<(), Status> {
    match form {
        FrameForm::Object => object::Spliced::of(stored).write(out),
        FrameForm::Metadata => render::partial(kind, stored, out),
        FrameForm::Table(include) => {
            let meta = ListMeta { revision: stored.revision, ..ListMeta::default() };
            render::table(kind, include, std::slice::from_ref(stored), &meta, columns, out)?;
        }
    }
    Ok(())
}

/// A bookmark: everything up to the revision was told. `initial` marks the end of the initial events.
pub fn bookmark(kind: &Kind, form: FrameForm, revision: Revision, initial: bool) -> Bytes {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if initial {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    let (name, version) = match form {
        FrameForm::Object => (kind.kind, kind.group_version()),
        FrameForm::Metadata | FrameForm::Table(_) => ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned()),
    };
    let object = json!({"kind": name, "apiVersion": version, "metadata": metadata});
    let object = match form {
        FrameForm::Object | FrameForm::Metadata => object,
        FrameForm::Table(_) => json!({
            "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": revision.to_string()},
            "columnDefinitions": null, "rows": [{"cells": vec![""; kind.columns.len()], "object": object}],
        }),
    };
    line(&json!({"type": "BOOKMARK", "object": object}))
}

/// A failure in the stream, after which it ends.
pub fn failed(status: &Status) -> Bytes {
    line(&json!({"type": "ERROR", "object": crate::content::status_value(status)}))
}

fn line(value: &Value) -> Bytes {
    Bytes::from(format!("{value}\n"))
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

    use super::*;

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
        let form = FrameForm::Object;
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
    fn frames_are_lines_of_json() {
        let (kind, stored) = stored(7);
        for form in [FrameForm::Object, FrameForm::Metadata, FrameForm::Table(IncludeObject::Metadata)] {
            let frame = render(kind, form, EventType::Added, &stored, true).unwrap();
            let event: Value = serde_json::from_slice(&frame).unwrap();
            assert_eq!(event["type"], "ADDED");
            assert_eq!(event["object"]["metadata"]["resourceVersion"], "7");
            assert!(frame.ends_with(b"\n"));
            let mark: Value = serde_json::from_slice(&bookmark(kind, form, 9, true)).unwrap();
            assert_eq!(mark["object"]["metadata"]["resourceVersion"], "9");
        }
    }
}
