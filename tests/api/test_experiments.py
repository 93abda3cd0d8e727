"""/api/v1/experiments and what hangs below it, against a real store."""

from __future__ import annotations

import csv
import io
import json
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import yaml

from optml_queue import experiments
from optml_queue.api.installation import Installation
from optml_queue.driver import Order
from optml_queue.results import consolidate, write_parts
from optml_queue.store import Store
from tests.api.installations import SPEC, carried_out, submitted

pytestmark = pytest.mark.integration

EXPERIMENTS = "/api/v1/experiments"
YAML = {"Content-Type": "application/yaml"}
SEEDS = SPEC + "seeds: [0, 1, 2]\n"


def consolidated(here: Installation, id_: str) -> None:
    write_parts(here.store, here.archive, id_, force=True)
    consolidate(here.store, here.archive, id_)


class TestCreate:
    def test_from_yaml_to_its_end(self, operator: httpx.Client, store: Store) -> None:
        response = operator.post(EXPERIMENTS, content=SPEC, headers=YAML)
        id_ = response.json()["experiment"]
        assert response.headers["location"] == f"{EXPERIMENTS}/{id_}"
        assert store.wanted(0.01) == id_  # the control process is asked; the API publishes nothing
        assert carried_out(store, id_) == 4
        shown = operator.get(f"{EXPERIMENTS}/latest").json()
        assert (shown["experiment"], shown["state"], shown["counts"]["complete"]) == (id_, "complete", 4)
        assert shown["best"]["number"] == 3
        assert shown["best"]["metrics"] == {"nmse": 0.25}

    def test_from_json_is_the_same_spec(self, operator: httpx.Client, store: Store) -> None:
        as_json = operator.post(
            EXPERIMENTS,
            json={
                "name": "grid",
                "algorithm": "lms",
                "parameters": {"learning_rate": [1e-3, 1e-2, 0.1, 1.0], "filter_size": {"value": 5}},
                "data": "sunspots",
            },
        ).json()["experiment"]
        specs = [json.loads(store.spec(each)) for each in (as_json, submitted(operator))]
        for spec in specs:
            spec.pop("text")
        assert specs[0] == specs[1]

    def test_numbers_and_texts_survive_json(self, operator: httpx.Client) -> None:
        spec = {"name": "on", "algorithm": "lms", "parameters": {"learning_rate": {"value": 1e-300}}, "seeds": [7]}
        id_ = operator.post(EXPERIMENTS, json=spec).json()["experiment"]
        resolved = yaml.safe_load(operator.get(f"{EXPERIMENTS}/{id_}/spec").json()["resolved"])
        assert resolved["name"] == "on"
        assert float(resolved["parameters"]["learning_rate"]["value"]) == 1e-300

    def test_problems_are_those_of_the_command_line(self, operator: httpx.Client) -> None:
        bad = SPEC.replace("learning_rate", "learning_rat").replace("sunspots", "moonspots")
        response = operator.post(EXPERIMENTS, content=bad, headers=YAML)
        assert response.status_code == 422
        document = response.json()
        found = [(problem["key"], problem["line"]) for problem in document["problems"]]
        assert ("parameters.learning_rat", 4) in found
        assert ("data.name", 6) in found
        assert "spec:4: parameters.learning_rat" in document["detail"]

    def test_a_json_spec_has_keys_but_no_lines(self, operator: httpx.Client) -> None:
        document = operator.post(EXPERIMENTS, json={"name": "x", "algorithm": "lsm", "parameters": {}}).json()
        assert {problem["line"] for problem in document["problems"]} == {0}
        assert "algorithm" in [problem["key"] for problem in document["problems"]]

    def test_another_media_type_is_refused(self, operator: httpx.Client) -> None:
        response = operator.post(EXPERIMENTS, content=SPEC, headers={"Content-Type": "application/xml"})
        assert response.status_code == 415


