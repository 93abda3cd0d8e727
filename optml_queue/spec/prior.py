"""What an experiment takes over from earlier ones: what its searcher is told first, and results not to be run again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Source:
    """An earlier experiment: how many of its trials are used, and of those that are not, how many for which reason."""

    experiment: str
    used: int
    trials: int
    unused: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "experiment": self.experiment,
            "used": self.used,
            "trials": self.trials,
            "unused": dict(self.unused),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Source:
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class StartFrom:
    """Earlier experiments that a searcher learns from, as they are `named` (an id, or `latest`).

    At submission they are read: `sources` says what was found, and `digest` is the SHA-256 of the document in the
    archive that has it. So what becomes of them later changes nothing.
    """

    named: tuple[str, ...]
    sources: tuple[Source, ...] = ()
    digest: str = ""

    @property
    def experiments(self) -> tuple[str, ...]:
        """Their ids; the names before submission."""
        return tuple(source.experiment for source in self.sources) or self.named

    def is_same(self, other: StartFrom) -> bool:
        """Whether another names the same experiments, or the ids that were found for these names."""
        return other.named in (self.named, self.experiments)

    def to_dict(self) -> dict[str, Any]:
        sources = [source.to_dict() for source in self.sources]
        return {"named": list(self.named), "sources": sources, "digest": self.digest}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> StartFrom:
        """What `to_dict` wrote."""
        sources = tuple(map(Source.from_dict, fields["sources"]))
        return cls(tuple(fields["named"]), sources, fields["digest"])


@dataclass(frozen=True, slots=True)
class Reuse:
    """The wish to take over results of trials that would be the same.

    At submission those of earlier experiments with the same code and data are listed: `results` is how many there
    are, from so many `experiments`, and `digest` the SHA-256 of the list in the archive; "" when there is none.
    """

    digest: str = ""
    results: int = 0
    experiments: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {"digest": self.digest, "results": self.results, "experiments": self.experiments}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Reuse:
        """What `to_dict` wrote."""
        return cls(**fields)
