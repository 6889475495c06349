//! Event as events.k8s.io/v1 spells it: other names for the same members, and stricter rules.

use kontiki_model::Faults;
use serde_json::Value;

use super::DECLARED;
use crate::tree::{at, int, missing, remove, text};
use crate::{Field, Kind, Spelling, metadata};

pub static KIND: Kind = Kind {
    group: "events.k8s.io",
    type_name: "events.v1.Event",
    fields: FIELDS,
    default: |_| {},
    validate: |event, faults| super::validate(event, "reportingController", faults),
    validate_create,
    validate_update,
    spelling: Some(Spelling { of: &super::KIND, from_stored, to_stored, fields: RENAMED_FIELDS }),
    ..DECLARED
};

const FIELDS: &[Field] = &[
    Field { path: "type", get: |event| text(event, "/type").to_owned() },
    Field { path: "reason", get: |event| text(event, "/reason").to_owned() },
    Field { path: "reportingController", get: |event| text(event, "/reportingComponent").to_owned() },
    Field { path: "regarding.kind", get: |event| text(event, "/involvedObject/kind").to_owned() },
    Field { path: "regarding.name", get: |event| text(event, "/involvedObject/name").to_owned() },
    Field { path: "regarding.namespace", get: |event| text(event, "/involvedObject/namespace").to_owned() },
];

const RENAMED_FIELDS: &[(&str, &str)] = &[
    ("reportingController", "reportingComponent"),
    ("regarding.kind", "involvedObject.kind"),
    ("regarding.name", "involvedObject.name"),
    ("regarding.namespace", "involvedObject.namespace"),
];

/// `(as stored, as spelled here)`.
const RENAMED: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn from_stored(mut event: Value) -> Value {
    for (stored, spelled) in RENAMED {
        if let Some(value) = remove(&mut event, stored) {
            event[*spelled] = value;
        }
    }
    event
}

fn to_stored(mut event: Value) -> Value {
    for (stored, spelled) in RENAMED {
        if let Some(value) = remove(&mut event, spelled) {
            event[*stored] = value;
        }
    }
    (super::KIND.default)(&mut event);
    event
}

/// New events of this spelling are of the new form; what only the old form has must be unset.
fn validate_create(event: &Value, faults: &mut Faults) {
    validate_series(event, faults);
    if missing(event, "/eventTime") {
        faults.required("eventTime", "");
    }
    let kind = text(event, "/type");
    if !matches!(kind, "Normal" | "Warning") {
        faults.invalid("type", "", format!("has invalid value: {kind}"));
    }
    let unset = "needs to be unset";
    for member in ["firstTimestamp", "lastTimestamp"] {
        if !missing(event, &format!("/{member}")) {
            faults.invalid(member, "", unset);
        }
    }
    if int(event, "/count") != 0 {
        faults.invalid("count", "", unset);
    }
    if !text(event, "/source/component").is_empty() || !text(event, "/source/host").is_empty() {
        faults.invalid("source", "", unset);
    }
}

fn validate_series(event: &Value, faults: &mut Faults) {
    if missing(event, "/series") {
        return;
    }
    if int(event, "/series/count") < 2 {
        faults.invalid("series.count", "", "should be at least 2");
    }
    if missing(event, "/series/lastObservedTime") {
        faults.required("series.lastObservedTime", "");
    }
}

/// Nothing changes but the series. Faults are told of the stored names, save one.
fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    if at(new, "/series") != at(old, "/series") {
        validate_series(new, faults);
    }
    metadata::validate_update(new, old, faults);
    for (member, field) in [
        ("involvedObject", "involvedObject"),
        ("reason", "reason"),
        ("message", "message"),
        ("source", "source"),
        ("firstTimestamp", "firstTimestamp"),
        ("lastTimestamp", "lastTimestamp"),
        ("count", "count"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingComponent", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ] {
        let pointer = format!("/{member}");
        if at(new, &pointer) != at(old, &pointer) {
            faults.invalid(field, at(new, &pointer).clone(), "field is immutable");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_spellings_say_the_same() {
        let stored = json!({
            "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod"}, "reason": "R", "message": "m", "source": {"component": "c"},
            "firstTimestamp": null, "lastTimestamp": "2026-01-01T00:00:00Z", "count": 2, "type": "Normal", "eventTime": null,
            "series": {"count": 3}, "action": "A", "reportingComponent": "r", "reportingInstance": "i",
        });
        let spelled = from_stored(stored.clone());
        let expected = json!({
            "metadata": {"name": "e"}, "regarding": {"kind": "Pod"}, "reason": "R", "note": "m", "deprecatedSource": {"component": "c"},
            "deprecatedFirstTimestamp": null, "deprecatedLastTimestamp": "2026-01-01T00:00:00Z", "deprecatedCount": 2,
            "type": "Normal", "eventTime": null, "series": {"count": 3}, "action": "A", "reportingController": "r",
            "reportingInstance": "i",
        });
        assert_eq!(spelled, expected);
        assert_eq!(to_stored(spelled), stored);
    }
}
