"""`command: [Rscript, train.R, "{learning_rate}"]`: a program in any language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from optml_queue.command.output import STDOUT
from optml_queue.driver import Driver, Metric


@dataclass(frozen=True, slots=True)
class Command:
    """A program and its arguments, with `{name}` for parameters.

    `metric_source` is where it gives its metric: "stdout", or "file:PATH". `files` is what it runs in a copy of, where
    it lies on this machine ("": nothing), and `digest` the SHA-256 of its pack in the archive: "" before submission.
    """

    kind: ClassVar[str] = "command"
    argv: tuple[str, ...]
    metric_source: str = STDOUT
    files: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """The program's name."""
        return Path(self.argv[0]).name

    @property
    def source(self) -> str:
        """What is to be packed; "" for nothing."""
        return self.files

    def driver(self, judged: Metric) -> Driver:
        """What runs the command for each trial; `judged` is the metric that the spec names."""
        # Late, as in program.py: a spec with neither should not pay for what starts processes.
        from optml_queue.command.driver import command_driver

        return command_driver(self.argv, judged, self.metric_source, Path(self.files) if self.files else None)

    def packed(self, digest: str) -> Command:
        """The command, its files in the archive."""
        return replace(self, digest=digest)

    def at(self, folder: Path) -> Command:
        """The command, its files as they were unpacked on a worker."""
        return replace(self, files=str(folder))

    def keys(self) -> dict[str, Any]:
        """As the spec's YAML has it."""
        return {"command": list(self.argv), **({"files": self.files} if self.files else {})}

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "argv": list(self.argv),
            "metric_source": self.metric_source,
            "files": self.files,
            "digest": self.digest,
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Command:
        return cls(tuple(fields["argv"]), fields["metric_source"], fields["files"], fields["digest"])
