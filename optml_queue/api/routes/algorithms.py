"""/api/v1/algorithms: what there is to train, and its parameters."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, Self

from fastapi import APIRouter

from optml_queue.api.documents import Document
from optml_queue.driver import Driver, Parameter, algorithm_names, load_driver

router = APIRouter(prefix="/api/v1/algorithms", tags=["algorithms"])


class ParameterDocument(Document):
    """A hyper-parameter. `minimum` and `maximum` are allowed values, `above` is not; `items`: kind of a list's items.

    A `default` of null means that the spec must give it.
    """

    name: str
    kind: str
    default: Any
    help: str
    minimum: float | None
    maximum: float | None
    above: float | None
    choices: list[Any]
    items: str | None

    @classmethod
    def of(cls, parameter: Parameter) -> Self:
        fields = {name: getattr(parameter, name) for name in cls.model_fields}
        items = parameter.items.__name__ if parameter.items else None
        return cls(**fields | {"kind": parameter.kind.__name__, "items": items, "choices": list(parameter.choices)})


class MetricDocument(Document):
    """A figure that trials are judged by; the first of an algorithm is its default."""

    name: str
    goal: str
    help: str


class AlgorithmDocument(Document):
    """An algorithm of the catalogue. `data` are the kinds of data it takes, the first is its default."""

    name: str
    help: str
    parameters: list[ParameterDocument]
    metrics: list[MetricDocument]
    data: list[str]

    @classmethod
    def of(cls, driver: Driver) -> Self:
        doc = inspect.getdoc(inspect.getmodule(driver.train)) or ""
        return cls(
            name=driver.name,
            help=doc.partition("\n")[0],
            parameters=[ParameterDocument.of(each) for each in driver.parameters.values()],
            metrics=[MetricDocument(name=m.name, goal=m.goal, help=m.help) for m in driver.metrics.values()],
            data=list(driver.data),
        )


class AlgorithmList(Document):
    """The catalogue, by name."""

    algorithms: list[AlgorithmDocument]


@router.get("")
def list_algorithms() -> AlgorithmList:
    """List the algorithms of the catalogue with their parameters, metrics and kinds of data."""
    return AlgorithmList(algorithms=_catalogue())


@cache
def _catalogue() -> list[AlgorithmDocument]:
    return [AlgorithmDocument.of(load_driver(name)) for name in algorithm_names()]
