//! The condition `Dangling` of flow schemas: whether the priority level that each names is there. The server that leads writes
//! it; requests are classified by the log alone.

use std::sync::Arc;

use kontiki_kinds::{Kind, by_resource};
use kontiki_model::{Key, Scope, Status};
use kontiki_raft::{ListOptions, ReadError, WatchItem};
use serde_json::{Value, json};

use super::{
    limits::CONDITIONS_RETRY_INTERVAL,
    objects::{GROUP, LEVELS, SCHEMAS},
};
use crate::{
    bootstrap::Write,
    core::{Core, unreadable},
    failure,
    rest::object,
};

/// Keeps the conditions true for as long as the server runs.
pub(crate) async fn keep(core: Arc<Core>) {
    // The first schemas are written with their condition, before or after their levels.
    core.stopping.run_until_cancelled(core.bootstrapped()).await;
    core.keep_up("the conditions of flow schemas", CONDITIONS_RETRY_INTERVAL, follow).await;
}

/// Ends without an error when the log does.
async fn follow(core: &Arc<Core>) -> Result<(), Status> {
    let (from, mut leadership) = (core.log.revision(), core.log.leadership());
    let watch = |resource| core.log.watch(scope(resource), from).map_err(|error| unreadable(&error));
    let (mut schemas, mut levels) = (watch(SCHEMAS)?, watch(LEVELS)?);
    loop {
        if leadership.borrow_and_update().leader {
            settle(core).await?;
        }
        loop {
            let item = tokio::select! {
                item = schemas.next() => item,
                item = levels.next() => item,
                changed = leadership.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return Ok(()),
                },
            };
            match item {
                Ok(WatchItem::Event(_)) => break,
                Ok(WatchItem::Progress(_)) => {}
                Err(ReadError::Closed) => return Ok(()),
                Err(error) => return Err(unreadable(&error)),
            }
        }
    }
}

async fn settle(core: &Arc<Core>) -> Result<(), Status> {
    let kind = by_resource(GROUP, "v1", SCHEMAS).ok_or_else(failure::no_such_resource)?;
    let page = core.log.list(&scope(SCHEMAS), ListOptions::default()).map_err(|error| unreadable(&error))?;
    for stored in &page.items {
        let schema = object::open(stored)?;
        let level = object::text(&schema, "/spec/priorityLevelConfiguration/name");
        let exists = core.log.head(&Key::new(scope(LEVELS).resource, "", level)).is_some();
        if let Some(settled) = settled(&schema, exists) {
            write(core, kind, &settled).await?;
        }
    }
    Ok(())
}

/// Another one may have written it meanwhile: then it is looked at again, as after any change.
async fn write(core: &Arc<Core>, kind: &'static Kind, schema: &Value) -> Result<(), Status> {
    let name = Some(object::text(schema, "/metadata/name"));
    match (Write { kind, namespace: "", name, subresource: Some("status") }).carry_out(core, schema).await {
        Err(status) if !matches!(status.code, 404 | 409) => Err(status),
        _ => Ok(()),
    }
}

/// The schema with its condition as it must be; `None` if it is so.
fn settled(schema: &Value, exists: bool) -> Option<Value> {
    let level = object::text(schema, "/spec/priorityLevelConfiguration/name");
    let found = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?}");
    let (status, reason, message) = match exists {
        true => ("False", "Found", format!("{found} and it exists")),
        false => ("True", "NotFound", format!("{found} but there is no such object")),
    };
    let mut conditions = schema.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let is_dangling = |condition: &Value| condition["type"] == "Dangling";
    let before = conditions.iter().position(is_dangling);
    let old = before.map(|index| &conditions[index]);
    let mut wanted =
        json!({"type": "Dangling", "status": status, "lastTransitionTime": null, "reason": reason, "message": message});
    if let Some(old) = old.filter(|old| old["status"] == status) {
        // It has been so since then.
        wanted["lastTransitionTime"] = old["lastTransitionTime"].clone();
    }
    let same = |old: &Value| ["status", "reason", "message"].iter().all(|member| old[*member] == wanted[*member]);
    if old.is_some_and(same) {
        return None;
    }
    match before {
        Some(index) => conditions[index] = wanted,
        None => conditions.push(wanted),
    }
    let mut schema = schema.clone();
    schema["status"]["conditions"] = conditions.into();
    Some(schema)
}

fn scope(resource: &str) -> Scope {
    Scope { resource: format!("{resource}.{GROUP}"), namespace: None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_schema_dangles_while_its_level_is_not_there() {
        let schema =
            json!({"metadata": {"name": "s"}, "spec": {"priorityLevelConfiguration": {"name": "l"}}, "status": {}});
        let mut dangling = settled(&schema, false).unwrap();
        let condition = dangling.pointer("/status/conditions/0").unwrap();
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("True"), &json!("NotFound")));
        assert_eq!(settled(&dangling, false), None);
        dangling["status"]["conditions"][0]["lastTransitionTime"] = "2026-01-01T00:00:00Z".into();
        dangling["status"]["conditions"][0]["message"] = "".into();
        let again = settled(&dangling, false).unwrap();
        assert_eq!(again["status"]["conditions"][0]["lastTransitionTime"], "2026-01-01T00:00:00Z", "nothing turned");
        let found = settled(&dangling, true).unwrap();
        let condition = &found["status"]["conditions"][0];
        assert_eq!((&condition["status"], &condition["lastTransitionTime"]), (&json!("False"), &Value::Null));
        assert_eq!(
            condition["message"],
            "This FlowSchema references the PriorityLevelConfiguration object named \"l\" and it exists"
        );
    }
}
