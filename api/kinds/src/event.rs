//! Event: the form of core/v1, which is stored, and the rules that both spellings share.

pub mod events_v1;

use chrono::{DateTime, Utc};
use kontiki_model::Faults;
use serde_json::{Value, json};

use crate::age::{age, time};
use crate::column::{self, text_column};
use crate::names::{qualified, report};
use crate::tree::{at, fill, int, missing, text, text_or};
use crate::{Column, Field, Kind, Restore, Retention};

pub static KIND: Kind = DECLARED;

/// What both spellings have in common is declared here.
const DECLARED: Kind = Kind {
    kind: "Event",
    resource: "events",
    singular: "event",
    short_names: &["ev"],
    type_name: "core.v1.Event",
    create_on_update: true,
    has_dependents: false,
    fields: FIELDS,
    columns: COLUMNS,
    cells,
    default,
    validate: |event, faults| validate(event, "reportingComponent", faults),
    retention: Retention::Short,
    restore: Restore::Never,
    // What happens must not be kept from being told.
    measure: None,
    ..Kind::BASE
};

const FIELDS: &[Field] = &[
    Field { path: "type", get: |event| text(event, "/type").to_owned() },
    Field { path: "reason", get: |event| text(event, "/reason").to_owned() },
    Field { path: "reportingComponent", get: |event| text(event, "/reportingComponent").to_owned() },
    Field {
        path: "source",
        get: |event| text_or(event, "/source/component", text(event, "/reportingComponent")).to_owned(),
    },
    Field { path: "involvedObject.kind", get: |event| text(event, "/involvedObject/kind").to_owned() },
    Field { path: "involvedObject.namespace", get: |event| text(event, "/involvedObject/namespace").to_owned() },
    Field { path: "involvedObject.name", get: |event| text(event, "/involvedObject/name").to_owned() },
    Field { path: "involvedObject.uid", get: |event| text(event, "/involvedObject/uid").to_owned() },
    Field { path: "involvedObject.apiVersion", get: |event| text(event, "/involvedObject/apiVersion").to_owned() },
    Field {
        path: "involvedObject.resourceVersion",
        get: |event| text(event, "/involvedObject/resourceVersion").to_owned(),
    },
    Field { path: "involvedObject.fieldPath", get: |event| text(event, "/involvedObject/fieldPath").to_owned() },
];

const COLUMNS: &[Column] = &[
    text_column("Last Seen", 0, "Time since the event was last seen."),
    text_column("Type", 0, "Normal or Warning."),
    text_column("Reason", 0, "Why it happened, in one word."),
    text_column("Object", 0, "The object this event is about."),
    text_column("Subobject", 1, "The part of the object this event is about."),
    text_column("Source", 1, "The component that reported it."),
    text_column("Message", 0, "What happened, for people."),
    text_column("First Seen", 1, "Time since the event was first seen."),
    text_column("Count", 1, "How many times it was seen."),
    Column { priority: 1, ..column::NAME },
];

fn cells(event: &Value, now: DateTime<Utc>) -> Vec<Value> {
    let seen = |pointers: [&str; 2]| {
        let found = pointers.into_iter().map(|pointer| at(event, pointer)).find(|value| time(value).is_some());
        age(found.unwrap_or(&Value::Null), now)
    };
    let first = seen(["/firstTimestamp", "/eventTime"]);
    let (last, count) = if missing(event, "/series") {
        let last = if missing(event, "/lastTimestamp") { first.clone() } else { age(at(event, "/lastTimestamp"), now) };
        (last, int(event, "/count").max(1))
    } else {
        (age(at(event, "/series/lastObservedTime"), now), int(event, "/series/count"))
    };
    let (kind, name) = (text(event, "/involvedObject/kind").to_lowercase(), text(event, "/involvedObject/name"));
    let target = if name.is_empty() { kind } else { format!("{kind}/{name}") };
    let component = text_or(event, "/source/component", text(event, "/reportingComponent"));
    let host = text_or(event, "/source/host", text(event, "/reportingInstance"));
    let source = if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") };
    vec![
        last.into(),
        text(event, "/type").into(),
        text(event, "/reason").into(),
        target.into(),
        text(event, "/involvedObject/fieldPath").into(),
        source.into(),
        text(event, "/message").trim().into(),
        first.into(),
        count.into(),
        column::name(event),
    ]
}

/// Members that Kubernetes writes even when they are empty.
fn default(event: &mut Value) {
    fill(event, "source", json!({}));
    for member in ["firstTimestamp", "lastTimestamp", "eventTime"] {
        fill(event, member, Value::Null);
    }
    fill(event, "reportingComponent", "");
    fill(event, "reportingInstance", "");
}

/// The old form: only the namespace must fit. Events with an `eventTime` are of the new form and must be complete.
/// Events about cluster-scoped objects live in `default` (of the new form also in `kube-system`).
/// `reporting` is what the spelling calls the reporting component.
fn validate(event: &Value, reporting: &str, faults: &mut Faults) {
    let (namespace, involved) = (text(event, "/metadata/namespace"), text(event, "/involvedObject/namespace"));
    let new_form = !missing(event, "/eventTime");
    let fits = match involved {
        "" => namespace == "default" || new_form && namespace == "kube-system",
        involved => new_form || namespace == involved,
    };
    if !fits {
        faults.invalid("involvedObject.namespace", involved, "does not match event.namespace");
    }
    if new_form {
        validate_new_form(event, reporting, faults);
    }
}

fn validate_new_form(event: &Value, reporting: &str, faults: &mut Faults) {
    for (pointer, field, limit) in [
        ("/reportingComponent", reporting, usize::MAX),
        ("/reportingInstance", "reportingInstance", 128),
        ("/action", "action", 128),
        ("/reason", "reason", 128),
    ] {
        let value = text(event, pointer);
        if value.is_empty() {
            faults.required(field, "");
        } else if value.len() > limit {
            faults.invalid(field, "", format!("can have at most {limit} characters"));
        }
    }
    let component = text(event, "/reportingComponent");
    report(qualified(component), component, reporting, faults);
    let message = text(event, "/message");
    if message.len() > 1024 {
        faults.invalid("message", "", "can have at most 1024 characters");
    }
}
