"""An operator written with kopf: every Exhibit gets a ConfigMap of its own, follows its text, and is mourned."""

import kopf
from kubernetes import client, config


@kopf.on.startup()
def settle(settings, **_):
    config.load_kube_config()
    settings.persistence.finalizer = "kopf.kontiki.test/farewell"


def config_map(name, text):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": text}}


@kopf.on.create("exhibits")
def create(body, spec, name, namespace, **_):
    shown = config_map(f"{name}-shown", spec["text"])
    kopf.adopt(shown)
    client.CoreV1Api().create_namespaced_config_map(namespace, shown)
    kopf.event(body, type="Normal", reason="Shown", message=f"{name} is shown")
    return {"shown": spec["text"]}


@kopf.on.update("exhibits", field="spec.text")
def update(old, new, name, namespace, patch, **_):
    client.CoreV1Api().patch_namespaced_config_map(f"{name}-shown", namespace, {"data": {"text": new}})
    patch.status["changed"] = f"{old} -> {new}"


@kopf.on.delete("exhibits")
def delete(spec, name, namespace, **_):
    client.CoreV1Api().create_namespaced_config_map(namespace, config_map(f"{name}-mourned", spec["text"]))
