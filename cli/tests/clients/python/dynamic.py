"""The Python package `kubernetes`, its dynamic client: what discovery tells, built-in and custom kinds alike."""

import tempfile

from kubernetes import config, dynamic, utils
from kubernetes.client import api_client
from kubernetes.dynamic import exceptions

NAMESPACE = "python-dynamic"
WAIT_S = 60
GROUP = "dynamic.kontiki.test"
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"gadgets.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"kind": "Gadget", "plural": "gadgets", "singular": "gadget"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["size"],
                                "properties": {
                                    "size": {"type": "integer", "minimum": 1},
                                    "colour": {"type": "string", "default": "red"},
                                },
                                "x-kubernetes-validations": [
                                    {"rule": "self.size >= oldSelf.size", "message": "gadgets do not shrink"}
                                ],
                            },
                            "status": {"type": "object", "properties": {"seen": {"type": "boolean"}}},
                        },
                    }
                },
            }
        ],
    },
}


def connected():
    # The client keeps what it discovered in a file; each look shall be a new one.
    cache = tempfile.mktemp()
    return dynamic.DynamicClient(api_client.ApiClient(), cache_file=cache)


def builtin(api):
    api.resources.get(api_version="v1", kind="Namespace").create(body={"metadata": {"name": NAMESPACE}})
    maps = api.resources.get(api_version="v1", kind="ConfigMap")
    made = maps.create(body={"metadata": {"name": "one", "labels": {"tier": "a"}}, "data": {"k": "1"}}, namespace=NAMESPACE)
    assert made.metadata.uid, made
    merged = maps.patch(
        body={"data": {"k": None, "l": "2"}},
        name="one",
        namespace=NAMESPACE,
        content_type="application/merge-patch+json",
    )
    assert merged.data.to_dict() == {"l": "2"}, merged
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"m": "3"}}
    applied = maps.server_side_apply(body=applied, name="one", namespace=NAMESPACE, field_manager="dynamic")
    assert applied.data.to_dict() == {"l": "2", "m": "3"}, applied
    listed = maps.get(namespace=NAMESPACE, label_selector="tier=a")
    assert [item.metadata.name for item in listed.items] == ["one"], listed
    for event in maps.watch(namespace=NAMESPACE, name="one", timeout=WAIT_S):
        assert (event["type"], event["object"].metadata.name) == ("ADDED", "one"), event
        break
    deployments = api.resources.get(api_version="apps/v1", kind="Deployment")
    assert "scale" in deployments.subresources and "deploy" in deployments.short_names


def custom(api):
    utils.create_from_dict(api.client, DEFINITION)
    definitions = api.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")

    def established():
        for event in definitions.watch(name=f"gadgets.{GROUP}", timeout=WAIT_S):
            conditions = (event["raw_object"].get("status") or {}).get("conditions") or []
            if any(one["type"] == "Established" and one["status"] == "True" for one in conditions):
                return True
        return False

    assert established()
    gadgets = connected().resources.get(api_version=f"{GROUP}/v1", kind="Gadget")
    gadget = {"apiVersion": f"{GROUP}/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": {"size": 2}}
    made = gadgets.create(body=gadget, namespace=NAMESPACE)
    assert made.spec.colour == "red" and made.metadata.generation == 1, made
    for body, words in [({"spec": {"size": 1}}, "gadgets do not shrink"), ({"spec": {"size": "x"}}, "spec.size")]:
        try:
            gadgets.patch(body=body, name="g", namespace=NAMESPACE, content_type="application/merge-patch+json")
        except exceptions.UnprocessibleEntityError as error:
            assert words in error.summary(), error.summary()
        else:
            raise AssertionError(f"{body} was taken")
    status = {**gadget, "metadata": made.metadata.to_dict(), "status": {"seen": True}}
    assert gadgets.status.replace(body=status, name="g", namespace=NAMESPACE).status.seen is True
    gadgets.delete(name="g", namespace=NAMESPACE)
    definitions.delete(name=f"gadgets.{GROUP}")


def main():
    config.load_kube_config()
    api = connected()
    builtin(api)
    custom(api)
    api.resources.get(api_version="v1", kind="Namespace").delete(name=NAMESPACE)


main()
