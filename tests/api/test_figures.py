"""What plots and page show of an experiment with several metrics, a constraint, and numbers to search over."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from optml_queue.api.installation import Installation
from optml_queue.constraints import held_to
from optml_queue.experiments import advance, submit
from optml_queue.spec import parse_spec
from optml_queue.store import Assignment, Publication, Store
from optml_queue.trial import TrialResult, TrialState, digest

pytestmark = pytest.mark.integration

SPEC = """name: weighed
algorithm: lms
metrics: [{name: nmse}, {name: duration_s}]
constraints: ["nmse > 0.05"]
parameters:
  learning_rate: [1e-6, 1e-5, 1e-4, 1e-3]
  filter_size: [2, 5, 9, 14, 20, 30]
data: sunspots
"""


@pytest.fixture
def weighed(here: Installation, store: Store) -> str:
    """An experiment that is over: 24 trials, of which number 9 is best and breaks the constraint, and 23 diverged."""
    spec = parse_spec(SPEC, "weighed", Path())
    id_ = submit(store, here.archive, spec)
    while True:
        published: list[Publication] = []
        advance(store, published.extend, id_)
        if not published:
            return id_
        for each in published:
            n, params, token = each.number, each.params, f"t{each.number}"
            assert isinstance(store.begin(id_, n, each.generation, digest(params), token, "w1", 30.0), Assignment)
            state = TrialState.DIVERGED if n == 23 else TrialState.COMPLETE
            result = TrialResult(state, {"nmse": 0.01 + abs(n - 8.8) / 10, "duration_s": 1.0 + n})
            store.finish(id_, n, token, held_to(result, params, spec.constraints))


def figure(client: httpx.Client, id_: str, name: str) -> dict[str, Any]:
    response = client.get(f"/api/v1/experiments/{id_}/plots/{name}")
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_the_front_is_marked_and_what_breaks_a_constraint_is_not_on_it(operator: httpx.Client, weighed: str) -> None:
    pareto = figure(operator, weighed, "pareto")
    assert [metric["name"] for metric in pareto["metrics"]] == ["nmse", "duration_s"]
    assert pareto["number"] == list(range(23))
    assert [n for n, on in zip(pareto["number"], pareto["front"], strict=True) if on] == list(range(9))
    assert {n: text for n, text in enumerate(pareto["broken"]) if text} == {9: "nmse > 0.05"}
    assert pareto["values"]["duration_s"][9] == 10.0
    points = figure(operator, weighed, "points")
    assert [n for n, out in zip(points["number"], points["infeasible"], strict=True) if out] == [9]
    assert points["value"][9] is None


def test_contours_of_two_numbers_and_nothing_of_what_is_none(operator: httpx.Client, weighed: str) -> None:
    contour = figure(operator, weighed, "contour")
    assert {contour["x_name"], contour["y_name"]} == {"learning_rate", "filter_size"} == set(contour["names"])
    assert len(contour["x"]) == len(contour["value"]) == sum(contour["count"]) == 22
    assert contour["triangles"]
    turned = figure(operator, weighed, "contour?x=filter_size&y=learning_rate")
    assert (turned["x_name"], turned["y_name"], turned["x_log"], turned["y_log"]) == (
        "filter_size",
        "learning_rate",
        False,
        True,
    )
    assert sorted(set(turned["y"])) == pytest.approx([-6, -5, -4, -3])
    refused = operator.get(f"/api/v1/experiments/{weighed}/plots/contour?x=kernel")
    assert refused.status_code == 422
    assert "'kernel'" in refused.json()["detail"]


def test_importance_is_worked_out_once(
    operator: httpx.Client, weighed: str, monkeypatch: pytest.MonkeyPatch, here: Installation
) -> None:
    importance = figure(operator, weighed, "importance")
    assert sum(each["share"] for each in importance["parameters"]) == pytest.approx(1.0)
    assert (importance["trials"], importance["is_sample"], importance["needs"]) == (22, False, "")
    monkeypatch.setattr("optml_queue.api.importance.importance", lambda *_: pytest.fail("asked again"))
    assert figure(operator, weighed, "importance") == importance


def test_without_optuna_the_plot_says_how_to_get_it(
    operator: httpx.Client, weighed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    assert "pip install 'optml-queue[search]'" in figure(operator, weighed, "importance")["needs"]


def test_the_leaderboard_shows_all_metrics_and_the_front_alone(operator: httpx.Client, weighed: str) -> None:
    html = {"Accept": "text/html"}

    def board(query: str) -> list[list[str]]:
        text = operator.get(f"/experiments/{weighed}?part=live{query}", headers=html).text
        rows = re.findall(r"<tr.*?</tr>", text.partition('data-live="board"')[2].partition("</table>")[0], re.DOTALL)
        cells = (re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in rows)
        return [[" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in row] for row in cells]

    head, first, *_ = board("")
    assert head == ["#", "nmse", "duration_s", "learning_rate", "filter_size", "Trial"]
    assert first[:3] == ["1", "0.09", "9"]
    assert first[-1] == "8 ◆ on the Pareto front"
    front = board("&front=yes")[1:]
    assert [row[-1].split()[0] for row in front] == [str(n) for n in range(8, -1, -1)]
    whole = operator.get(f"/experiments/{weighed}", headers=html).text
    assert "1 complete trial breaks a constraint and has no rank" in whole
    for kind, status in (("pareto", 200), ("contour", 200), ("error", 200), ("nothing", 422)):
        assert operator.get(f"/experiments/{weighed}/{kind}.png", headers=html).status_code == status
    table = operator.get(f"/experiments/{weighed}/trials?sort=number", headers=html).text
    assert "breaks a constraint" in table
    ranked = operator.get(f"/experiments/{weighed}/trials?state=complete&sort=metric", headers=html).text
    assert "22 trials" in ranked
    assert "those without a rank by nmse are left out" in ranked
    longest = operator.get(f"/api/v1/experiments/{weighed}/trials?sort=metrics.duration_s&descending=true&limit=2")
    assert [trial["number"] for trial in longest.json()["trials"]] == [22, 21]
    assert operator.get(f"/api/v1/experiments/{weighed}/trials?sort=metrics.mse").status_code == 422
