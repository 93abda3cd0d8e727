"""A search: the points to try, in which order, each with which seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optml_queue.expression import parse
from optml_queue.space import Space, axis_from_dict
from optml_queue.trial import Params

HYBRID = "hybrid"  # the method of a search that has several, one after the other
REST = "rest"


@dataclass(frozen=True, slots=True)
class Stage:
    """A method, and how many trials it has; None is all that are left."""

    method: str
    trials: int | None = None


@dataclass(frozen=True)
class Search:
    """The part of a spec that says which trials there are. `until` is None, but for one that was extended.

    The `stages` of a hybrid follow one another; another method has none.

    `optml extend` ends a search: it keeps the trial numbers below `until`, and the next one has those from there on.
    """

    method: str
    space: Space
    seed: int = 0
    points: tuple[Params, ...] = ()
    seeds: tuple[int, ...] = (0,)
    max_trials: int | None = None
    until: int | None = None
    stages: tuple[Stage, ...] = ()

    @property
    def course(self) -> tuple[Stage, ...]:
        """The methods in turn: of a hybrid its stages, else the one there is."""
        return self.stages or (Stage(self.method),)

    def to_dict(self) -> dict[str, Any]:
        """The search with the keys of a spec."""
        return {
            "method": method_keys(self.method, self.stages),
            **({"seed": self.seed} if self.method != "grid" else {}),
            "parameters": {axis.name: axis.to_dict() for axis in self.space.axes},
            "exclude": [condition.text for condition in self.space.exclude],
            "points": list(self.points),
            "seeds": list(self.seeds),
            **({"max_trials": self.max_trials} if self.max_trials is not None else {}),
            **({"until": self.until} if self.until is not None else {}),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Search:
        """The search that `to_dict` wrote; a spec's other keys are ignored."""
        method, stages = _method(fields["method"])
        return cls(
            method=method,
            stages=stages,
            space=_space(fields["parameters"], fields["exclude"]),
            seed=fields.get("seed", 0),
            points=tuple(fields["points"]),
            seeds=tuple(fields["seeds"]),
            max_trials=fields.get("max_trials"),
            until=fields.get("until"),
        )


def method_keys(method: str, stages: Sequence[Stage]) -> str | list[dict[str, int | str]]:
    """The method as a spec writes it."""
    return [{each.method: REST if each.trials is None else each.trials} for each in stages] if stages else method


def _method(keys: str | Sequence[Mapping[str, int | str]]) -> tuple[str, tuple[Stage, ...]]:
    """The method, and the stages of a hybrid, that `method_keys` wrote."""
    if isinstance(keys, str):
        return keys, ()
    pairs = (next(iter(each.items())) for each in keys)
    return HYBRID, tuple(Stage(method, None if trials == REST else int(trials)) for method, trials in pairs)


def _space(parameters: Mapping[str, Mapping[str, Any]], exclude: Sequence[str]) -> Space:
    axes = (
        axis_from_dict(name, form, parse(form["when"], parameters) if "when" in form else None)
        for name, form in parameters.items()
    )
    return Space(tuple(axes), tuple(parse(text, parameters) for text in exclude))
