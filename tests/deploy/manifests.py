"""Rendered manifests: documents by kind and name, pods with their environment, and what must hold for all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import yaml

# What a cluster's owner makes (docs/operations.md): name → keys, None for any.
SECRETS: dict[str, set[str] | None] = {
    "optml-store": {"password", "url"},
    "optml-viewer": {"token"},
    "optml-flower": {"basic-auth"},
    "optml-aws": None,  # what boto3 reads
    "optml-tls": None,
}
PODS = ("Deployment", "StatefulSet")
_SUFFIXES = {
    "m": Fraction(1, 1000), "Ki": Fraction(2**10), "Mi": Fraction(2**20), "Gi": Fraction(2**30), "Ti": Fraction(2**40),
}  # fmt: skip

Document = dict[str, Any]


@dataclass(frozen=True)
class Workload:
    """A Deployment or StatefulSet, seen as its only container."""

    document: Document

    @property
    def name(self) -> str:
        return str(self.document["metadata"]["name"])

    @property
    def spec(self) -> Document:
        spec: Document = self.document["spec"]
        return spec

    @property
    def pod(self) -> Document:
        pod: Document = self.spec["template"]["spec"]
        return pod

    @property
    def container(self) -> Document:
        (container,) = self.pod["containers"]
        found: Document = container
        return found

    @property
    def labels(self) -> Mapping[str, str]:
        labels: Mapping[str, str] = self.spec["template"]["metadata"]["labels"]
        return labels

    @property
    def component(self) -> str:
        return self.labels["app.kubernetes.io/component"]

    def command(self) -> list[str]:
        """What runs behind tini, the image's entry point, or instead of it."""
        return [*self.container.get("command", []), *self.container.get("args", [])]


class Manifests:
    """One overlay, rendered."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = list(documents)

    @classmethod
    def parse(cls, text: str) -> Manifests:
        return cls([document for document in yaml.safe_load_all(text) if document])

    def of_kind(self, kind: str) -> list[Document]:
        return [document for document in self.documents if document["kind"] == kind]

    def named(self, kind: str, name: str) -> Document:
        (found,) = (each for each in self.of_kind(kind) if each["metadata"]["name"] == name)
        return found

    @cached_property
    def workloads(self) -> list[Workload]:
        return [Workload(document) for document in self.documents if document["kind"] in PODS]

    def of_component(self, component: str) -> list[Workload]:
        return [each for each in self.workloads if each.component == component]

    def environment(self, workload: Workload, secrets: Mapping[tuple[str, str], str]) -> dict[str, str]:
        """A container's variables as the kubelet makes them: the ConfigMaps' first, $(NAME) filled in."""
        found: dict[str, str] = {}
        for source in workload.container.get("envFrom", []):
            if "configMapRef" in source:
                found |= self.named("ConfigMap", source["configMapRef"]["name"])["data"]
        for variable in workload.container.get("env", []):
            found[variable["name"]] = self._value(variable, workload, secrets, found)
        return found

    def _value(
        self, variable: Document, workload: Workload, secrets: Mapping[tuple[str, str], str], before: Mapping[str, str]
    ) -> str:
        if "value" in variable:
            return re.sub(r"\$\(([A-Z_]+)\)", lambda match: before[match[1]], variable["value"])
        source = variable["valueFrom"]
        if "secretKeyRef" in source:
            return secrets[source["secretKeyRef"]["name"], source["secretKeyRef"]["key"]]
        kind, _, resource = source["resourceFieldRef"]["resource"].partition(".")
        amount = quantity(workload.container["resources"][kind][resource])
        return str(-(-amount // quantity(source["resourceFieldRef"]["divisor"])))


def quantity(text: str | int) -> Fraction:
    """A Kubernetes quantity as a number."""
    match = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(text))
    assert match, text
    return Fraction(match[1]) * _SUFFIXES.get(match[2], Fraction(1))


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes these labels."""
    wanted = selector.get("matchLabels", {})
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In", rule
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return True


def strings(node: Any) -> Iterator[str]:
    """Every text in a document."""
    if isinstance(node, dict):
        for value in node.values():
            yield from strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)
    elif isinstance(node, str):
        yield node
