//! The declarations say what a recorded API server says of the same kinds.
#![allow(clippy::unwrap_used)]

use kontiki_kinds::{KINDS, Kind, Subresource};
use serde_json::{Value, json};

fn facts() -> Vec<Value> {
    serde_json::from_str(include_str!("fixtures/facts.json")).unwrap()
}

fn subresource(kind: &Kind, one: Subresource) -> Value {
    let (group, version, response) = one.response_kind().unwrap_or(("", "", kind.kind));
    json!({
        "name": one.name(),
        "verbs": one.verbs(),
        "responseKind": {"group": group, "version": version, "kind": response},
    })
}

fn declared(kind: &Kind) -> Value {
    let columns: Vec<_> =
        kind.columns.iter().map(|one| json!([one.name, one.r#type, one.format, one.priority])).collect();
    let mut selectable = kind.selectable();
    selectable.sort_unstable();
    json!({
        "group": kind.group,
        "version": kind.version,
        "resource": kind.resource,
        "kind": kind.kind,
        "singular": kind.singular,
        "namespaced": kind.namespaced,
        "verbs": kind.verbs,
        "shortNames": kind.short_names,
        "categories": kind.categories,
        "type": kind.type_name,
        "deleteReturns": if kind.delete_returns_object { kind.type_name } else { "meta.v1.Status" },
        "subresources": kind.subresources.iter().map(|one| subresource(kind, *one)).collect::<Vec<_>>(),
        "columns": columns,
        "selectable": selectable,
    })
}

#[test]
fn declarations_are_what_was_recorded() {
    let mut recorded = facts();
    for fact in &mut recorded {
        fact["selectable"].as_array_mut().unwrap().sort_by_key(Value::to_string);
    }
    let declared: Vec<Value> = KINDS.iter().map(|kind| declared(kind)).collect();
    assert_eq!(declared.len(), recorded.len());
    for (declared, recorded) in declared.iter().zip(&recorded) {
        assert_eq!(declared, recorded);
    }
}

#[test]
fn each_type_is_in_the_schema() {
    for kind in KINDS {
        assert!(kontiki_schema::builtin().lookup(kind.type_name).is_some(), "{}", kind.type_name);
    }
}

#[test]
fn subresources_and_what_serves_them_go_together() {
    for kind in KINDS {
        assert_eq!(kind.has(Subresource::Scale), kind.scale.is_some(), "{}", kind.kind);
        assert_eq!(kind.has(Subresource::Approval), kind.edit(Subresource::Approval).is_some(), "{}", kind.kind);
    }
}

#[test]
fn every_row_has_a_cell_for_each_column() {
    for kind in KINDS {
        let cells = (kind.cells)(&json!({}), chrono::Utc::now());
        // Kubernetes itself gives IPAddresses a cell that no column names.
        let unnamed = usize::from(kind.resource == "ipaddresses");
        assert_eq!(cells.len(), kind.columns.len() + unnamed, "{}", kind.kind);
    }
}
