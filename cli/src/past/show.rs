//! How events are shown to people. Pure.

use serde_json::Value;

/// Changed fields that one line shows, and characters of one value.
const FIELDS_SHOWN: usize = 3;
const VALUE_CHARACTERS: usize = 40;

pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `alice`, or `alice (by admin)` for somebody who acted as alice.
pub fn user(event: &Value) -> String {
    let user = text(event, "/author/user");
    match text(event, "/author/impersonator") {
        "" => user.to_owned(),
        real => format!("{user} (by {real})"),
    }
}

/// The program, without what follows its version: `kubectl/v1.36.0`.
pub fn agent(event: &Value) -> &str {
    text(event, "/author/userAgent").split(' ').next().unwrap_or_default()
}

/// Who, and by which program if it said: `alice (kubectl/v1.36.0)`.
pub fn author(event: &Value) -> String {
    match agent(event) {
        "" => user(event),
        agent => format!("{} ({agent})", user(event)),
    }
}

/// What was asked for, and of which part: `update`, `create binding`.
pub fn verb(event: &Value) -> String {
    let verb = text(event, "/author/verb");
    match text(event, "/author/subresource") {
        "" => verb.to_owned(),
        subresource => format!("{verb} {subresource}"),
    }
}

/// RFC 3339 to the second.
pub fn time(event: &Value) -> String {
    let time = text(event, "/time");
    time.split_once('.').map_or_else(|| time.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}

/// As in `pods/web` or `deployments.apps/web -n shop`.
pub fn object(event: &Value) -> String {
    let resource = &event["resource"];
    let name = format!("{}/{}", text(resource, "/resource"), text(resource, "/name"));
    match text(resource, "/namespace") {
        "" => name,
        namespace => format!("{name} -n {namespace}"),
    }
}

/// What an event changed, in one line.
pub fn summary(event: &Value) -> String {
    match text(event, "/type") {
        "Created" => return "created".to_owned(),
        "Deleted" => return "deleted".to_owned(),
        "Updated" if event["changes"].is_null() => return "(the form before it is no longer retained)".to_owned(),
        _ => {}
    }
    let fields = event.pointer("/changes/fields").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    // What somebody wanted comes before what was observed.
    let (observed, wanted): (Vec<&Value>, Vec<&Value>) =
        fields.iter().partition(|change| text(change, "/field").starts_with("status"));
    let count = fields.len() + event.pointer("/changes/more").and_then(Value::as_u64).unwrap_or(0) as usize;
    let mut shown: Vec<String> = wanted.into_iter().chain(observed).take(FIELDS_SHOWN).map(change).collect();
    if count > shown.len() {
        shown.push(format!("{} more", count - shown.len()));
    }
    shown.join(", ")
}

fn change(change: &Value) -> String {
    let field = text(change, "/field");
    match (change.get("from"), change.get("to")) {
        (Some(from), Some(to)) => format!("{field} {} → {}", value(from), value(to)),
        (None, Some(to)) => format!("+{field} {}", value(to)),
        (Some(_), None) => format!("-{field}"),
        (None, None) => format!("{field} changed"),
    }
}

fn value(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut shown: String =
        text.chars().map(|one| if one.is_control() { ' ' } else { one }).take(VALUE_CHARACTERS).collect();
    if text.chars().nth(VALUE_CHARACTERS).is_some() {
        shown.push('…');
    }
    shown
}

/// Columns as wide as their widest cell, the last one as it comes.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("   ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_fits_a_line() {
        let event = |fields: Value, more: u64| json!({"type": "Updated", "changes": {"fields": fields, "more": more}});
        let table = [
            (json!({"type": "Created"}), "created"),
            (json!({"type": "Updated"}), "(the form before it is no longer retained)"),
            (event(json!([{"field": "spec.replicas", "from": 2, "to": 5}]), 0), "spec.replicas 2 → 5"),
            (
                event(
                    json!([{"field": "status.replicas", "from": 2, "to": 5}, {"field": "metadata.labels.a", "to": "b"}]),
                    0,
                ),
                "+metadata.labels.a b, status.replicas 2 → 5",
            ),
            (
                event(json!([{"field": "data.password"}, {"field": "spec.x", "from": "a\nb"}]), 7),
                "data.password changed, -spec.x, 7 more",
            ),
            (
                event(json!([{"field": "a", "from": "x".repeat(50), "to": ""}]), 0),
                "a xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx… → ",
            ),
        ];
        for (event, expected) in table {
            assert_eq!(summary(&event), expected);
        }
    }

    #[test]
    fn who_did_it() {
        let event = json!({"author": {"user": "alice", "impersonator": "admin", "userAgent": "kubectl/v1.36.0 (linux/amd64) x"}});
        assert_eq!(verb(&json!({"author": {"verb": "create", "subresource": "binding"}})), "create binding");
        assert_eq!(verb(&json!({"author": {"verb": "create"}})), "create");
        assert_eq!((user(&event), agent(&event)), ("alice (by admin)".to_owned(), "kubectl/v1.36.0"));
        assert_eq!(time(&json!({"time": "2026-11-21T11:35:03.123Z"})), "2026-11-21T11:35:03Z");
    }
}
