//! Which run of a container is meant, by the pod's status: the rules and the words are the kubelet's.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::failure::{self, Refused};

/// The run whose log is asked for: the current one, or with `previous` the one before it.
pub fn logged<'a>(pod: &'a Pod, container: &str, previous: bool) -> Result<&'a str, Refused> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    check_container(pod, container)?;
    let told = |what: String| failure::bad_request(format!("container {container:?} in pod {name:?} {what}"));
    let Some(status) = status(pod, container) else { return Err(told("is not available".into())) };
    let state = status.state.as_ref();
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let last_id = last.and_then(|last| id(&last.container_id));
    if previous {
        let message = format!("previous terminated container {container:?} in pod {name:?} not found");
        return last_id.ok_or_else(|| failure::bad_request(message));
    }
    if state.is_some_and(|state| state.running.is_some()) {
        return id(&status.container_id).ok_or_else(|| told("is not available".into()));
    }
    if let Some(terminated) = state.and_then(|state| state.terminated.as_ref()) {
        return id(&terminated.container_id).or(last_id).ok_or_else(|| told("is terminated".into()));
    }
    if last.is_some() {
        return last_id.ok_or_else(|| told("is terminated".into()));
    }
    let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) else {
        return Err(told("is waiting to start - no logs yet".into()));
    };
    Err(told(match waiting.reason.as_deref().unwrap_or_default() {
        "ErrImagePull" => "is waiting to start: image can't be pulled".into(),
        "ImagePullBackOff" => "is waiting to start: trying and failing to pull image".into(),
        reason => format!("is waiting to start: {reason}"),
    }))
}

/// The running container of this name: commands run in no other.
pub fn running<'a>(pod: &'a Pod, container: &str) -> Result<&'a str, Refused> {
    check_container(pod, container)?;
    status(pod, container)
        .filter(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()))
        .and_then(|status| id(&status.container_id))
        .ok_or_else(|| failure::not_running(container))
}

fn check_container(pod: &Pod, container: &str) -> Result<(), Refused> {
    let spec = pod.spec.as_ref();
    let known = spec.is_some_and(|spec| {
        let init = spec.init_containers.iter().flatten();
        let ephemeral = spec.ephemeral_containers.iter().flatten().map(|ephemeral| &ephemeral.name);
        init.chain(&spec.containers).map(|container| &container.name).chain(ephemeral).any(|name| name == container)
    });
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    match known {
        true => Ok(()),
        false => Err(failure::not_found(format!("container {container:?} not found in pod {name:?}"))),
    }
}

fn status<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let lists = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flatten().flatten().find(|status| status.name == container)
}

fn id(id: &Option<String>) -> Option<&str> {
    id.as_deref().filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: Value) -> Pod {
        let mut status = status;
        status["name"] = json!("app");
        status["image"] = json!("demo:1");
        status["imageID"] = json!("");
        status["ready"] = json!(true);
        status["restartCount"] = json!(0);
        serde_json::from_value(json!({
            "metadata": { "name": "web", "namespace": "default" },
            "spec": { "containers": [{ "name": "app" }, { "name": "unknown" }] },
            "status": { "containerStatuses": [status] },
        }))
        .expect("a pod")
    }

    fn ended(id: &str) -> Value {
        json!({ "terminated": { "exitCode": 1, "containerID": id } })
    }

    fn message(refused: Refused) -> String {
        format!("{} {}", refused.code.as_u16(), refused.message)
    }

    #[test]
    fn the_status_tells_whose_log_is_meant() {
        let running = json!({ "running": {} });
        let waiting = |reason: &str| json!({ "waiting": { "reason": reason } });
        let in_pod = r#"400 container "app" in pod "web""#;
        let table = [
            (json!({ "state": running, "containerID": "c2" }), false, Ok("c2")),
            (json!({ "state": running, "containerID": "c2", "lastState": ended("c1") }), true, Ok("c1")),
            (json!({ "state": running, "containerID": "c2" }), true, Err("previous".into())),
            (json!({ "state": ended("c2"), "lastState": ended("c1") }), false, Ok("c2")),
            (json!({ "state": ended(""), "lastState": ended("c1") }), false, Ok("c1")),
            (json!({ "state": ended("") }), false, Err(format!("{in_pod} is terminated"))),
            (json!({ "state": waiting("CrashLoopBackOff"), "lastState": ended("c1") }), false, Ok("c1")),
            (
                json!({ "state": waiting("ContainerCreating") }),
                false,
                Err(format!("{in_pod} is waiting to start: ContainerCreating")),
            ),
            (
                json!({ "state": waiting("ErrImagePull") }),
                false,
                Err(format!("{in_pod} is waiting to start: image can't be pulled")),
            ),
            (
                json!({ "state": waiting("ImagePullBackOff") }),
                false,
                Err(format!("{in_pod} is waiting to start: trying and failing to pull image")),
            ),
            (json!({}), false, Err(format!("{in_pod} is waiting to start - no logs yet"))),
        ];
        for (status, previous, expected) in table {
            let pod = pod(status.clone());
            let expected = expected.map_err(|told: String| match told.as_str() {
                "previous" => r#"400 previous terminated container "app" in pod "web" not found"#.to_owned(),
                _ => told,
            });
            assert_eq!(logged(&pod, "app", previous).map_err(message), expected, "{status}");
        }
    }

    #[test]
    fn containers_that_are_not_there() {
        let pod = pod(json!({ "state": { "running": {} }, "containerID": "c1" }));
        let not_available = r#"400 container "unknown" in pod "web" is not available"#;
        assert_eq!(logged(&pod, "unknown", false).map_err(message), Err(not_available.into()));
        let not_there = r#"404 container "other" not found in pod "web""#;
        assert_eq!(logged(&pod, "other", false).map_err(message), Err(not_there.into()));
        assert_eq!(running(&pod, "app").map_err(message), Ok("c1"));
        let not_running = r#"500 container not found ("unknown")"#;
        assert_eq!(running(&pod, "unknown").map_err(message), Err(not_running.into()));
    }
}
