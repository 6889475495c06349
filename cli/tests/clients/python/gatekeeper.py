"""An operator written with kopf that is asked before things are written: it serves webhooks and configures them itself."""

import os

import kopf
from kubernetes import config

TICKETS = "tickets.kopf.kontiki.test"


@kopf.on.startup()
def settle(settings, **_):
    config.load_kube_config()
    settings.persistence.finalizer = "kopf.kontiki.test/gatekeeper"
    settings.admission.managed = "gatekeeper.kopf.kontiki.test"
    files = {"certfile": os.environ["CERTIFICATE"], "pkeyfile": os.environ["KEY"], "cafile": os.environ["AUTHORITY"]}
    settings.admission.server = kopf.WebhookServer(addr="127.0.0.1", host="localhost", **files)


@kopf.on.mutate(TICKETS, operations=["CREATE"])
def numbered(spec, patch, userinfo, **_):
    if "seat" not in spec:
        patch.spec["seat"] = 1
    patch.metadata.annotations["sold-to"] = userinfo["username"]


@kopf.on.validate(TICKETS, operations=["CREATE", "UPDATE"])
def seated(spec, warnings, dryrun, **_):
    if spec["seat"] > 100:
        raise kopf.AdmissionError("there are a hundred seats", code=422)
    if spec["seat"] > 90:
        warnings.append("dry run: the view is poor" if dryrun else "the view is poor")


@kopf.on.mutate("configmaps", labels={"kept-by": "gatekeeper"}, operations=["CREATE"])
def marked(patch, **_):
    patch["data"] = {"mark": "seen"}


@kopf.on.validate("configmaps", labels={"kept-by": "gatekeeper"}, operations=["DELETE"])
def kept(name, old, **_):
    if old["data"].get("lock") == "yes":
        raise kopf.AdmissionError(f"{name} is locked")
