"""The overlay: files of kustomize that turn the manifests of this package into one cluster's."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from optml_queue.broker import queue_name
from optml_queue.deploy.answers import Answers, External, Ingress, Queues, ResourceClass, Volume
from optml_queue.deploy.timing import Timing
from optml_queue.errors import InputError
from optml_queue.spec.document import dump

NAMESPACE = "optml"
PARTS = ("base", "worker", "components")
# Beside the workers: six of the API and one more while it is replaced, three controllers, the store, two of Flower.
SERVICE_PODS, SERVICE_CPU, SERVICE_MEMORY_GIB = 13, 4, 8
SURGE = 1.25  # a class while its pods are being replaced
HEADER = "# Written by `optml deploy render`; change the answers and render again.\n"
COMPONENTS = {"backlog": "keda", "redis": "keda-redis", "sqs": "keda-sqs"}
EVERY_POD = {"kind": "Deployment", "labelSelector": "app.kubernetes.io/name=optml"}
ARCHIVISTS = {"kind": "Deployment", "labelSelector": "app.kubernetes.io/component in (api,controller,worker)"}

Document = Mapping[str, Any]


def manifests_dir() -> Path:
    """Where the manifests lie: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_deploy"
    return installed if installed.is_dir() else package.parent / "deploy" / "k8s"


def example_text() -> str:
    """Answers to begin with, every key explained."""
    return (Path(__file__).parent / "example.yaml").read_text(encoding="utf-8")


def render(answers: Answers, output: Path, base: Path | None = None) -> list[Path]:
    """Write the overlay into a folder; the paths of its own files, sorted.

    The manifests are copied beside it (into `manifests`), so that the folder is all that a cluster's owner keeps;
    with `base` it refers to that folder instead. What was rendered before is replaced; files of others stay.
    Raises InputError when the folder cannot be written or is not one of an overlay.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        _refuse_foreign(output)
        _clear(output)
        if base is None:
            base = output / "manifests"
            for part in PARTS:
                shutil.copytree(manifests_dir() / part, base / part)
        written = []
        for name, documents in _files(answers, Path(os.path.relpath(base, output))).items():
            path = output / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(HEADER + "---\n".join(map(dump, documents)), encoding="utf-8")
            written.append(path)
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {error.strerror or error}") from None
    return sorted(written)


def _refuse_foreign(output: Path) -> None:
    top = output / "kustomization.yaml"
    if top.exists() and not top.read_text(encoding="utf-8").startswith(HEADER):
        raise InputError(f"{top} was not written by `optml deploy render`; choose another folder")


def _clear(output: Path) -> None:
    """Remove what was rendered before: a class or a choice that is gone must leave nothing behind."""
    for folder in ("classes", "manifests"):
        shutil.rmtree(output / folder, ignore_errors=True)
    for path in output.glob("*.yaml"):
        if path.read_text(encoding="utf-8").startswith(HEADER):
            path.unlink()


def _files(answers: Answers, base: Path) -> dict[str, Sequence[Document | Sequence[Document]]]:
    """Every file's documents by its path."""
    files: dict[str, Sequence[Document | Sequence[Document]]] = {
        "kustomization.yaml": [_top(answers, base)],
        "quota.yaml": [_quota(answers.classes)],
        "ending.yaml": [[_replaced("/spec/template/spec/terminationGracePeriodSeconds", answers.timing.termination_s)]],
    }
    for each in answers.classes:
        folder = f"classes/{each.name}"
        files[f"{folder}/kustomization.yaml"] = [_class(each, answers, Path("..") / ".." / base)]
        files[f"{folder}/worker.yaml"] = [_worker(each, answers.timing)]
        files[f"{folder}/scaling.yaml"] = [list(_scaling(each, answers))]
    if answers.store is not None:
        files["store.yaml"] = [list(_store_variables(answers.store, answers.broker))]
        files["store-network.yaml"] = [_store_network(answers.store)]
    if answers.trigger == "redis":
        files["keda-network.yaml"] = [_keda_network()]
    if isinstance(answers.archive, Volume):
        files["archive.yaml"] = [_claim(answers.archive)]
        files["archive-mount.yaml"] = [_mount()]
    if answers.aws_secret:
        path = "/spec/template/spec/containers/0/envFrom/-"
        files["aws.yaml"] = [[_added(path, {"secretRef": {"name": answers.aws_secret}})]]
    for service, role in answers.aws_roles.items():
        files[f"aws-{service}.yaml"] = [list(_aws_role(role, answers.sqs))]
    if answers.ingress is not None:
        files["ingress.yaml"] = [list(_ingress(answers.ingress))]
    return files


def _top(answers: Answers, base: Path) -> Document:
    own = [name for name, wanted in _own_resources(answers).items() if wanted]
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAMESPACE,
        "resources": [str(base / "base"), *(f"classes/{each.name}" for each in answers.classes), *own],
        "components": [str(base / "components" / name) for name in _components(answers)],
        "images": [_image("optml-worker", answers.worker_image), _image("optml-api", answers.api_image)]
        + ([_image("optml-valkey", answers.valkey_image)] if answers.store is None else []),
        "configMapGenerator": [
            {"name": "optml", "namespace": NAMESPACE, "behavior": "merge", "literals": list(_settings(answers))}
        ],
        "patches": list(_patches(answers)),
    }


