//! What the leading server writes about APIs: whether those of others are available, and that those of definitions are its own.

use std::{collections::BTreeSet, sync::Arc};

use kontiki_kinds::apiservice::{AUTOMANAGED, KIND, WHILE_SERVED, own};
use kontiki_model::Status;
use serde_json::json;

use super::{
    apis::Apis,
    availability::{self, Probes, Verdict},
};
use crate::{
    bootstrap::{self, Write},
    core::Core,
    limits,
};

/// Looks after them for as long as this server leads.
pub(crate) async fn lead(core: Arc<Core>) {
    let leading = async {
        let mut leadership = core.log.leadership();
        let mut probes = Probes::default();
        core.bootstrapped().await;
        loop {
            if leadership.wait_for(|now| now.leader).await.is_err() {
                return;
            }
            let apis = core.registry().apis().clone();
            for outcome in [settle_own(&core, &apis).await, availability::check(&core, &apis, &mut probes).await] {
                if let Err(status) = outcome {
                    tracing::warn!(code = status.code, message = status.message, "the APIServices are not up to date");
                }
            }
            tokio::time::sleep(limits::AGGREGATION_INTERVAL).await;
        }
    };
    core.stopping.run_until_cancelled(leading).await;
}

/// One APIService for each group and version that definitions make; none that was made so and is served no more.
async fn settle_own(core: &Arc<Core>, apis: &Apis) -> Result<(), Status> {
    // Nothing was read yet.
    if apis.0.is_empty() {
        return Ok(());
    }
    let kinds = core.kinds();
    let served: BTreeSet<_> = kinds.custom().iter().map(|kind| (kind.group, kind.version)).collect();
    for (group, version) in &served {
        let name = format!("{version}.{group}");
        if !apis.0.iter().any(|api| api.name == name) {
            let mut object = own(group, version);
            object["metadata"]["labels"] = json!({AUTOMANAGED: WHILE_SERVED});
            bootstrap::ensure(core, KIND.group, KIND.resource, "", object).await?;
        }
    }
    for api in apis.0.iter().filter(|api| api.backing.is_none()) {
        if api.while_served && !served.contains(&(api.group.as_str(), api.version.as_str())) {
            let write = Write { kind: &KIND, namespace: "", name: Some(&api.name), subresource: None };
            match write.remove(core, &json!({})).await {
                Err(status) if status.code != 404 => return Err(status),
                Ok(()) | Err(_) => {}
            }
        } else if !api.available {
            availability::write(core, &api.name, &Verdict::local()).await?;
        }
    }
    Ok(())
}
