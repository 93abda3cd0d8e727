"""The driver of a command."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from optml_queue.command import arguments
from optml_queue.command.data import DataFile
from optml_queue.command.output import FILE, STDOUT, Findings, Lines, read_file
from optml_queue.command.process import Process
from optml_queue.driver import ActiveTrial, Driver, Metric, Order
from optml_queue.errors import AttemptEndedError, AttemptFailedError
from optml_queue.trial import ParamValue, Reason

TRIAL_FILE = "trial.json"
SETTINGS_PREFIX = "OPTML_"


def command_driver(argv: Sequence[str], metric: Metric, source: str = STDOUT, files: Path | None = None) -> Driver:
    """The driver that runs `argv` for each trial.

    `files` is a folder or file that the command runs in a copy of. `source` says where it gives `metric`: "stdout",
    or "file:PATH" below its working directory.
    """
    run = _Run(tuple(argv), metric.name, source, files)
    return Driver(
        name=Path(argv[0]).name,
        path=files or Path(argv[0]),
        digest=hashlib.sha256(json.dumps([*argv]).encode()).hexdigest(),
        parameters={},
        metrics={metric.name: metric},
        data=(),
        train=run.train,
        check=partial(arguments.problems, argv),
        other_parameters=True,
        kind="command",
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """What every trial of a command has in common."""

    argv: tuple[str, ...]
    metric: str
    source: str
    files: Path | None

    @property
    def title(self) -> str:
        return f"command {Path(self.argv[0]).name}"

    def train(self, trial: ActiveTrial) -> Mapping[str, float]:
        """Run the command to its end and read its metric.

        Raises AttemptFailedError with the name of what went wrong, AttemptEndedError when the trial was told to end.
        """
        values: dict[str, ParamValue] = {**trial.params, "seed": trial.seed, "number": trial.number}
        try:
            argv = arguments.argv_of(self.argv, values)
        except ValueError as error:
            raise AttemptFailedError(Reason.ERROR, f"{self.title}: a value {error}") from None
        folder = self._folder(trial)
        findings = Findings(self.metric, frozenset(trial.params))
        lines = Lines()
        with Process(argv, folder, self._environment(trial), self.title) as process:
            for chunk in process.output(partial(_look, trial)):
                for line in lines.feed(chunk):
                    _note(findings, line, trial)
            for line in lines.end():
                _note(findings, line, trial)
            process.check_end()
        return self._result(folder, findings)

    def _folder(self, trial: ActiveTrial) -> Path:
        """The working directory: a copy of the files, for this attempt alone."""
        folder = trial.scratch / "work"
        if self.files is None:
            folder.mkdir()
        elif self.files.is_dir():
            shutil.copytree(self.files, folder)
        else:
            folder.mkdir()
            shutil.copy(self.files, folder)
        return folder

    def _environment(self, trial: ActiveTrial) -> dict[str, str]:
        # The worker's own settings stay out: they hold passwords, and a command has no use for them.
        inherited = {name: text for name, text in os.environ.items() if not name.startswith(SETTINGS_PREFIX)}
        return {
            "OMP_NUM_THREADS": str(trial.threads),
            **inherited,
            **arguments.variables(trial.params),
            "OPTML_TRIAL": str(_trial_file(trial)),
        }

    def _result(self, folder: Path, findings: Findings) -> Mapping[str, float]:
        if self.source == STDOUT:
            return findings.result(self.title, STDOUT)
        name = self.source.removeprefix(FILE)
        found = Findings(self.metric, findings.others)
        read_file(folder / name, name, found, self.title)
        return found.result(self.title, name)


def _look(trial: ActiveTrial) -> None:
    order = trial.order()
    if order is not Order.OK:
        raise AttemptEndedError(order)


def _note(findings: Findings, line: str, trial: ActiveTrial) -> None:
    step = findings.note(line)
    if step is not None:
        trial.report(step, findings.metrics[findings.metric])


def _trial_file(trial: ActiveTrial) -> Path:
    data = trial.data
    document = {
        "number": trial.number,
        "seed": trial.seed,
        "attempt": trial.attempt,
        "params": trial.params,
        "metric": trial.metric,
        "threads": trial.threads,
        "data": data.document(trial.scratch) if isinstance(data, DataFile) else None,
    }
    path = trial.scratch / TRIAL_FILE
    path.write_text(json.dumps(document, ensure_ascii=False, indent=2), encoding="utf-8")
    return path