def _own_resources(answers: Answers) -> dict[str, bool]:
    return {
        "store-network.yaml": answers.store is not None,
        "keda-network.yaml": answers.trigger == "redis",
        "archive.yaml": isinstance(answers.archive, Volume),
    }


def _components(answers: Answers) -> Iterator[str]:
    wanted = {
        "monitoring": answers.monitoring,
        "flower": answers.flower,
        "dashboard": answers.dashboard,
        "ingress": answers.ingress is not None,
    }
    yield from (name for name, is_wanted in wanted.items() if is_wanted)
    # The last one: it tells all that came before where the store is.
    if answers.store is None:
        yield "valkey"


def _patches(answers: Answers) -> Iterator[Document]:
    yield {"path": "quota.yaml"}
    yield {"path": "ending.yaml", "target": {"kind": "Deployment", "name": "optml-controller"}}
    if answers.store is not None:
        yield {"path": "store.yaml", "target": EVERY_POD}
    if isinstance(answers.archive, Volume):
        yield {"path": "archive-mount.yaml", "target": ARCHIVISTS}
    if answers.aws_secret:
        yield {"path": "aws.yaml", "target": ARCHIVISTS}
    for service in answers.aws_roles:
        target = {"kind": "Deployment", "labelSelector": f"app.kubernetes.io/component={service}"}
        yield {"path": f"aws-{service}.yaml", "target": target}
    if answers.ingress is not None:
        yield {"path": "ingress.yaml", "target": {"kind": "Ingress", "name": "optml"}}


def _settings(answers: Answers) -> Iterator[str]:
    timing = answers.timing
    yield f"OPTML_BEAT_S={timing.beat_s:g}"
    yield f"OPTML_LEASE_S={timing.lease_s:g}"
    yield f"OPTML_VISIBILITY_S={timing.visibility_s:g}"
    yield f"OPTML_GRACE_S={timing.grace_s:g}"
    yield f"OPTML_ARCHIVE_URL={answers.archive if isinstance(answers.archive, str) else '/archive'}"
    yield f"OPTML_ALLOW_PROGRAMS={str(answers.allow_programs).lower()}"
    if answers.flower:
        yield "OPTML_EVENTS=true"  # without, Flower has nothing to show
    if answers.sqs is not None:
        yield "OPTML_BROKER_URL=sqs://"
        yield f"OPTML_SQS_REGION={answers.sqs.region}"
        yield f"OPTML_SQS_QUEUE_PREFIX={answers.sqs.prefix}"


def _image(name: str, image: str) -> Document:
    place, at, digest = image.partition("@")
    if at:
        return {"name": name, "newName": place, "digest": digest}
    place, _, tag = image.rpartition(":")
    return {"name": name, "newName": place, "newTag": tag}


def _quota(classes: Sequence[ResourceClass]) -> Document:
    def most(figure: str) -> float:
        return sum(math.ceil(each.most * SURGE) * float(getattr(each, figure)) for each in classes)

    pods = sum(math.ceil(each.most * SURGE) for each in classes)
    hard = {
        "requests.cpu": str(math.ceil(most("cpu")) + SERVICE_CPU),
        "requests.memory": f"{math.ceil(most('memory_mib') / 1024) + SERVICE_MEMORY_GIB}Gi",
        "pods": str(pods + SERVICE_PODS),
    }
    if gpus := int(most("gpu")):
        hard["requests.nvidia.com/gpu"] = str(gpus)
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "optml"}, "spec": {"hard": hard}}


# A class


def _class(each: ResourceClass, answers: Answers, base: Path) -> Document:
    document: dict[str, Any] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAMESPACE,
        "resources": [str(base / "worker")],
        "components": [str(base / "components" / COMPONENTS[answers.trigger])],
        "nameSuffix": f"-{each.name}",
        "labels": [{"pairs": {"optml.dev/class": each.name}, "includeSelectors": True}],
        "patches": [{"path": "worker.yaml"}, {"path": "scaling.yaml", "target": {"kind": "ScaledObject"}}],
    }
    return document | ({"images": [_image("optml-worker", each.image)]} if each.image else {})


def _worker(each: ResourceClass, timing: Timing) -> Document:
    amounts = {"cpu": _cpu(each.cpu), "memory": _memory(each.memory_mib)}
    gpus = {"nvidia.com/gpu": str(each.gpu)} if each.gpu else {}
    container = {
        "name": "worker",
        "env": [{"name": "OPTML_RESOURCE_CLASS", "value": each.name}],
        "resources": {
            "requests": {**amounts, **gpus, "ephemeral-storage": _memory(min(1024, each.scratch_mib))},
            "limits": {**amounts, **gpus, "ephemeral-storage": _memory(each.scratch_mib + 1024)},
        },
    }
    pod: dict[str, Any] = {
        "terminationGracePeriodSeconds": timing.termination_s,
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": _memory(each.scratch_mib)}}],
    }
    if each.node_selector:
        pod["nodeSelector"] = dict(each.node_selector)
    if tolerations := list(_tolerations(each)):
        pod["tolerations"] = tolerations
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "optml-worker"},
        "spec": {"template": {"spec": pod}},
    }


