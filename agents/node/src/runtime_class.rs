//! The class of its runtime that a pod names: whether this node has the handler that the class wants.

use k8s_openapi::api::{core::v1::Pod, node::v1::RuntimeClass};
use kube::{Api, Client};

/// Handlers besides the default one. There is one way to run containers here, and elsewhere it is asked for by this name.
pub const HANDLERS: [&str; 1] = ["runc"];

/// Why no sandbox can be had for the pod, in the words of the kubelet and of its runtimes.
pub async fn check(client: &Client, pod: &Pod) -> Result<(), String> {
    let name = pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.as_deref());
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(()) };
    match Api::<RuntimeClass>::all(client.clone()).get(name).await {
        Ok(class) if HANDLERS.contains(&class.handler.as_str()) => Ok(()),
        Ok(class) => Err(format!("failed to get sandbox runtime: no runtime for {:?} is configured", class.handler)),
        Err(kube::Error::Api(status)) if status.code == 404 => Err(status.message.clone()),
        Err(error) => Err(format!("failed to lookup RuntimeClass {name}: {error}")),
    }
}
