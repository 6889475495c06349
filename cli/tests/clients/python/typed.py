"""The Python package `kubernetes`, its typed clients: objects, watches, a workload, exec, logs, server-side apply."""

import json
import sys
import threading

from kubernetes import client, config, stream, watch
from kubernetes.client.rest import ApiException

NAMESPACE = "python-typed"
WAIT_S = 60


def refused(status, call, *args, **kwargs):
    """Calls; the answer must be a refusal with this status."""
    try:
        call(*args, **kwargs)
    except ApiException as error:
        assert error.status == status, error
        return error
    raise AssertionError(f"{call.__name__} was not refused")


def config_map(name, **data):
    meta = client.V1ObjectMeta(name=name, labels={"app": "typed"})
    return client.V1ConfigMap(metadata=meta, data=data)


def objects(core):
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
    made = core.create_namespaced_config_map(NAMESPACE, config_map("one", colour="red"))
    assert made.metadata.uid and made.metadata.creation_timestamp.tzinfo, made.metadata
    refused(409, core.create_namespaced_config_map, NAMESPACE, config_map("one"))
    refused(404, core.read_namespaced_config_map, "two", NAMESPACE)

    made.data["colour"] = "green"
    replaced = core.replace_namespaced_config_map("one", NAMESPACE, made)
    assert replaced.data == {"colour": "green"}, replaced.data
    stale = refused(409, core.replace_namespaced_config_map, "one", NAMESPACE, made)
    assert "object has been modified" in stale.body, stale.body
    patched = core.patch_namespaced_config_map("one", NAMESPACE, {"data": {"size": "big"}})
    assert patched.data == {"colour": "green", "size": "big"}, patched.data

    for number in range(5):
        core.create_namespaced_config_map(NAMESPACE, config_map(f"page-{number}"))
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map(NAMESPACE, label_selector="app=typed", limit=2, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert names == ["one"] + [f"page-{number}" for number in range(5)], names
    secret = client.V1Secret(metadata=client.V1ObjectMeta(name="s"), string_data={"word": "hush"})
    assert core.create_namespaced_secret(NAMESPACE, secret).data == {"word": "aHVzaA=="}


def watches(core):
    """Every change once and in order, also when the watch is taken up again from the middle."""
    start = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version

    def write():
        core.create_namespaced_config_map(NAMESPACE, config_map("seen", step="1"))
        core.patch_namespaced_config_map("seen", NAMESPACE, {"data": {"step": "2"}})
        core.delete_namespaced_config_map("seen", NAMESPACE)

    writer = threading.Thread(target=write)
    writer.start()

    def told(since, count):
        events, watcher = [], watch.Watch()
        since = {"resource_version": since, "field_selector": "metadata.name=seen", "timeout_seconds": WAIT_S}
        for event in watcher.stream(core.list_namespaced_config_map, NAMESPACE, **since):
            events.append((event["type"], event["object"].data["step"], event["object"].metadata.resource_version))
            if len(events) == count:
                watcher.stop()
        return events

    events = told(start, 3)
    writer.join()
    assert [event[:2] for event in events] == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")], events
    assert told(events[0][2], 2) == events[1:]


def applies(core):
    def apply(manager, data, force=None):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, **data}
        return core.patch_namespaced_config_map(
            "applied", NAMESPACE, body, field_manager=manager, force=force, _content_type="application/apply-patch+yaml"
        )

    assert apply("first", {"data": {"a": "1", "b": "1"}}).data == {"a": "1", "b": "1"}
    conflict = refused(409, apply, "second", {"data": {"a": "2"}})
    causes = json.loads(conflict.body)["details"]["causes"]
    assert [cause["field"] for cause in causes] == [".data.a"], causes
    assert apply("second", {"data": {"a": "2"}}, force=True).data == {"a": "2", "b": "1"}
    # What nobody says any more is gone; what another one says stays.
    left = apply("first", {})
    assert left.data == {"a": "2"}, left.data
    assert {entry.manager for entry in left.metadata.managed_fields} == {"second"}, left.metadata.managed_fields


def workload(core):
    container = {"name": "main", "image": "busybox:test", "command": ["/bin/sh", "-c", "echo started; sleep 1000000"]}
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    apps = client.AppsV1Api()
    apps.create_namespaced_deployment(NAMESPACE, {"metadata": {"name": "web"}, "spec": spec})
    watcher = watch.Watch()
    ready = 0
    for event in watcher.stream(apps.list_namespaced_deployment, NAMESPACE, timeout_seconds=WAIT_S):
        ready = event["object"].status.ready_replicas or 0
        if ready == 2:
            watcher.stop()
    assert ready == 2, ready
    scale = apps.patch_namespaced_deployment_scale("web", NAMESPACE, {"spec": {"replicas": 1}})
    assert scale.spec.replicas == 1, scale
    left = 2
    for event in watcher.stream(apps.list_namespaced_deployment, NAMESPACE, timeout_seconds=WAIT_S):
        left = event["object"].status.replicas
        if left == 1:
            watcher.stop()
    assert left == 1, left
    pods = core.list_namespaced_pod(NAMESPACE, label_selector="app=web").items
    return next(pod.metadata.name for pod in pods if pod.metadata.deletion_timestamp is None)


def inside(core, pod):
    """A command in the running container: both outputs, input, and the exit code."""
    command = ["/bin/sh", "-c", "read line; echo out $line; echo err >&2; exit 3"]
    flags = {"stdin": True, "stdout": True, "stderr": True, "tty": False, "_preload_content": False}
    session = stream.stream(core.connect_get_namespaced_pod_exec, pod, NAMESPACE, command=command, **flags)
    session.write_stdin("in\n")
    session.run_forever(timeout=WAIT_S)
    assert session.read_stdout() == "out in\n" and session.read_stderr() == "err\n"
    assert session.returncode == 3, session.returncode
    # As it came: the client makes text of bytes in its own way.
    text = core.read_namespaced_pod_log(pod, NAMESPACE, _preload_content=False).data.decode()
    assert text == "started\n", text


def main():
    config.load_kube_config()
    core = client.CoreV1Api()
    assert client.VersionApi().get_code().major == "1"
    objects(core)
    watches(core)
    applies(core)
    if "--no-containers" not in sys.argv:
        inside(core, workload(core))
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="app=typed")
    assert not core.list_namespaced_config_map(NAMESPACE, label_selector="app=typed").items
    core.delete_namespace(NAMESPACE)


main()