def _tolerations(each: ResourceClass) -> Iterator[Document]:
    if each.gpu:
        yield {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    if each.is_spot:
        yield {"key": "optml.dev/spot", "operator": "Exists", "effect": "NoSchedule"}


def _scaling(each: ResourceClass, answers: Answers) -> Iterator[Document]:
    yield _replaced("/spec/maxReplicaCount", each.most)
    place = "/spec/triggers/0/metadata"
    if answers.trigger == "backlog":
        api = f"http://optml-api.{NAMESPACE}.svc.cluster.local:8000"
        yield _replaced(f"{place}/url", f"{api}/api/v1/backlog/{each.name}")
    elif answers.trigger == "redis":
        yield _replaced(f"{place}/listName", queue_name(each.name))
    elif answers.sqs is not None:
        yield _replaced(f"{place}/queueURL", _queue_url(answers.sqs, each.name))
        yield _replaced(f"{place}/awsRegion", answers.sqs.region)


def _queue_url(sqs: Queues, resource_class: str) -> str:
    return f"https://sqs.{sqs.region}.amazonaws.com/{sqs.account}/{sqs.prefix}{queue_name(resource_class)}"


def _cpu(cores: float) -> str:
    return f"{cores:g}" if cores == int(cores) else f"{round(cores * 1000)}m"


def _memory(mib: int) -> str:
    return f"{mib // 1024}Gi" if mib % 1024 == 0 else f"{mib}Mi"


# Places: store, archive, the way in


def _store_variables(store: External, broker: str) -> Iterator[Document]:
    name = "OPTML_STORE_URL" if broker == "sqs" else "OPTML_BROKER_URL"
    reference = {"secretKeyRef": {"name": store.secret, "key": "url"}}
    yield _added("/spec/template/metadata/labels/optml.dev~1store-client", "true")
    yield _added("/spec/template/spec/containers/0/env/-", {"name": name, "valueFrom": reference})


def _store_network(store: External) -> Document:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "store-clients"},
        "spec": {
            "podSelector": {"matchLabels": {"optml.dev/store-client": "true"}},
            "policyTypes": ["Egress"],
            "egress": [
                {"to": [{"ipBlock": {"cidr": store.cidr}}], "ports": [{"protocol": "TCP", "port": store.port}]},
            ],
        },
    }


def _keda_network() -> Document:
    keda = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "keda-to-store"},
        "spec": {
            "podSelector": {"matchLabels": {"app.kubernetes.io/component": "store"}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [keda], "ports": [{"protocol": "TCP", "port": 6379}]}],
        },
    }


def _claim(volume: Volume) -> Document:
    spec: dict[str, Any] = {
        "accessModes": [volume.access_mode],
        "resources": {"requests": {"storage": volume.size}},
    }
    if volume.storage_class:
        spec["storageClassName"] = volume.storage_class
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "optml-archive"}, "spec": spec}


def _mount() -> Sequence[Document]:
    claim = {"claimName": "optml-archive"}
    pod = "/spec/template/spec"
    return [
        _added(f"{pod}/volumes/-", {"name": "archive", "persistentVolumeClaim": claim}),
        _added(f"{pod}/containers/0/volumeMounts/-", {"name": "archive", "mountPath": "/archive"}),
    ]


def _aws_role(role: str, sqs: Queues | None) -> Iterator[Document]:
    """A token for AWS's token service alone, in exchange for which it gives the role's keys for an hour."""
    pod, place = "/spec/template/spec", "/var/run/secrets/aws"
    token = {"serviceAccountToken": {"audience": "sts.amazonaws.com", "expirationSeconds": 3600, "path": "token"}}
    yield _added(f"{pod}/volumes/-", {"name": "aws", "projected": {"sources": [token]}})
    yield _added(f"{pod}/containers/0/volumeMounts/-", {"name": "aws", "mountPath": place, "readOnly": True})
    variables = {"AWS_ROLE_ARN": role, "AWS_WEB_IDENTITY_TOKEN_FILE": f"{place}/token"}
    if sqs is not None:
        variables["AWS_DEFAULT_REGION"] = sqs.region
    for name, value in variables.items():
        yield _added(f"{pod}/containers/0/env/-", {"name": name, "value": value})


def _ingress(ingress: Ingress) -> Iterator[Document]:
    yield _replaced("/spec/ingressClassName", ingress.controller)
    yield _replaced("/spec/tls/0", {"hosts": [ingress.host], "secretName": ingress.tls_secret})
    yield _replaced("/spec/rules/0/host", ingress.host)


def _added(path: str, value: Any) -> Document:
    return {"op": "add", "path": path, "value": value}


def _replaced(path: str, value: Any) -> Document:
    return {"op": "replace", "path": path, "value": value}
