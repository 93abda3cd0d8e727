"""What a dry run tells."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from optml_queue.archive import open_archive
from optml_queue.cli import preview
from optml_queue.cli.forecast import forecast
from optml_queue.cli.main import submit_app
from optml_queue.cli.preview import Estimate, Planned, Preview, axis_text, drawing, estimate, preview_of
from optml_queue.cli.tables import rendered
from optml_queue.driver import ActiveTrial, load_driver
from optml_queue.provenance import facts
from optml_queue.restoration import submission_of
from optml_queue.results import write_opening
from optml_queue.search import segments
from optml_queue.space import Axis, Choices, Geometric, Interval, Linear, Lists
from optml_queue.spec import Spec, parse_spec
from optml_queue.store import Experiment
from optml_queue.trial import Trial, TrialState

GRID = """
name: grid
algorithm: lms
parameters:
  learning_rate: {values: [1e-6, 1e-7]}
  filter_size: {min: 3, max: 7, step: 1}
"""
RANGE = "parameters: {learning_rate: {value: 1e-6}, filter_size: {min: 1, max: 9}}"


def spec(text: str = GRID) -> Spec:
    return parse_spec(text, "grid.yaml", Path.cwd())


def with_driver(found: Spec, **fields: object) -> Spec:
    """The spec with a driver that differs; the spec keeps its driver once asked for it."""
    changed = replace(found)
    vars(changed)["driver"] = replace(load_driver("lms"), **fields)  # type: ignore[arg-type]
    return changed


def test_the_preview_shows_size_parameters_and_both_ends() -> None:
    text = "\n".join(rendered(part, 80).rstrip() for part in drawing(preview_of(spec(), 2)))
    assert "10 trials" in text
    assert "3, 4, 5, 6, 7" in text
    assert [line.split()[:2] for line in text.splitlines() if line.split()[1:2] == ["0"]] == [
        ["0", "0"],
        ["1", "0"],
        ["2", "0"],
        ["8", "0"],
        ["9", "0"],
    ]
    assert "measured on this machine: one trial" in text
    assert "on 2 workers" in text


def test_seeds_and_limits_are_told_with_the_size() -> None:
    def size(extra: str) -> str:
        return preview_of(spec(GRID + extra), 2).size()

    assert size("seeds: [0, 1, 2]") == "30 trials: 10 points × 3 seeds"
    assert size("max_trials: 4") == "4 trials (max_trials)"


def test_an_upper_bound_says_so() -> None:
    preview = Preview(spec(), 10**7, False, [], [], None)
    assert preview.size().startswith("at most 10,000,000 trials; there are too many points")


def test_of_a_search_that_learns_what_is_known_is_shown_and_a_trial_like_its_own_measured() -> None:
    def told(method: str) -> list[str]:
        found = spec(f"name: t\nalgorithm: lms\nmax_trials: 400\nmethod: {method}\n{RANGE}")
        return "\n".join(rendered(part, 80).rstrip() for part in drawing(preview_of(found, 2))).splitlines()

    assert "the search suggests points as results come in" in told("tpe")
    assert not any(line.split()[:2] == ["trial", "seed"] for line in told("tpe"))
    # With trials so short, what they wait for is the sampler: 10 ms for each.
    assert told("tpe")[-1].startswith("measured on this machine: one trial ")
    assert told("tpe")[-1].endswith("→ about 4.0 s on 2 workers")
    hybrid = told("[random: 20, tpe: rest]")
    assert hybrid[0] == "t  random: 20, tpe: rest of lms, minimize nmse"
    assert "the first 3 trials; the search suggests later ones as results come in" in hybrid


def test_small_grids_show_each_trial_once() -> None:
    preview = preview_of(spec(GRID + "max_trials: 4"), 2)
    assert [planned.number for planned in [*preview.first, *preview.last]] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("axis", "text"),
    [
        (Choices("a", (1, 2, 3)), "1, 2, 3"),
        (Choices("a", ([32, 64], [32])), "[32, 64], [32]"),
        (Linear("a", 0, 100, step=1), "0, 1, 2, 3, … 100"),
        (Geometric("a", 1e-4, 0.1, 4), "0.0001, 0.001, 0.01, 0.1 on a log scale"),
        (Interval("a", 1e-4, 0.1, log_scale=True), "0.0001 to 0.1 on a log scale"),
        (Lists("a", Choices("a", (32, 64)), 1, 3), "lists of 1 to 3 of: 32, 64"),
        (Lists("a", Interval("a", 0.5, 2.0), 2, 2), "lists of 2 of: 0.5 to 2"),
    ],
)
def test_axes_are_told_by_their_values(axis: Axis, text: str) -> None:
    assert axis_text(axis) == text


def test_a_trial_that_does_not_end_gives_a_lower_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(_trial: ActiveTrial) -> dict[str, float]:
        time.sleep(0.5)
        return {"nmse": 1.0, "mse": 1.0, "rmse": 1.0}

    monkeypatch.setattr("optml_queue.cli.preview.MEASURE_LIMIT_S", 0.05)
    slow = with_driver(spec(), train=train, cost=None)
    estimated = estimate(slow, segments(slow), 10, Planned(0, {"learning_rate": 1e-6, "filter_size": 3}, 0), 2)
    assert estimated is not None
    assert estimated.at_least
    assert "one trial more than" in str(estimated)


def test_a_trial_that_fails_gives_no_estimate() -> None:
    def train(_trial: ActiveTrial) -> dict[str, float]:
        raise ValueError("no")

    assert preview_of(with_driver(spec(), train=train), 2).estimate is None


def test_the_drivers_cost_scales_the_estimate() -> None:
    planned = Planned(0, {"learning_rate": 1e-6, "filter_size": 3}, 0)

    def seconds(cost: object) -> float:
        def train(_trial: ActiveTrial) -> dict[str, float]:
            time.sleep(0.02)
            return {"nmse": 1.0, "mse": 1.0, "rmse": 1.0}

        changed = with_driver(spec(), train=train, cost=cost)
        estimated = estimate(changed, segments(changed), 10, planned, 1)
        assert estimated is not None
        return estimated.total_s

    # The mean filter size is 5, the first point's is 3.
    ratio = seconds(lambda params, _rows: params["filter_size"]) / seconds(None)
    assert ratio == pytest.approx(5 / 3, rel=0.2)


def test_no_more_workers_are_counted_than_there_are_trials() -> None:
    assert str(Estimate(0.0007, 12.4, 1)) == "measured on this machine: one trial 0.7 ms → about 12 s on 1 worker"
    one = spec(GRID + "max_trials: 1")
    estimated = preview_of(one, 64).estimate
    assert estimated is not None
    assert estimated.total_s >= estimated.trial_s


def test_a_dry_run_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text(GRID)
    result = CliRunner().invoke(submit_app, ["grid.yaml", "--dry-run", "--json"])
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert (document["trials"], document["exact"]) == (10, True)
    assert document["last"][-1] == {"number": 9, "params": {"learning_rate": 1e-7, "filter_size": 7}, "seed": 0}
    assert [path.name for path in tmp_path.iterdir()] == ["grid.yaml"]


def test_a_spec_comes_from_stdin_and_is_overridden() -> None:
    arguments = ["-", "--dry-run", "--json", "--set", "parameters.filter_size.value=7"]
    document = json.loads(CliRunner().invoke(submit_app, arguments, input=GRID).stdout)
    assert document["trials"] == 2
    assert document["first"][0]["params"]["filter_size"] == 7


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe", b"\0\1", b"name: x"])
def test_a_bad_spec_is_bad_input(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_bytes(content)
    for arguments, stdin in (([str(path)], b""), (["-"], content)):
        result = CliRunner().invoke(submit_app, [*arguments, "--dry-run"], input=stdin)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert ("<stdin>" if stdin else "grid.yaml") in result.stderr


@pytest.mark.parametrize("id_", ["../x", "latest", "", "a..b", "a/b", "x" * 101])
def test_an_id_is_a_plain_name(id_: str, tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    result = CliRunner().invoke(submit_app, [str(path), "--dry-run", "--id", id_])
    assert result.exit_code == 2
    assert "--id" in result.stderr


def test_a_dry_run_tells_what_earlier_experiments_have_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    archive = open_archive("optml-results")
    earlier = replace(Experiment.opened("grid-k3f9a", submission_of(spec(), facts(spec()))), created_at=1.0)
    write_opening(archive, earlier)
    trials = [Trial(n, TrialState.COMPLETE, params, seed, {"nmse": 1.0}) for n, params, seed in segments(spec())][:7]
    lines = "".join(f"{trial.to_json()}\n" for trial in trials)
    archive.put("grid-k3f9a/parts/0000000000-0000000006-00.jsonl", lines.encode())

    def told(text: str, *overrides: str) -> str:
        arguments = ["-", "--dry-run", *(word for each in overrides for word in ("--set", each))]
        return CliRunner().invoke(submit_app, arguments, input=text).stdout

    monkeypatch.setattr(preview, "MEASURE_AGAIN_S", 0.0)
    shown = told(GRID, "reuse=true", "parameters.filter_size.max=5")
    assert "reuses the results of 5 trials, of 7 results of 1 earlier experiment with the same code and data" in shown
    assert "measured" not in told(GRID, "reuse=true", "max_trials=7")  # nothing is left to be run
    assert "reuses nothing: no earlier experiment" in told(GRID, "reuse=true", "data.name=channel")
    tpe = "name: t\nalgorithm: lms\nmethod: tpe\nmax_trials: 9\nparameters: {learning_rate: {min: 1e-6, max: 1e-2}}\n"
    shown = told(tpe, "start_from=latest", "parameters.filter_size.values=[3, 4]", "reuse=true")
    assert "starts from grid-k3f9a: 2 of 7 trials are used" in shown
    found = forecast(parse_spec(tpe, "t.yaml", tmp_path, ["start_from=latest", "reuse=true"]), None)
    reasons = {"have another learning_rate than is searched": 2, "have filter_size, which is not searched": 4}
    assert found is not None
    assert found.document() == {
        "start_from": [{"experiment": "grid-k3f9a", "used": 1, "trials": 7, "unused": reasons}],
        "reuse": {"results": 7, "experiments": 1, "trials": None},
    }
    assert [path.name for path in tmp_path.iterdir()] == ["optml-results"]
    assert {path.name for path in (tmp_path / "optml-results").iterdir()} == {"grid-k3f9a"}
