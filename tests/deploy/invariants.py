"""What must hold for every rendered overlay, beyond its schemas. Each rule yields what breaks it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import typer

from optml_queue.broker import queue_name
from optml_queue.cli.main import app
from optml_queue.deploy.timing import Timing
from optml_queue.errors import SettingsError
from optml_queue.settings import Settings, read_settings
from tests.deploy.manifests import SECRETS, Document, Manifests, Workload, quantity, selects, strings

_SECRET = re.compile(
    r"(?i)(password|passwd|secret|token|access_?key)[\"']?\s*[=:]\s*[^$\s{%(]{4,}|://[^/\s]*:[^$/\s][^/\s]*@"
)

SCALERS = {"ScaledObject": "maxReplicaCount", "HorizontalPodAutoscaler": "maxReplicas"}


class _AnySecret(dict[tuple[str, str], str]):
    """Stands in for the Secrets, with a value that fits each key."""

    def __missing__(self, key: tuple[str, str]) -> str:
        return {"url": "rediss://:f00d@store.example:6379/0", "basic-auth": "ada:f00d"}.get(key[1], "f00d")


ANY_SECRET = _AnySecret()


def settings_of(manifests: Manifests, workload: Workload) -> Settings:
    """The settings that a pod of ours reads."""
    return read_settings(manifests.environment(workload, ANY_SECRET))


def ours(manifests: Manifests) -> list[Workload]:
    """The workloads that run this package."""
    return [each for each in manifests.workloads if each.component != "store"]


def selectors_select(manifests: Manifests) -> Iterator[str]:
    pods = [each.labels for each in manifests.workloads]
    for each in manifests.workloads:
        if not selects(each.spec["selector"], each.labels):
            yield f"{each.name}: selects other pods than its own"
        if sum(selects(each.spec["selector"], labels) for labels in pods) != 1:
            yield f"{each.name}: selects others' pods"
        for spread in each.pod.get("topologySpreadConstraints", []):
            if not selects(spread["labelSelector"], each.labels):
                yield f"{each.name}: spreads other pods than its own"
    for kind, document, selector in _selectors(manifests):
        if not any(selects(selector, labels) for labels in pods):
            yield f"{kind} {document['metadata']['name']}: selects no pod"
    for document in manifests.of_kind("ServiceMonitor"):
        if not any(_monitored(document, service) for service in manifests.of_kind("Service")):
            yield f"ServiceMonitor {document['metadata']['name']}: selects no Service with its port"


def _selectors(manifests: Manifests) -> Iterator[tuple[str, Document, Document]]:
    for document in manifests.of_kind("Service"):
        yield "Service", document, {"matchLabels": document["spec"]["selector"]}
    for document in manifests.of_kind("PodDisruptionBudget"):
        yield "PodDisruptionBudget", document, document["spec"]["selector"]
    for document in manifests.of_kind("NetworkPolicy"):
        yield "NetworkPolicy", document, document["spec"]["podSelector"]


def _monitored(monitor: Document, service: Document) -> bool:
    ports = {port["name"] for port in service["spec"]["ports"]}
    wanted = {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]}
    return selects(monitor["spec"]["selector"], service["metadata"].get("labels", {})) and wanted <= ports


def references_exist(manifests: Manifests) -> Iterator[str]:
    there = {(each["kind"], each["metadata"]["name"]) for each in manifests.documents}
    for each in manifests.workloads:
        wanted = {("ServiceAccount", each.pod["serviceAccountName"]), ("PriorityClass", each.pod["priorityClassName"])}
        for reference in sorted((wanted | set(_configuration(each))) - there):
            yield f"{each.name}: no {' '.join(reference)}"
        mounts = {mount["name"] for mount in each.container["volumeMounts"]}
        claims = {claim["metadata"]["name"] for claim in each.spec.get("volumeClaimTemplates", [])}
        if mounts != {volume["name"] for volume in each.pod.get("volumes", [])} | claims:
            yield f"{each.name}: mounts are not its volumes"
    for document in manifests.documents:
        for name, key in _secrets(document):
            if name not in SECRETS or (key and key not in (SECRETS[name] or {key})):
                yield f"{document['kind']} {document['metadata']['name']}: no Secret {name} with {key} is documented"
        yield from _targets_exist(document, there)


def _targets_exist(document: Document, there: set[tuple[str, str]]) -> Iterator[str]:
    name = f"{document['kind']} {document['metadata']['name']}"
    if document["kind"] in SCALERS:
        target = document["spec"]["scaleTargetRef"]
        if (target.get("kind", "Deployment"), target["name"]) not in there:
            yield f"{name}: scales what is not there"
    for trigger in document["spec"].get("triggers", []) if document["kind"] == "ScaledObject" else []:
        access = trigger.get("authenticationRef", {}).get("name")
        if access and ("TriggerAuthentication", access) not in there:
            yield f"{name}: no TriggerAuthentication {access}"


def _configuration(workload: Workload) -> Iterator[tuple[str, str]]:
    for source in workload.container.get("envFrom", []):
        if "configMapRef" in source:
            yield "ConfigMap", source["configMapRef"]["name"]
    for volume in workload.pod.get("volumes", []):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]


def _secrets(node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, list):
        for value in node:
            yield from _secrets(value)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("secretKeyRef", "credentials"):
                yield value["name"], value["key"]
            elif key == "secretRef":
                yield value["name"], ""
            elif key == "secretTargetRef":
                yield from ((item["name"], item["key"]) for item in value)
            else:
                yield from _secrets(value)


def requests_fit(manifests: Manifests) -> Iterator[str]:
    for each in manifests.workloads:
        resources = each.container["resources"]
        for resource in ("cpu", "memory", "ephemeral-storage"):
            if resource not in resources["requests"] or resource not in resources["limits"]:
                yield f"{each.name}: {resource} has no request or no limit"
            elif quantity(resources["requests"][resource]) > quantity(resources["limits"][resource]):
                yield f"{each.name}: requests more {resource} than its limit"
        for volume in each.pod.get("volumes", []):
            size = volume.get("emptyDir", {}).get("sizeLimit")
            in_memory = volume.get("emptyDir", {}).get("medium") == "Memory"
            if size and not in_memory and quantity(size) > quantity(resources["limits"]["ephemeral-storage"]):
                yield f"{each.name}: {volume['name']} is larger than the storage it may use"
    yield from _quota_fits(manifests)


def _quota_fits(manifests: Manifests) -> Iterator[str]:
    most = dict(_caps(manifests))
    (quota,) = manifests.of_kind("ResourceQuota")
    hard = quota["spec"]["hard"]
    replicas = {each.name: most.get(each.name, int(each.spec.get("replicas", 1))) for each in manifests.workloads}
    for resource in ("cpu", "memory"):
        needed = Fraction(0)
        for each in manifests.workloads:
            needed += replicas[each.name] * quantity(each.container["resources"]["requests"][resource])
        if needed > quantity(hard[f"requests.{resource}"]):
            yield f"quota: too little {resource} for every class at its cap"
    if sum(replicas.values()) > quantity(hard["pods"]):
        yield "quota: too few pods for every class at its cap"


def _caps(manifests: Manifests) -> Iterator[tuple[str, int]]:
    for kind, key in SCALERS.items():
        for each in manifests.of_kind(kind):
            yield str(each["spec"]["scaleTargetRef"]["name"]), int(each["spec"][key])


def times_in_order(manifests: Manifests) -> Iterator[str]:
    """3 beat <= lease <= visibility <= termination, termination >= grace + hand-back, on spot <= 120 s."""
    for each in manifests.of_component("worker") + manifests.of_component("controller"):
        data = manifests.environment(each, ANY_SECRET)
        timing = Timing(*(float(data[f"OPTML_{key}_S"]) for key in ("BEAT", "LEASE", "VISIBILITY", "GRACE")))
        spot = any(item["key"] == "optml.dev/spot" for item in each.pod.get("tolerations", []))
        for key, said in timing.problems(spot=spot):
            yield f"{each.name}: {key} {said}"
        if each.pod["terminationGracePeriodSeconds"] < timing.termination_s:
            yield f"{each.name}: is killed before it can hand its trial back"
        if spot and each.pod["terminationGracePeriodSeconds"] > 120:
            yield f"{each.name}: takes longer to end than a spot machine is given"


def classes_agree(manifests: Manifests) -> Iterator[str]:
    """Label, settings, queue and trigger of a class name the same class."""
    scaled = {each["spec"]["scaleTargetRef"]["name"]: each for each in manifests.of_kind("ScaledObject")}
    seen = set()
    for each in manifests.of_component("worker"):
        name = manifests.environment(each, ANY_SECRET)["OPTML_RESOURCE_CLASS"]
        if name in seen or name != each.labels["optml.dev/class"] or each.name != f"optml-worker-{name}":
            yield f"{each.name}: takes the trials of {name}"
        seen.add(name)
        if each.name not in scaled:
            yield f"{each.name}: nothing scales it"
            continue
        metadata = scaled[each.name]["spec"]["triggers"][0]["metadata"]
        asked = metadata.get("url", "") or metadata.get("listName", "") or metadata.get("queueURL", "")
        if not asked.endswith((f"/api/v1/backlog/{name}", queue_name(name))):
            yield f"{each.name}: is scaled by {asked}"


def scaled_by_one(manifests: Manifests) -> Iterator[str]:
    """What an autoscaler counts has no count in its file: applying it again would end busy workers."""
    for kind in SCALERS:
        for document in manifests.of_kind(kind):
            name = document["spec"]["scaleTargetRef"]["name"]
            for each in manifests.workloads:
                if each.name == name and "replicas" in each.spec:
                    yield f"{name}: has replicas, and an autoscaler"
    for document in manifests.of_kind("ScaledObject"):
        spec = document["spec"]
        if spec["minReplicaCount"] != 0 or spec["fallback"]["behavior"] != "currentReplicas":
            yield f"{document['metadata']['name']}: does not go to zero, or ends workers when nobody answers"
        if [trigger["metricType"] for trigger in spec["triggers"]] != ["AverageValue"] * len(spec["triggers"]):
            yield f"{document['metadata']['name']}: KEDA's fallback works with average values only"
        if len(spec["triggers"]) > 1 and "scalingModifiers" not in spec["advanced"]:
            yield f"{document['metadata']['name']}: several triggers without a formula count as the largest"


def settings_known(manifests: Manifests) -> Iterator[str]:
    for each in ours(manifests):
        try:
            settings = settings_of(manifests, each)
        except SettingsError as error:
            yield f"{each.name}: {error}"
            continue
        if settings.is_embedded or settings.archive_url is None:
            yield f"{each.name}: no broker or no archive"


def commands_exist(manifests: Manifests) -> Iterator[str]:
    for each in ours(manifests):
        commands = [each.command()]
        commands += [probe["exec"]["command"] for probe in _probes(each).values() if "exec" in probe]
        for command in commands:
            if problem := command_problem(command):
                yield f"{each.name}: {' '.join(command)}: {problem}"
        if each.component == "worker" and not {"--no-control", "1"} <= set(each.command()):
            yield f"{each.name}: runs more than one worker in a pod, or a control process"


def command_problem(command: Sequence[str]) -> str:
    """What the command line has against a command; "" when it would run."""
    if not command or command[0] != "optml":
        return "is not optml"
    found: Any = typer.main.get_command(app)
    words = list(command[1:])
    try:
        while hasattr(found, "commands"):
            name = words.pop(0) if words else ""
            if name not in found.commands:
                return f"there is no {name!r}"
            found = found.commands[name]
        found.make_context("optml", words)
    except Exception as error:  # noqa: BLE001 - whatever Typer's own copy of click raises
        return str(getattr(error, "message", error)) or type(error).__name__
    return ""


def _probes(workload: Workload) -> dict[str, Document]:
    return {name: probe for name, probe in workload.container.items() if name.endswith("Probe")}


def probes_exist(manifests: Manifests) -> Iterator[str]:
    for each in manifests.workloads:
        probes = _probes(each)
        if not {"livenessProbe", "readinessProbe"} <= probes.keys():
            yield f"{each.name}: has no liveness or no readiness probe"
        for probe in probes.values():
            path = probe.get("httpGet", {}).get("path")
            if path and path not in _paths(each.component):
                yield f"{each.name}: nothing answers {path}"


def _paths(component: str) -> set[str]:
    if component == "flower":
        from flower.urls import handlers

        return {str(each.regex.pattern).rstrip("$") if hasattr(each, "regex") else str(each[0]) for each in handlers}
    from optml_queue.api.access import OPEN

    return set(OPEN)


def pods_restricted(manifests: Manifests) -> Iterator[str]:
    for each in manifests.workloads:
        security, inside = each.pod["securityContext"], each.container.get("securityContext", {})
        rules = {
            "runs as root": security.get("runAsNonRoot") is True and security.get("runAsUser") == 10001,
            "has no seccomp profile": security.get("seccompProfile") == {"type": "RuntimeDefault"},
            "can gain privileges": inside.get("allowPrivilegeEscalation") is False,
            "can write its root": inside.get("readOnlyRootFilesystem") is True,
            "keeps capabilities": inside.get("capabilities") == {"drop": ["ALL"]},
            "has a token": each.pod.get("automountServiceAccountToken") is False,
            "gets Services' variables among ours": each.pod.get("enableServiceLinks") is False,
            "has an image without a version": bool(re.search(r":(?!latest$)[^/]+$|@sha256:", each.container["image"])),
        }
        yield from (f"{each.name}: {said}" for said, holds in rules.items() if not holds)


def no_secrets_told(manifests: Manifests) -> Iterator[str]:
    for document in manifests.documents:
        if document["kind"] == "Secret":
            yield f"Secret {document['metadata']['name']}: stands in a file"
        for text in strings(document):
            if document["kind"] not in ("PrometheusRule", "Role") and _SECRET.search(text):
                yield f"{document['kind']} {document['metadata']['name']}: {text[:30]!r} looks like a secret"


def network_closed(manifests: Manifests) -> Iterator[str]:
    policies = {each["metadata"]["name"]: each["spec"] for each in manifests.of_kind("NetworkPolicy")}
    if policies.get("default-deny") != {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}:
        yield "NetworkPolicy: not everything is denied at first"
    for name, spec in policies.items():
        for rule in spec.get("egress", []):
            for place in rule.get("to", []):
                block = place.get("ipBlock", {})
                if block.get("cidr") == "0.0.0.0/0" and "169.254.0.0/16" not in block.get("except", []):
                    yield f"NetworkPolicy {name}: lets pods ask for the machine's credentials"
    (namespace,) = manifests.of_kind("Namespace")
    if namespace["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
        yield "Namespace: takes any pod"


RULES: tuple[Callable[[Manifests], Iterator[str]], ...] = (
    selectors_select, references_exist, requests_fit, times_in_order, classes_agree, scaled_by_one, settings_known,
    commands_exist, probes_exist, pods_restricted, no_secrets_told, network_closed,
)  # fmt: skip
