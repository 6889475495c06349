//! `kontiki undelete`: makes a deleted object again, from its last content. It is a new object: the server gives it a uid.

use anyhow::{Context, Result, bail};
use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;

use super::{
    names,
    object::{Object, there},
    restore, show,
    undo::CAUSE,
};
use crate::{args::Undelete, client::Payload};

pub async fn undelete(arguments: Undelete) -> Result<()> {
    let object = Object::find(&arguments.target).await?;
    let shown = object.shown();
    if let Some(gone) = &object.gone {
        let (definition, revision) = (&gone.definition, gone.revision);
        bail!("the definition of {shown} was deleted in revision {revision}: first kontiki undelete crd/{definition}");
    }
    if let Some(live) = object.live().await? {
        match live["metadata"]["deletionTimestamp"].as_str() {
            Some(time) => bail!("{shown} is still being deleted, since {time}: wait until it is gone"),
            None => bail!("{shown} is there: nothing to undelete"),
        }
    }
    let (mut deletion, mut asked, mut shredded) = (None, None, false);
    let last = object.search(|event| {
        let deleted: &Value = deletion.get_or_insert_with(|| event.clone());
        let same = event["resource"]["uid"] == deleted["resource"]["uid"];
        // The last form of a deletion was never one that could be read.
        let of_object = if event["type"] == "Deleted" { "previousRevision" } else { "revision" };
        let forms = [("object", of_object), ("previous", "previousRevision")];
        shredded |= same && event["object"].is_null();
        // Who deletes at last is often a controller, long after somebody asked for it.
        if same && !event["object"]["metadata"]["deletionTimestamp"].is_null() {
            asked = Some(event.clone());
        }
        // The last form before somebody asked for the deletion: with its finalizers, and without a time to go.
        let sound = |form: &Value| form.is_object() && form["metadata"]["deletionTimestamp"].is_null();
        let found = forms.into_iter().find(|(form, _)| sound(&event[*form])).filter(|_| same);
        Ok(found.map(|(form, revision)| (event[form].clone(), event[revision].as_u64())))
    });
    let last = last.await?;
    let Some(deletion) = deletion else { bail!("nothing is retained of {shown}") };
    let last = last.with_context(|| match shredded {
        true => format!("the content of {shown} was shredded"),
        false => format!("the content of {shown} before its deletion is no longer retained"),
    })?;
    let (stored, revision) = last;
    // What was stored in a version that is written no more is told in one that is.
    let told = match revision {
        Some(revision) => object.in_version(&stored, revision).await?,
        None => None,
    };
    let last = told.unwrap_or(stored);
    let resource = object.resource.within(show::text(&last, "/apiVersion"));
    let mut content = restore::content(&last);
    drop_generated(&mut content);
    for dropped in drop_lost_owners(&object, &mut content).await? {
        println!("{shown}: its owner {dropped} is gone too; it is made without that owner");
    }
    let revision = deletion["revision"].to_string();
    let payload = Payload::Bytes { content_type: "application/json", bytes: serde_json::to_vec(&content)?.into() };
    let path = resource.collection(&object.namespace);
    let response = object.client.send(Method::POST, &path, &[(CAUSE, &revision)], payload).await?;
    let body = response.into_body().collect().await.context("reading the answer")?.to_bytes();
    let made: Value = serde_json::from_slice(&body).context("the server answered something other than JSON")?;
    println!(
        "{shown}: made again as revision {}, with the content it had before {} deleted it in revision {revision}; its new uid is {}",
        show::text(&made, "/metadata/resourceVersion"),
        show::user(asked.as_ref().unwrap_or(&deletion)),
        show::text(&made, "/metadata/uid"),
    );
    Ok(())
}

/// The selector that a Job was given names its uid; the new one gets its own.
fn drop_generated(content: &mut Value) {
    const OF_UID: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];
    let is_job = content["kind"] == "Job" && content["apiVersion"].as_str().is_some_and(|it| it.starts_with("batch/"));
    if !is_job || content["spec"]["manualSelector"] == true {
        return;
    }
    if let Some(spec) = content["spec"].as_object_mut() {
        spec.remove("selector");
    }
    for labels in ["/metadata/labels", "/spec/template/metadata/labels"] {
        if let Some(labels) = content.pointer_mut(labels).and_then(Value::as_object_mut) {
            OF_UID.iter().for_each(|label| _ = labels.remove(*label));
        }
    }
}

/// An object whose owner is gone would be collected at once.
async fn drop_lost_owners(object: &Object, content: &mut Value) -> Result<Vec<String>> {
    let mut dropped = Vec::new();
    let Some(owners) = content.pointer("/metadata/ownerReferences").and_then(Value::as_array) else {
        return Ok(dropped);
    };
    let mut kept = Vec::new();
    for owner in owners {
        let (version, kind) = (show::text(owner, "/apiVersion"), show::text(owner, "/kind"));
        let group = version.rsplit_once('/').map_or("", |(group, _)| group);
        let name = show::text(owner, "/name");
        let resource = names::find(&object.resources, &format!("{kind}.{group}"))
            .or_else(|_| names::find(&object.resources, kind));
        let found = match resource {
            Ok(resource) => there(object.client.get(&resource.path(&object.namespace, name)).await)?,
            // Its kind is gone too.
            Err(_) => None,
        };
        match found {
            Some(found) if found["metadata"]["uid"] == owner["uid"] => kept.push(owner.clone()),
            Some(_) | None => dropped.push(format!("{}/{name}", kind.to_lowercase())),
        }
    }
    content["metadata"]["ownerReferences"] = Value::Array(kept);
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_job_that_is_made_again_selects_its_own_pods() {
        let labels =
            json!({"app": "a", "controller-uid": "u", "batch.kubernetes.io/controller-uid": "u", "job-name": "j"});
        let job = |manual: bool| {
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"labels": labels}, "spec": {
                "manualSelector": manual, "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
                "template": {"metadata": {"labels": labels}},
            }})
        };
        let mut generated = job(false);
        drop_generated(&mut generated);
        let left = json!({"app": "a", "job-name": "j"});
        assert_eq!(
            (&generated["metadata"]["labels"], &generated["spec"]["template"]["metadata"]["labels"]),
            (&left, &left)
        );
        assert!(generated["spec"].get("selector").is_none());
        let theirs = json!({"apiVersion": "batch.example.com/v1", "kind": "Job", "spec": {"selector": {}}});
        for mut other in [job(true), theirs, json!({"kind": "Deployment", "spec": {"selector": {}}})] {
            let before = other.clone();
            drop_generated(&mut other);
            assert_eq!(other, before);
        }
    }
}
