"""What a command says of its metrics: lines of stdout, or a file.

A line counts that gives the metric, as `name=value` or as a JSON object: `loss=0.25 accuracy=0.9`,
`{"loss": 0.25}`. With a `step` it is a value on the way: `step=3 loss=0.5`. The last line that counts gives the result.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from optml_queue.driver import RESULT_COLUMNS
from optml_queue.errors import AttemptFailedError
from optml_queue.trial import Reason

STDOUT = "stdout"  # the two places where a command may give its metric: this, or "file:PATH"
FILE = "file:"
STEP = "step"
LINE_BYTES = 65_536  # of a longer line nothing is read
FILE_BYTES = 1 << 20
_PAIR = re.compile(r"([A-Za-z_]\w*)\s*=\s*([^\s,;]+)")
_NO_METRIC_NAMES = frozenset({*RESULT_COLUMNS, STEP})


class Lines:
    """Cuts a stream of bytes into lines. One that is too long is dropped whole."""

    def __init__(self) -> None:
        self._rest = b""
        self._is_dropping = False

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The lines that end in this chunk."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if not self._is_dropping and len(line) <= LINE_BYTES:
                yield line.decode(errors="replace")
            self._is_dropping = False
        if len(self._rest) > LINE_BYTES:
            self._rest, self._is_dropping = b"", True

    def end(self) -> Iterator[str]:
        """What came after the last line's end."""
        yield from self.feed(b"\n")


@dataclass(slots=True)
class Findings:
    """The metrics found so far. `metric` is what is looked for; `others`, parameters, are no metrics."""

    metric: str
    others: frozenset[str] = frozenset()
    metrics: dict[str, float] = field(default_factory=dict)
    wrong: str = ""

    def note(self, line: str) -> int | None:
        """Take in a line; its step, when it gives a value on the way."""
        values = _values(line)
        if self.metric not in values:
            return None
        value = _number(values[self.metric])
        if value is None:
            self.metrics, self.wrong = {}, f"{self.metric}={_shown(values[self.metric])}"
            return None
        others = {name: _number(text) for name, text in values.items() if self._may_be_metric(name)}
        self.wrong = ""
        self.metrics = {self.metric: value, **{name: other for name, other in others.items() if other is not None}}
        return _step(values.get(STEP))

    def _may_be_metric(self, name: str) -> bool:
        return name.isidentifier() and name not in _NO_METRIC_NAMES and name not in self.others

    def result(self, title: str, where: str) -> dict[str, float]:
        """The metrics. Raises AttemptFailedError when no line gave the metric, or the last that did gave no number."""
        if self.wrong:
            raise AttemptFailedError(Reason.BAD_METRIC, f"{title}: {where} says {self.wrong}, which is not a number")
        if not self.metrics:
            raise AttemptFailedError(Reason.NO_METRIC, f"{title}: {where} has no line with {self.metric}=NUMBER")
        return self.metrics


def read_file(path: Path, shown: str, findings: Findings, title: str) -> None:
    """Take in the file that a command wrote: such lines, one JSON object over several lines, or a number alone.

    Raises AttemptFailedError when there is none.
    """
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES).decode(errors="replace").strip()
    except OSError as error:
        reason = "it wrote none" if isinstance(error, FileNotFoundError) else error.strerror
        raise AttemptFailedError(Reason.NO_METRIC, f"{title}: no metric: {shown} cannot be read: {reason}") from None
    if _number(text) is not None:
        findings.note(f"{findings.metric}={text}")
        return
    for line in text.splitlines():
        findings.note(line)
    if not findings.metrics and text.startswith("{"):
        findings.note(" ".join(text.splitlines()))


def _values(line: str) -> Mapping[str, object]:
    line = line.strip()
    if line.startswith("{"):
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}
    return dict(_PAIR.findall(line)) if "=" in line else {}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _step(value: object) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number.is_integer() else None


def _shown(value: object) -> str:
    return str(value)[:80]
