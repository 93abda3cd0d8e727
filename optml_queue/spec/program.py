"""`program: train.py`: the user's own Python code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from optml_queue.driver import Driver, Metric


@dataclass(frozen=True, slots=True)
class Program:
    """A Python file or a folder. `entry` is the file in it that has `train`.

    `path` is where it lies on this machine, `digest` the SHA-256 of its pack in the archive: "" before submission.
    """

    kind: ClassVar[str] = "program"
    path: str
    entry: str
    requirements: tuple[str, ...] = ()
    digest: str = ""

    @property
    def name(self) -> str:
        """The file's or the folder's name."""
        return Path(self.path).name

    @property
    def source(self) -> str:
        """What is to be packed."""
        return self.path

    def driver(self, judged: Metric, *, may_run: bool = True) -> Driver:
        """The program, ready to run; `judged` is the metric that the spec names. Raises DriverError.

        Where it `may_run`, one that declares its parameters runs now, and is checked.
        """
        # Late: it looks at the packages that are installed, and most specs have no program.
        from optml_queue.program import load_program

        return load_program(Path(self.path), self.entry, judged, self.requirements, may_run=may_run)

    def packed(self, digest: str) -> Program:
        """The program in the archive."""
        return replace(self, digest=digest)

    def at(self, folder: Path) -> Program:
        """The program as it was unpacked on a worker."""
        return replace(self, path=str(folder))

    def keys(self) -> dict[str, Any]:
        """As the spec's YAML has it."""
        return {"program": self.path, **({"requirements": list(self.requirements)} if self.requirements else {})}

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "path": self.path,
            "entry": self.entry,
            "requirements": list(self.requirements),
            "digest": self.digest,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Program:
        return cls(fields["path"], fields["entry"], tuple(fields["requirements"]), fields["digest"])
