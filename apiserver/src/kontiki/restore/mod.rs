//! `restore`: the cluster's objects become again what they were at a revision of a snapshot, by new writes.
//!
//! What differs between the present and that past is proposed as commands of the user who asks, so revisions go on rising and
//! whoever watches sees each change as any other. One command if it fits in one, else several in an order in which each makes
//! sense. Objects keep the uids they had, as owner references name them.
//!
//! Query: `to` (a revision or an RFC 3339 time; absent: the snapshot's end), `dryRun=All`, `namespace` and `resource`
//! (repeated; absent: all), `anyCluster=true` (the snapshot may be another cluster's). The body is the snapshot.
mod body;
mod commit;
mod compare;
mod plan;
mod selection;

use std::sync::Arc;

use bytes::Bytes;
use http::{StatusCode, header};
use kontiki_model::{Revision, Status};
use kontiki_raft::backup::{self, Archive, BackupError};
use serde_json::{Value, json};

use self::{commit::Committed, plan::Plan, selection::Selection};
use super::{Asked, at::Moment, events::cluster, told};
use crate::{
    content,
    core::{Core, unreadable},
    definitions, failure, limits,
    request::{ApiRequest, ApiResponse, RequestBody},
};

pub(super) async fn answer(core: Arc<Core>, asked: Asked) -> Result<ApiResponse, Status> {
    let mut request = asked.request;
    // What is there, and which kinds, must not be older than the request.
    core.log.barrier().await.map_err(|error| unreadable(&error))?;
    definitions::refresh_apart(&core).await?;
    let (selection, to, dry) = match wanted(&core, &request) {
        Ok(wanted) => wanted,
        Err(refused) => {
            // Who is still sending hears nothing before.
            content::drain(std::mem::replace(&mut request.body, RequestBody::Bytes(Bytes::new())).into_body()).await;
            return Err(refused);
        }
    };
    let archive = Arc::new(body::unpack(&core, &mut request).await?);
    check_cluster(&core, &archive, &request)?;
    let to = to.map(|moment| match moment {
        Moment::Revision(revision) => backup::Moment::Revision(revision),
        Moment::Time { ms, .. } => backup::Moment::Time(ms),
    });
    let revision = archive.revision(to).map_err(|error| refused(&error))?;
    let past = Past { archive, revision };
    let (plan, committed) = if dry {
        (plan(&core, &past, &selection).await?, None)
    } else {
        let (plan, committed) = restore(&core, &past, &selection, &request).await?;
        if plan.differences.iter().any(|one| one.key.resource == definitions::resource()) {
            definitions::changed(&core).await?;
        }
        (plan, Some(committed))
    };
    let told = told(&past, &plan, committed.as_ref());
    let body = kontiki_schema::json::text(&told).map_err(failure::internal)?;
    let mut response = content::response(StatusCode::OK, "application/json", body);
    response.headers_mut().remove(header::CONTENT_LENGTH);
    Ok(response)
}

/// Which objects, at which moment, and whether it is only asked what would be done.
fn wanted(core: &Core, request: &ApiRequest) -> Result<(Selection, Option<Moment>, bool), Status> {
    let selection = Selection::read(core.kinds(), request)?;
    let to = request.query_value("to").filter(|text| !text.is_empty()).map(Moment::read).transpose()?;
    let dry = match request.query_value("dryRun").unwrap_or("") {
        "" => false,
        "All" => true,
        other => return Err(failure::bad_request(format!("dryRun={other:?} is not \"All\""))),
    };
    Ok((selection, to, dry))
}

/// The state to go back to.
#[derive(Clone)]
struct Past {
    archive: Arc<Archive>,
    revision: Revision,
}

/// Another cluster's objects would replace all of this one's.
fn check_cluster(core: &Core, archive: &Archive, request: &ApiRequest) -> Result<(), Status> {
    let (found, own) = (&archive.header().origin.cluster, cluster(core));
    if request.query_flag("anyCluster") || *found == own {
        return Ok(());
    }
    let message =
        format!("the snapshot is of another cluster: its kube-system namespace has uid {found:?}, this one's {own:?}");
    Err(failure::bad_request(message))
}

async fn plan(core: &Arc<Core>, past: &Past, selection: &Selection) -> Result<Plan, Status> {
    let (core, past, selection) = (core.clone(), past.clone(), selection.clone());
    let made = tokio::task::spawn_blocking(move || Plan::make(&core, &past.archive, past.revision, &selection));
    made.await.unwrap_or_else(|_| Err(failure::internal("the comparison ended early")))
}

/// Compares and commits, again where others write meanwhile: what is done already does not differ any more.
async fn restore(
    core: &Arc<Core>,
    past: &Past,
    selection: &Selection,
    request: &ApiRequest,
) -> Result<(Plan, Committed), Status> {
    let mut first: Option<Plan> = None;
    let mut done = Committed::default();
    for _ in 0..limits::RESTORE_ATTEMPTS_MAX {
        let plan = plan(core, past, selection).await?;
        let complete = commit::commit(core, request, &plan, &mut done).await?;
        let told = match &mut first {
            Some(told) => {
                told.amend(plan);
                told
            }
            none => none.insert(plan),
        };
        if complete {
            let plan = std::mem::take(told);
            return Ok((plan, done));
        }
        core.log.barrier().await.map_err(|error| unreadable(&error))?;
    }
    let message = format!("others wrote faster than could be compared; {} commands were committed", done.commands);
    Err(failure::timeout_to_repeat(message, limits::RETRY_AFTER_S))
}

/// A snapshot that cannot be used is the client's; a disk that cannot be written is the server's.
fn refused(error: &BackupError) -> Status {
    match error {
        BackupError::Io { .. } | BackupError::Disk(_) | BackupError::Open(_) => failure::internal(chain(error)),
        BackupError::Read(error) => crate::rest::store::read_failed(error),
        _ => failure::bad_request(chain(error)),
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn told(past: &Past, plan: &Plan, committed: Option<&Committed>) -> Value {
    let kinds = &plan.kinds;
    let header = past.archive.header();
    let changes: Vec<Value> = plan
        .differences
        .iter()
        .map(|difference| {
            let named = told::Named::of(kinds, &difference.key, &difference.uid);
            json!({"action": difference.action.name(), "object": named, "was": difference.past, "is": difference.present})
        })
        .collect();
    let commands = committed.map_or_else(|| plan.commands().len(), |done| done.commands);
    json!({
        "snapshot": header,
        "to": past.revision,
        "dryRun": committed.is_none(),
        "atomic": commands <= 1,
        "commands": commands,
        "revisions": committed.and_then(|done| done.revisions).map(|(first, last)| json!({"first": first, "last": last})),
        "unchanged": plan.unchanged,
        "changes": changes,
        "left": plan.left.iter().map(|(what, count)| json!({"what": what, "count": count})).collect::<Vec<_>>(),
        "refused": plan.refused.iter().map(|(key, why)| json!({"object": told::Named::of(kinds, key, ""), "reason": why})).collect::<Vec<_>>(),
    })
}
