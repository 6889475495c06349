//! `kontiki undo`: takes the last change of an object back, or restores its content as of a revision. Always a new write,
//! through admission like any other.

use anyhow::{Context, Result, anyhow, bail};
use http::{HeaderName, Method};
use http_body_util::BodyExt;
use serde_json::Value;

use super::{diff, object::Object, restore, secrets, show};
use crate::{
    args::Undo,
    client::{Payload, Refused},
};

/// The revision that a write reacts to.
pub const CAUSE: HeaderName = HeaderName::from_static("kontiki-cause");

pub async fn undo(arguments: Undo) -> Result<()> {
    let object = Object::find(&arguments.target).await?;
    let shown = object.shown();
    let Some(live) = object.live().await? else {
        bail!("{shown} is not there; if it was deleted: kontiki undelete {}", arguments.target.object);
    };
    if !live["metadata"]["deletionTimestamp"].is_null() {
        bail!(
            "{shown} is being deleted, which nothing takes back; when it is gone: kontiki undelete {}",
            arguments.target.object
        );
    }
    let plan = match arguments.to_revision {
        Some(revision) => to_revision(&object, &live, revision).await?,
        None => last_change(&object, &live).await?,
    };
    let content = restore::content(&live);
    if plan.content == content {
        println!("{shown} is as it was: nothing to undo");
        return Ok(());
    }
    let (mut now, mut then) = (Some(content), Some(plan.content.clone()));
    if !arguments.show_secrets {
        secrets::mask(&mut now, &mut then);
    }
    let difference = diff::unified(
        &diff::yaml(now.as_ref())?,
        &diff::yaml(then.as_ref())?,
        &format!("{shown} now"),
        &format!("{shown} restored"),
    );
    let written = write(&object, &restore::dressed(&plan.content, &live), plan.cause, arguments.dry_run).await?;
    print!("{difference}");
    if arguments.dry_run {
        println!("{shown}: a new revision would {} (dry run)", plan.what);
        return Ok(());
    }
    let revision = written["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    println!("{shown}: revision {revision} was written to {}", plan.what);
    Ok(())
}

/// What the object is to be again.
struct Plan {
    content: Value,
    cause: u64,
    what: String,
}

async fn to_revision(object: &Object, live: &Value, revision: u64) -> Result<Plan> {
    let past = object.at(&revision.to_string()).await?;
    let past = past.with_context(|| format!("{} was not there at revision {revision}", object.shown()))?;
    let another = past["metadata"]["uid"] != live["metadata"]["uid"];
    let what = format!(
        "restore the content of revision {revision}{}",
        if another { ", that of a former object of this name" } else { "" }
    );
    Ok(Plan { content: restore::content(&past), cause: revision, what })
}

/// Takes back the newest change of content that no part of the system made by itself.
async fn last_change(object: &Object, live: &Value) -> Result<Plan> {
    let (event, before, after) = changed(object, live).await?;
    let (before, after, now) = (restore::content(&before), restore::content(&after), restore::content(live));
    let reverted = restore::reverted(&before, &after, &now).map_err(|fields| {
        anyhow!(
            "revision {} cannot be taken back: changed again since: {}\nsee `kontiki history`; `kontiki undo --to-revision` restores all of a revision",
            event["revision"],
            fields.join(", ")
        )
    })?;
    let cause = event["revision"].as_u64().context("an event has a revision")?;
    let what = format!(
        "take back revision {cause} ({} by {}, {}: {})",
        show::verb(&event),
        show::user(&event),
        show::time(&event),
        show::summary(&event)
    );
    Ok(Plan { content: reverted, cause, what })
}

/// The newest change of content by somebody, and the object before and after it, in the version that it is written in.
async fn changed(object: &Object, live: &Value) -> Result<(Value, Value, Value)> {
    let (shown, uid) = (object.shown(), &live["metadata"]["uid"]);
    let mut until = u64::MAX;
    loop {
        let found = object.search(|event| {
            let foreign = event["object"]["metadata"]["uid"] != *uid;
            let created = show::text(event, "/type") == "Created";
            if foreign || created {
                let by = show::user(event);
                bail!("nothing to undo: {shown} was created by {by}, and not changed by anybody since");
            }
            let left = event["revision"].as_u64().is_some_and(|revision| revision < until);
            Ok((left && is_change_by_somebody(event)).then(|| event.clone()))
        });
        let event = found.await?.context("nothing to undo: no change by anybody is retained")?;
        let revision = |member: &str| event[member].as_u64().context("an update has revisions");
        if event["previous"].is_null() {
            bail!("the form before revision {} is no longer retained", event["revision"]);
        }
        let (before, after) = (revision("previousRevision")?, revision("revision")?);
        let unserved = || {
            let stored = object.resource.within(show::text(&event, "/previous/apiVersion"));
            format!(
                "{} was not served before revision {after}; name the version that was, as in {}.{}.{}/{}",
                object.resource.api_version(),
                stored.plural,
                stored.version,
                stored.group,
                object.name
            )
        };
        let told_before = object.in_version(&event["previous"], before).await?.with_context(unserved)?;
        let told_after = object.in_version(&event["object"], after).await?.with_context(unserved)?;
        // That an object is stored in another version is no change of it.
        if restore::content(&told_before) != restore::content(&told_after) {
            return Ok((event, told_before, told_after));
        }
        until = after;
    }
}

fn is_change_by_somebody(event: &Value) -> bool {
    let user = show::text(event, "/author/user");
    let system = user.starts_with("system:") && !user.starts_with("system:serviceaccount:");
    let contents = |form: &Value| restore::content(form);
    !system && contents(&event["previous"]) != contents(&event["object"])
}

/// Replaces the object as it was read: whoever writes in between makes this fail.
async fn write(object: &Object, wanted: &Value, cause: u64, dry_run: bool) -> Result<Value> {
    let path = format!("{}{}", object.path(), if dry_run { "?dryRun=All" } else { "" });
    let payload = Payload::Bytes { content_type: "application/json", bytes: serde_json::to_vec(wanted)?.into() };
    let sent = object.client.send(Method::PUT, &path, &[(CAUSE, &cause.to_string())], payload).await;
    let response = sent.map_err(|error| match error.downcast_ref::<Refused>() {
        Some(Refused { code: 409, .. }) => error.context("nothing was done: the object was changed meanwhile"),
        _ => error,
    })?;
    let body = response.into_body().collect().await.context("reading the answer")?.to_bytes();
    serde_json::from_slice(&body).context("the server answered something other than JSON")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_changes_that_somebody_wanted_are_taken_back() {
        let event = |user: &str, before: Value, after: Value| json!({"author": {"user": user}, "previous": before, "object": after});
        let (one, two) = (json!({"spec": 1}), json!({"spec": 2}));
        assert!(is_change_by_somebody(&event("alice", one.clone(), two.clone())));
        assert!(is_change_by_somebody(&event("system:serviceaccount:a:robot", one.clone(), two.clone())));
        assert!(!is_change_by_somebody(&event("system:kube-controller-manager", one.clone(), two)));
        assert!(!is_change_by_somebody(&event(
            "alice",
            json!({"spec": 1, "status": 1}),
            json!({"spec": 1, "status": 2})
        )));
        assert!(!is_change_by_somebody(&event("alice", one.clone(), one)));
    }
}