class TestIdempotency:
    def test_the_same_key_makes_one_experiment(self, operator: httpx.Client, store: Store) -> None:
        headers = {**YAML, "Idempotency-Key": "k1"}
        with ThreadPoolExecutor(4) as pool:
            posts = [pool.submit(operator.post, EXPERIMENTS, content=SPEC, headers=headers) for _ in range(8)]
            responses = [post.result() for post in posts]
        assert {response.status_code for response in responses} == {201}, [r.text for r in responses]
        assert len({response.json()["experiment"] for response in responses}) == 1
        assert len(store.ids()) == 1

    def test_a_crash_between_key_and_experiment_is_healed(
        self, operator: httpx.Client, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        headers = {**YAML, "Idempotency-Key": "k1"}

        def dies(*_: object, **__: object) -> str:
            raise RuntimeError("the process ends here")

        with monkeypatch.context() as patched:
            patched.setattr(experiments, "submit", dies)
            assert operator.post(EXPERIMENTS, content=SPEC, headers=headers).status_code == 500
        assert not store.ids()
        id_ = operator.post(EXPERIMENTS, content=SPEC, headers=headers).json()["experiment"]
        assert operator.post(EXPERIMENTS, content=SPEC, headers=headers).json()["experiment"] == id_

    def test_another_spec_under_the_key_is_a_conflict(self, operator: httpx.Client, store: Store) -> None:
        headers = {**YAML, "Idempotency-Key": "k1"}
        operator.post(EXPERIMENTS, content=SPEC, headers=headers)
        assert operator.post(EXPERIMENTS, content=SEEDS, headers=headers).status_code == 409
        assert len(store.ids()) == 1

    def test_a_key_belongs_to_its_token(self, operator: httpx.Client, here: Installation) -> None:
        from optml_queue.store.tokens import Role

        headers = {**YAML, "Idempotency-Key": "k1"}
        operator.post(EXPERIMENTS, content=SPEC, headers=headers)
        text, _ = here.tokens.create("bob", Role.OPERATOR)
        operator.post(EXPERIMENTS, content=SPEC, headers={**headers, "Authorization": f"Bearer {text}"})
        assert len(here.store.ids()) == 2


class TestLookingAtExperiments:
    def test_pages_are_the_newest_first(self, operator: httpx.Client, store: Store) -> None:
        ids = [submitted(operator) for _ in range(5)]
        pages = [operator.get(EXPERIMENTS, params={"offset": n, "limit": 2}).json() for n in (0, 2, 4)]
        found = [each["experiment"] for page in pages for each in page["experiments"]]
        assert sorted(found) == sorted(ids)
        assert {page["total"] for page in pages} == {5}

    def test_by_state(self, operator: httpx.Client, store: Store) -> None:
        first, second = submitted(operator), submitted(operator)
        operator.post(f"{EXPERIMENTS}/{first}/pause")
        page = operator.get(EXPERIMENTS, params={"state": "paused"}).json()
        assert [each["experiment"] for each in page["experiments"]] == [first]
        assert second in str(operator.get(EXPERIMENTS, params={"state": "running"}).json())

    def test_an_unknown_one_suggests_the_near(self, operator: httpx.Client) -> None:
        id_ = submitted(operator)
        response = operator.get(f"{EXPERIMENTS}/{id_[:-1]}")
        assert response.status_code == 404
        assert id_ in response.json()["detail"]

    def test_the_spec_is_shown_as_typed(self, operator: httpx.Client) -> None:
        assert operator.get(f"{EXPERIMENTS}/{submitted(operator)}/spec").json()["text"] == SPEC


class TestDelete:
    def test_only_what_is_over(self, operator: httpx.Client, here: Installation) -> None:
        id_ = submitted(operator)
        assert operator.delete(f"{EXPERIMENTS}/{id_}").status_code == 409
        carried_out(here.store, id_)
        assert operator.delete(f"{EXPERIMENTS}/{id_}").status_code == 204
        assert operator.get(f"{EXPERIMENTS}/{id_}").status_code == 404
        assert not list(here.archive.keys(id_))

    def test_the_archive_may_stay(self, operator: httpx.Client, here: Installation) -> None:
        id_ = submitted(operator)
        carried_out(here.store, id_)
        assert operator.delete(f"{EXPERIMENTS}/{id_}", params={"keep_archive": True}).status_code == 204
        assert list(here.archive.keys(id_))


class TestControl:
    def test_pause_and_resume(self, operator: httpx.Client, store: Store) -> None:
        id_ = submitted(operator)
        paused = operator.post(f"{EXPERIMENTS}/{id_}/pause", json={"reason": "lunch"}).json()
        assert (paused["state"], paused["reason"]) == ("paused", "lunch")
        assert carried_out(store, id_) == 0
        assert operator.post(f"{EXPERIMENTS}/{id_}/resume").json()["state"] == "running"
        assert carried_out(store, id_) == 4

    def test_cancel_asks_for_the_rest_to_be_drained(self, operator: httpx.Client, store: Store) -> None:
        id_ = submitted(operator)
        store.wanted(0.01)
        assert (
            operator.post(f"{EXPERIMENTS}/{id_}/cancel", json={"reason": "wrong data"}).json()["reason"] == "wrong data"
        )
        assert store.wanted(0.01) == id_
        carried_out(store, id_)
        assert operator.get(f"{EXPERIMENTS}/{id_}").json()["state"] == "cancelled"
        assert operator.post(f"{EXPERIMENTS}/{id_}/cancel").status_code == 409

    def test_retry_by_number_and_by_state(self, operator: httpx.Client, store: Store) -> None:
        id_ = submitted(operator)
        carried_out(store, id_, "fcfc")
        once = operator.post(f"{EXPERIMENTS}/{id_}/retry", json={"numbers": [0, 1]}).json()
        assert once["reopened"] == 1
        assert once["experiment"]["state"] == "running"
        assert operator.post(f"{EXPERIMENTS}/{id_}/retry", json={"failed": True}).json()["reopened"] == 1
        carried_out(store, id_)
        assert operator.get(f"{EXPERIMENTS}/{id_}").json()["counts"]["complete"] == 4
        assert operator.post(f"{EXPERIMENTS}/{id_}/retry", json={"failed": True}).status_code == 409


class TestTrials:
    @pytest.fixture
    def id_(self, operator: httpx.Client, store: Store) -> str:
        spec = SPEC.replace("[1e-3, 1e-2, 0.1, 1.0]", "{values: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}")
        found = submitted(operator, spec.replace("{value: 5}", "{values: [5, 7]}"))
        assert carried_out(store, found, "fdcc", most=18) == 18
        return found

    def numbers(self, client: httpx.Client, id_: str, **params: object) -> list[int]:
        response = client.get(f"{EXPERIMENTS}/{id_}/trials", params=params)  # type: ignore[arg-type]
        assert response.status_code == 200, response.text
        return [trial["number"] for trial in response.json()["trials"]]

    def test_by_number_all_are_there_the_waiting_too(self, operator: httpx.Client, id_: str) -> None:
        pages = [self.numbers(operator, id_, offset=n, limit=7) for n in (0, 7, 14)]
        assert [number for page in pages for number in page] == list(range(20))
        assert self.numbers(operator, id_, descending=True)[0] == 17  # finished ones, the other way round

    def test_by_metric_the_best_first(self, operator: httpx.Client, id_: str) -> None:
        assert self.numbers(operator, id_, sort="metric", limit=3) == [17, 16, 15]
        assert self.numbers(operator, id_, sort="metric", offset=3, limit=2) == [14, 13]
        assert self.numbers(operator, id_, sort="metric", descending=True, limit=2) == [2, 3]

    def test_by_state(self, operator: httpx.Client, id_: str) -> None:
        assert self.numbers(operator, id_, state="failed") == [0]
        assert self.numbers(operator, id_, state="diverged") == [1]
        assert self.numbers(operator, id_, state="complete") == list(range(2, 18))
        assert self.numbers(operator, id_, state="queued") == [18, 19]
        assert self.numbers(operator, id_, state="failed", sort="metric") == []

    def test_by_parameter(self, operator: httpx.Client, id_: str) -> None:
        every = operator.get(f"{EXPERIMENTS}/{id_}/trials", params={"limit": 18}).json()["trials"]
        wanted = [t["number"] for t in every if t["params"]["learning_rate"] <= 3 and t["params"]["filter_size"] == 7]
        found = self.numbers(operator, id_, where=["learning_rate<=3", "filter_size=7"])
        assert found == wanted != []

    def test_sorted_by_a_parameter_both_ways_filtered_and_paged(self, operator: httpx.Client, id_: str) -> None:
        # Numbers 0 to 17: learning_rate 1 to 9 in pairs, filter_size 5 and 7 in turn.
        by_size = self.numbers(operator, id_, sort="params.filter_size", limit=100)
        assert by_size == [*range(0, 18, 2), *range(1, 18, 2)]
        pages = [self.numbers(operator, id_, sort="params.filter_size", offset=n, limit=5) for n in range(0, 18, 5)]
        assert [number for page in pages for number in page] == by_size
        downwards = self.numbers(operator, id_, sort="params.learning_rate", descending=True, limit=100)
        assert downwards == [n for pair in range(16, -1, -2) for n in (pair, pair + 1)]
        some: dict[str, Any] = {"sort": "params.learning_rate", "descending": True, "state": "complete"}
        assert self.numbers(operator, id_, **some, where=["learning_rate>=2", "learning_rate<4"]) == [4, 5, 2, 3]

    def test_pages_as_of_a_moment_do_not_move(self, operator: httpx.Client, id_: str, store: Store) -> None:
        asked: dict[str, Any] = {"sort": "params.learning_rate", "descending": True, "limit": 6}
        first = operator.get(f"{EXPERIMENTS}/{id_}/trials", params=asked).json()
        for number in (18, 19):  # which have the greatest rate
            store.order(id_, number, Order.CANCEL)
        assert self.numbers(operator, id_, **asked)[:2] == [18, 19]
        moment = {**asked, "as_of": first["covered"]}
        assert self.numbers(operator, id_, **moment) == [each["number"] for each in first["trials"]]
        assert self.numbers(operator, id_, **moment, offset=6) == [10, 11, 8, 9, 6, 7]
        assert self.numbers(operator, id_, as_of=3) == [0, 1, 2]
        assert operator.get(f"{EXPERIMENTS}/{id_}/trials", params=moment).json()["total"] == 18

    @pytest.mark.parametrize("sort", ["params.", "params.color", "loss", "params", "number; drop"])
    def test_what_cannot_be_sorted_by(self, operator: httpx.Client, id_: str, sort: str) -> None:
        response = operator.get(f"{EXPERIMENTS}/{id_}/trials", params={"sort": sort})
        assert response.status_code == 422
        assert "sort" in response.json()["detail"]

    def test_by_duration_and_by_end(self, operator: httpx.Client, id_: str) -> None:
        response = operator.get(f"{EXPERIMENTS}/{id_}/trials", params={"sort": "duration", "limit": 100}).json()
        durations = [trial["run_s"] for trial in response["trials"]]
        assert durations == sorted(durations)
        assert self.numbers(operator, id_, sort="finished", limit=3) == [0, 1, 2]

    def test_a_diverged_metric_is_text(self, operator: httpx.Client, id_: str) -> None:
        document = operator.get(f"{EXPERIMENTS}/{id_}/trials/1").json()
        assert document["metrics"]["nmse"] == "NaN"

    @pytest.mark.parametrize("where", ["nonsense", "color=red", "learning_rate=red", "=1"])
    def test_a_condition_that_cannot_be_read(self, operator: httpx.Client, id_: str, where: str) -> None:
        response = operator.get(f"{EXPERIMENTS}/{id_}/trials", params={"where": where})
        assert response.status_code == 422
        assert "where" in response.json()["detail"]

    def test_one_with_its_attempts_and_curve(self, operator: httpx.Client, id_: str) -> None:
        failed = operator.get(f"{EXPERIMENTS}/{id_}/trials/0").json()
        assert (failed["state"], failed["ended_attempts"][0]["error"]) == ("failed", "ValueError: <b>no</b>")
        assert operator.get(f"{EXPERIMENTS}/{id_}/trials/5").json()["curve"] == [[1, 2.0], [2, 1.0]]
        assert operator.get(f"{EXPERIMENTS}/{id_}/trials/99").status_code == 404

    def test_logs(self, operator: httpx.Client, id_: str, here: Installation) -> None:
        here.store.log(id_, 3, "one")
        here.store.log(id_, 3, "two")
        here.archive.put(f"{id_}/logs/3-1.txt", b"written")
        shown = operator.get(f"{EXPERIMENTS}/{id_}/trials/3/logs", params={"start": 1}).json()
        assert shown == {"lines": ["two"], "output": {"1": "written"}}

    def test_a_retried_trial_is_counted_once(self, operator: httpx.Client, id_: str, store: Store) -> None:
        assert self.numbers(operator, id_, descending=True, limit=100) == list(range(17, -1, -1))
        operator.post(f"{EXPERIMENTS}/{id_}/retry", json={"failed": True})
        carried_out(store, id_)
        assert self.numbers(operator, id_, descending=True, limit=100) == list(range(17, -1, -1))
        assert self.numbers(operator, id_, state="complete", sort="finished")[-1] == 0
        assert self.numbers(operator, id_, state="failed") == []


class TestBest:
    def test_of_one_seed_is_the_stores_ranking(self, operator: httpx.Client, store: Store) -> None:
        id_ = submitted(operator)
        carried_out(store, id_)
        points = operator.get(f"{EXPERIMENTS}/{id_}/best", params={"limit": 2}).json()["points"]
        assert [(point["rank"], point["number"], point["mean"]) for point in points] == [(1, 3, 0.25), (2, 2, 1 / 3)]

    def test_of_several_seeds_is_the_mean_before_and_after_the_end(
        self, operator: httpx.Client, here: Installation
    ) -> None:
        id_ = submitted(operator, SEEDS)
        carried_out(here.store, id_)
        running = operator.get(f"{EXPERIMENTS}/{id_}/best").json()
        assert running["points"][0]["n"] == 3
        assert math.isclose(running["points"][0]["mean"], (1 / 10 + 1 / 11 + 1 / 12) / 3)
        consolidated(here, id_)
        assert operator.get(f"{EXPERIMENTS}/{id_}/best").json() == running


class TestResults:
    @pytest.mark.parametrize("is_archived", [False, True])
    def test_the_tables_agree_with_the_trials(
        self, operator: httpx.Client, here: Installation, is_archived: bool
    ) -> None:
        id_ = submitted(operator)
        carried_out(here.store, id_, "cdfc")
        if is_archived:
            consolidated(here, id_)
        table = operator.get(f"{EXPERIMENTS}/{id_}/results.csv")
        assert table.headers["content-type"].startswith("text/csv")
        assert table.headers["content-disposition"] == f'attachment; filename="{id_}.csv"'
        rows = list(csv.DictReader(io.StringIO(table.text)))
        lines = [json.loads(line) for line in operator.get(f"{EXPERIMENTS}/{id_}/results.jsonl").text.splitlines()]
        trials = list(here.store.stream(id_))
        assert [row["state"] for row in rows] == [line["state"] for line in lines] == [str(t.state) for t in trials]
        assert [float(row["learning_rate"]) for row in rows] == [1e-3, 1e-2, 0.1, 1.0]
        assert operator.get(f"{EXPERIMENTS}/{id_}/results.exe").status_code == 422


class TestPlots:
    def test_points_keep_parameters_and_mark_what_diverged(self, operator: httpx.Client, store: Store) -> None:
        id_ = submitted(operator)
        carried_out(store, id_, "cdfc")
        points = operator.get(f"{EXPERIMENTS}/{id_}/plots/points").json()
        assert points["state"] == ["complete", "diverged", "failed", "complete"]
        assert points["value"] == [1.0, None, None, 0.25]
        assert points["parameters"]["learning_rate"] == [1e-3, 1e-2, 0.1, 1.0]
        assert (points["covered"], points["finished"], points["is_sample"]) == (4, 4, False)

    def test_history_curves_durations_timeline(self, operator: httpx.Client, store: Store) -> None:
        id_ = submitted(operator)
        carried_out(store, id_)
        at = f"{EXPERIMENTS}/{id_}/plots"
        assert operator.get(f"{at}/history").json()["value"] == [1.0, 0.5, 1 / 3, 0.25]
        curves = operator.get(f"{at}/curves").json()["curves"]
        assert [curve["number"] for curve in curves] == [3, 2, 1, 0]
        assert curves[0]["values"] == [2.0, 1.0]
        assert sum(operator.get(f"{at}/durations").json()["run_counts"]) == 4
        timeline = operator.get(f"{at}/timeline").json()
        assert [timeline["workers"][place] for place in timeline["worker"]] == ["w1"] * 4

    def test_nothing_finished_yet(self, operator: httpx.Client) -> None:
        at = f"{EXPERIMENTS}/{submitted(operator)}/plots"
        for name in ("points", "history", "curves", "durations", "timeline"):
            assert operator.get(f"{at}/{name}").status_code == 200
