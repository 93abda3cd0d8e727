"""What a command says of its metrics."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optml_queue.command.output import LINE_BYTES, Findings, Lines, read_file
from optml_queue.errors import AttemptFailedError
from optml_queue.trial import Reason


def noted(*lines: str) -> tuple[Findings, list[int | None]]:
    findings = Findings("loss", frozenset({"rate"}))
    return findings, [findings.note(line) for line in lines]


@pytest.mark.parametrize(
    ("line", "metrics"),
    [
        ("loss=0.25", {"loss": 0.25}),
        ("  epoch done: loss = 1e-3, accuracy = 0.9; ok", {"loss": 1e-3, "accuracy": 0.9}),
        ('{"loss": 0.25, "accuracy": 1, "name": "x", "deep": {}}', {"loss": 0.25, "accuracy": 1.0}),
        ("loss=0.5 rate=0.1 seed=3 state=good time=12ms", {"loss": 0.5}),
        ("val_loss=0.1", {}),
        ("loss: 0.1", {}),
        ('{"loss": 0.1', {}),
        ("[1, 2]", {}),
        ("", {}),
    ],
)
def test_lines_that_count_and_lines_that_do_not(line: str, metrics: dict[str, float]) -> None:
    assert noted(line)[0].metrics == metrics


def test_the_last_line_gives_the_result_and_steps_are_values_on_the_way() -> None:
    findings, steps = noted("step=1 loss=3", '{"step": 2, "loss": 2}', "step=x loss=1", "loss=0.5 extra=1", "bye")
    assert steps == [1, 2, None, None, None]
    assert findings.result("command x", "stdout") == {"loss": 0.5, "extra": 1.0}
    assert noted("step=1 loss=3", "step=2 loss=2")[0].metrics == {"loss": 2.0}


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-Infinity", "Inf"])
def test_values_that_are_not_finite_are_values(text: str) -> None:
    assert not math.isfinite(noted(f"loss={text}")[0].metrics["loss"])


@pytest.mark.parametrize("line", ["loss=low", "loss=NA", '{"loss": "low"}', '{"loss": true}', '{"loss": null}'])
def test_no_number_and_no_metric_are_told_apart(line: str) -> None:
    with pytest.raises(AttemptFailedError) as raised:
        noted("loss=1", line)[0].result("command x", "stdout")
    assert raised.value.reason == Reason.BAD_METRIC
    assert noted(line, "loss=1")[0].result("command x", "stdout") == {"loss": 1.0}
    with pytest.raises(AttemptFailedError, match="command x: stdout has no line with loss=NUMBER") as raised:
        noted("accuracy=1")[0].result("command x", "stdout")
    assert raised.value.reason == Reason.NO_METRIC


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"))), st.integers(1, 9))
def test_lines_are_the_same_however_they_are_cut(lines: list[str], size: int) -> None:
    stream = "".join(f"{line}\n" for line in lines).encode()
    reader = Lines()
    found = [line for start in range(0, len(stream), size) for line in reader.feed(stream[start : start + size])]
    assert found == lines


def test_a_line_without_end_is_read_at_the_end_and_one_that_is_too_long_never() -> None:
    reader = Lines()
    assert list(reader.feed(b"x" * (LINE_BYTES + 1))) == []
    assert list(reader.feed(b"loss=1\nloss=2\nlo")) == ["loss=2"]
    assert list(reader.feed(b"ss=3")) == []
    assert list(reader.end()) == ["loss=3"]


@pytest.mark.parametrize(
    "text",
    [
        "0.25\n",
        "loss=0.25",
        "step=1 loss=9\nloss=0.25\n",
        '{"loss": 0.25}',
        '{\n  "loss": 0.25\n}\n',
        '{"a": 1}\n{"loss": 0.25}',
    ],
)
def test_a_file_may_hold_lines_a_document_or_a_number(tmp_path: Path, text: str) -> None:
    (tmp_path / "result").write_text(text)
    findings = Findings("loss")
    read_file(tmp_path / "result", "result", findings, "command x")
    assert findings.metrics == {"loss": 0.25}


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AttemptFailedError, match=r"no metric: out\.json cannot be read: it wrote none") as raised:
        read_file(tmp_path / "out.json", "out.json", Findings("loss"), "command x")
    assert raised.value.reason == Reason.NO_METRIC
