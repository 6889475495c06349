//! Writes what the expressions of each policy come to under the types of what it is about.

use http::Method;
use kontiki_kinds::{KindRef, by_gvk};
use kontiki_model::{Scope, Status};
use kontiki_raft::{ListOptions, ReadError};
use std::sync::Arc;

use super::{checking, limits::CHECK_RETRY_INTERVAL};
use crate::{
    bootstrap,
    core::{Core, unreadable},
    failure,
    request::ResourceRequest,
    rest::{self, object},
};

/// Follows the policies until it is dropped, or until the log ends.
pub(crate) async fn keep(core: &Arc<Core>) {
    loop {
        match follow(core).await {
            Ok(()) => return,
            Err(status) => {
                tracing::warn!(message = status.message, "policies are not checked against the types of objects")
            }
        }
        tokio::time::sleep(CHECK_RETRY_INTERVAL).await;
    }
}

async fn follow(core: &Arc<Core>) -> Result<(), Status> {
    let kind = by_gvk("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy");
    let kind: KindRef = kind.ok_or_else(|| failure::internal("no such kind"))?.into();
    let scope = Scope { resource: kind.storage_resource(), namespace: None };
    let mut watch = core.log.watch(scope.clone(), core.log.revision()).map_err(|error| unreadable(&error))?;
    loop {
        let page = core.log.list(&scope, ListOptions::default()).map_err(|error| unreadable(&error))?;
        for stored in &page.items {
            let policy = object::open(stored)?;
            let (checked, kinds) = (policy.clone(), core.kinds());
            let settled = tokio::task::spawn_blocking(move || checking::settled(&checked, &kinds));
            if let Some(settled) = settled.await.map_err(failure::internal)? {
                write(core, &kind, &stored.key.name, &settled.to_string()).await?;
            }
        }
        match watch.next().await {
            Ok(_) => {}
            Err(ReadError::Closed) => return Ok(()),
            Err(error) => return Err(unreadable(&error)),
        }
    }
}

/// That somebody else was faster is no fault: their write is looked at next.
async fn write(core: &Arc<Core>, kind: &KindRef, name: &str, policy: &str) -> Result<(), Status> {
    let request = bootstrap::own_request(Method::PUT, policy.to_owned());
    let route = ResourceRequest {
        kind: kind.clone(),
        namespace: None,
        name: Some(name.to_owned()),
        subresource: Some("status".to_owned()),
        rest: String::new(),
        verb: "update",
    };
    match rest::dispatch(core, route, request).await {
        Ok(_) => Ok(()),
        Err(status) if matches!(status.code, 404 | 409) => Ok(()),
        Err(status) => Err(status),
    }
}
