"""Every example is valid, and is what its first lines say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from optml_queue.search import segments
from optml_queue.spec import load_spec

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_has_as_many_trials_as_its_comment_says(path: Path) -> None:
    spec = load_spec(path)
    plan = segments(spec)
    taken, _next = plan.take(0, 20_000, spec.max_trials, scan=plan.end)
    said = re.search(r"^# ([\d,]+) trials\b", path.read_text(), re.MULTILINE)
    assert said is not None
    assert len(taken) == int(said[1].replace(",", ""))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_names_the_command_that_runs_it(path: Path) -> None:
    assert f"#     optml-submit examples/{path.name}" in path.read_text()


def test_the_papers_rates_are_all_there_once() -> None:
    plan = segments(load_spec(ROOT / "examples" / "lms-sunspots.yaml"))
    taken, _next = plan.take(0, 100, None)
    rates = [params["learning_rate"] for _number, params, _seed in taken]
    expected = [0.5, *(digit * 10.0**-power for power in range(1, 9) for digit in (1, 0.5))][:16]
    assert rates == pytest.approx(expected, rel=1e-12)
    assert all(params["filter_size"] == 5 for _number, params, _seed in taken)
