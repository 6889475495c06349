//! Lifecycle hooks: what a container does right after its start and right before its stop.

use std::time::Duration;

use k8s_openapi::api::core::v1::LifecycleHandler;

use crate::probes::{Checker, HttpRequest, exec, http_get};

/// Runs the hook to its end. Dropping the future ends its command.
pub async fn run(handler: &LifecycleHandler, checker: &Checker) -> Result<(), String> {
    if let Some(action) = &handler.exec {
        let command = action.command.clone().unwrap_or_default();
        let shown = command.join(" ");
        return match exec::run(&checker.containers, &checker.sandbox, &checker.id, command).await {
            Ok((0, _)) => Ok(()),
            Ok((code, output)) => Err(format!("command '{shown}' exited with {code}: {output}")),
            Err(refusal) => Err(format!("command '{shown}' failed: {refusal}")),
        };
    }
    if let Some(action) = &handler.http_get {
        let request = HttpRequest::of(action, &checker.container, checker.address)?;
        return http_get(&request).await.map(drop);
    }
    if let Some(action) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(action.seconds.unsigned_abs())).await;
        return Ok(());
    }
    Err("invalid handler: it names neither exec nor httpGet nor sleep".to_owned())
}
