"""Strict schemas for a stream of manifests on stdin; a problem a line on stdout.

Run by the deploy environment's Python. Kubernetes' own kinds are checked by kubernetes-validate, KEDA's by its
generated models, the Prometheus operator's by the keys they may have. A kind that none of them knows is a problem too.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Never, Self

import yaml

VERSION = "1.37"
_ENDPOINT = {"port", "path", "interval", "scrapeTimeout", "scheme", "authorization", "tlsConfig", "relabelings"}
_RULE = {"alert", "expr", "for", "labels", "annotations", "record", "keep_firing_for"}


def problems(document: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with one document."""
    group = str(document.get("apiVersion", "")).partition("/")[0]
    check = {"keda.sh": _keda, "monitoring.coreos.com": _prometheus}.get(group, _kubernetes)
    name = f"{document.get('kind')}/{document.get('metadata', {}).get('name')}"
    for problem in check(document):
        yield f"{name}: {' '.join(problem.split())}"


def _kubernetes(document: Mapping[str, Any]) -> Iterator[str]:
    import kubernetes_validate

    try:
        kubernetes_validate.validate(dict(document), VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{'.'.join(map(str, error.path))}: {error.message[:300]}"
    except kubernetes_validate.SchemaNotFoundError:
        yield f"no schema for {document.get('apiVersion')}"


def _keda(document: Mapping[str, Any]) -> Iterator[str]:
    from pydantic import ValidationError

    model = getattr(_keda_models(), str(document.get("kind")), None)
    if model is None:
        yield "not a kind of KEDA's"
        return
    try:
        model.model_validate(document)
    except ValidationError as error:
        for item in error.errors():
            yield f"{'.'.join(map(str, item['loc']))}: {item['msg']}"


@cache
def _keda_models() -> Any:
    """The generated models as plain pydantic that refuses unknown keys.

    Their own base classes need a newer Python than this project supports, and drop unknown keys without a word.
    """
    from pydantic import BaseModel, ConfigDict

    class Strict(BaseModel):
        model_config = ConfigDict(extra="forbid")

    class Meta(BaseModel):
        model_config = ConfigDict(extra="allow")

    bases = types.ModuleType("cloudcoil.pydantic")
    for name in ("BaseBuilder", "BaseModelBuilder", "BuilderContextBase", "GenericListBuilder", "ListBuilderContext"):
        setattr(bases, name, _Subscripted)
    vars(bases).update(BaseModel=Strict, UNSET=None, Never=Never, Self=Self)
    meta, resources = types.ModuleType("cloudcoil.apimachinery"), types.ModuleType("cloudcoil.resources")
    vars(meta)["ObjectMeta"], vars(resources)["Resource"] = Meta, Strict
    models = types.ModuleType("keda_models")
    sys.modules |= {module.__name__: module for module in (bases, meta, resources, models)}
    sys.modules["cloudcoil"] = types.ModuleType("cloudcoil")
    places = (Path(folder) / "cloudcoil/models/keda/v1alpha1.py" for folder in sys.path)
    place = next(path for path in places if path.is_file())
    # Annotations stay text: those of the builders, which are not needed, cannot be evaluated.
    code = compile(place.read_text(), str(place), "exec", flags=annotations.compiler_flag)
    exec(code, vars(models))  # noqa: S102 - a locked package of ours
    return models


class _Subscripted:
    """Stands in for generic classes that nobody uses."""

    def __class_getitem__(cls, _: Any) -> type:
        return cls


def _prometheus(document: Mapping[str, Any]) -> Iterator[str]:
    spec = document.get("spec", {})
    if document.get("kind") == "ServiceMonitor":
        yield from _unknown("spec", spec, {"selector", "endpoints", "namespaceSelector", "jobLabel", "targetLabels"})
        for endpoint in spec.get("endpoints", []):
            yield from _unknown("spec.endpoints", endpoint, _ENDPOINT)
    elif document.get("kind") == "PrometheusRule":
        yield from _unknown("spec", spec, {"groups"})
        for group in spec.get("groups", []):
            yield from _unknown("spec.groups", group, {"name", "interval", "rules", "labels", "limit"})
            for rule in group.get("rules", []):
                yield from _unknown("spec.groups.rules", rule, _RULE)
                if "expr" not in rule:
                    yield "spec.groups.rules: a rule without expr"
    else:
        yield "not a kind that is used here"


def _unknown(place: str, mapping: Mapping[str, Any], known: set[str]) -> Iterator[str]:
    yield from (f"{place}.{key}: unknown" for key in mapping if key not in known)


if __name__ == "__main__":
    for each in yaml.safe_load_all(sys.stdin):
        for found in problems(each):
            print(found)  # noqa: T201 - its output
