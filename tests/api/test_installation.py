"""Routes about the installation: algorithms, workers, backlog, health, metrics, validation."""

from __future__ import annotations

import json
import random

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from optml_queue.api.installation import Installation
from optml_queue.api.routes import validation
from optml_queue.driver import algorithm_names
from optml_queue.store import Backlog, ExperimentState, NewTrial, Store, Submission
from optml_queue.trial import TrialState
from tests.api.installations import SPEC, carried_out, submitted

pytestmark = pytest.mark.integration


def test_the_catalogue(viewer: httpx.Client) -> None:
    found = {each["name"]: each for each in viewer.get("/api/v1/algorithms").json()["algorithms"]}
    assert sorted(found) == sorted(algorithm_names())
    lms = found["lms"]
    assert lms["metrics"][0]["name"] == "nmse"
    assert "sunspots" in lms["data"]
    assert {parameter["name"]: parameter["kind"] for parameter in lms["parameters"]}["filter_size"] == "int"


def test_what_a_spec_amounts_to(viewer: httpx.Client, here: Installation) -> None:
    preview = viewer.post("/api/v1/validation", content=SPEC + "seeds: [0, 1]\n").json()
    assert (preview["trials"], preview["exact"], preview["metric"]) == (8, True, "nmse")
    assert preview["first"][0] == {"number": 0, "params": {"learning_rate": 1e-3, "filter_size": 5}, "seed": 0}
    assert preview["last"][-1]["number"] == 7
    assert "max_attempts: 3" in preview["resolved"]
    assert (preview["start_from"], preview["reuse"], preview["unread"]) == ([], None, [])
    assert not here.store.ids()


def test_what_a_spec_would_take_over(
    viewer: httpx.Client, operator: httpx.Client, here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(spec: str, **headers: str) -> httpx.Response:
        return viewer.post("/api/v1/validation", content=spec, headers=headers)

    id_ = submitted(operator)
    assert carried_out(here.store, id_, "ccfc") == 4
    start = SPEC.replace("[1e-3, 1e-2, 0.1, 1.0]", "{min: 1e-3, max: 0.1}") + "method: tpe\nmax_trials: 9\n"
    found = told(f"{start}reuse: true\nstart_from: {id_}\n").json()
    unused = {"have another learning_rate than is searched": 1, "failed": 1}
    assert found["start_from"] == [{"experiment": id_, "used": 2, "trials": 4, "unused": unused}]
    assert found["reuse"] == {"results": 3, "experiments": 1, "trials": None}
    assert told(f"{SPEC}seeds: [0, 1]\nreuse: true\n").json()["reuse"]["trials"] == 3
    # As submitting it would say, with the line, where there are lines.
    unknown = f"{start}start_from: [{id_}, grid-xxxxx]\n"
    for client, path in ((viewer, "validation"), (operator, "experiments")):
        refused = client.post(f"/api/v1/{path}", content=unknown)
        assert refused.status_code == 422
        [problem] = refused.json()["problems"]
        assert (problem["key"], problem["line"]) == ("start_from", 9)
        assert problem["message"] == "there is no experiment 'grid-xxxxx'"
        assert id_ in problem["advice"]
    as_json = {"name": "x", "algorithm": "lms", "method": "tpe", "max_trials": 9, "start_from": "grid-xxxxx"}
    as_json |= {"parameters": {"learning_rate": {"min": 1e-3, "max": 0.1}}}
    refused = told(json.dumps(as_json), **{"Content-Type": "application/json"})
    assert [(each["key"], each["line"]) for each in refused.json()["problems"]] == [("start_from", 0)]
    # What would take long is not read.
    monkeypatch.setattr(validation, "READ_MAX", 3)
    found = told(f"{start}reuse: true\nstart_from: {id_}\n").json()
    assert (found["start_from"], found["reuse"], found["unread"]) == ([], None, ["start_from", "reuse"])
    assert here.store.ids() == [id_]


def test_workers(viewer: httpx.Client, store: Store) -> None:
    store.worker_beat("w1@host", {"class": "gpu", "host": "host", "pid": 7, "odd": [1]}, ttl_s=30)
    [worker] = viewer.get("/api/v1/workers").json()["workers"]
    assert (worker["name"], worker["resource_class"], worker["pid"]) == ("w1@host", "gpu", 7)
    assert "odd" not in worker


def test_health(anonymous: httpx.Client) -> None:
    assert anonymous.get("/healthz").json() == anonymous.get("/readyz").json() == {"status": "ok"}


# Backlog


def brute_force(store: Store) -> dict[str, Backlog]:
    """The backlog from every trial there is, counted one by one."""
    found: dict[str, Backlog] = {}
    for each in store.experiments():
        if each.is_over:
            continue
        states = [trial.state for trial in store.stream(each.id)]
        running = states.count(TrialState.RUNNING)
        queued = unpublished = 0
        if each.state is ExperimentState.RUNNING and not each.ending:
            could_run = 10_000 if each.max_parallel is None else max(0, each.max_parallel - running)
            left = 0 if each.exhausted else each.end - each.next
            if each.max_trials is not None:
                left = min(left, each.max_trials - len(states))
            queued = min(states.count(TrialState.QUEUED), could_run)
            unpublished = max(0, min(left, could_run - queued))
        found[each.resource_class] = found.get(each.resource_class, Backlog()) + Backlog(queued, running, unpublished)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_the_backlog_is_what_counting_every_trial_gives(store: Store, seed: int) -> None:
    chance = random.Random(seed)
    for n in range(12):
        x, end = f"x-{n}", chance.randrange(1, 40)
        reserved = chance.randrange(end + 1)
        submission = Submission(
            name="x",
            spec="{}",
            end=end,
            metric="nmse",
            goal="minimize",
            resource_class=chance.choice(["cpu", "gpu"]),
            max_parallel=chance.choice([None, 1, 5, 30]),
            max_trials=chance.choice([None, reserved + 3]),
        )
        store.create(x, submission)
        store.reserve(x, 0, reserved, [NewTrial(i, {"a": i}, 0) for i in range(reserved)], exhausted=reserved == end)
        carry(store, x, chance)
        verb = chance.choice([store.pause, store.cancel, store.resume, store.resume])
        verb(x)
    assert store.backlog() == brute_force(store)


def carry(store: Store, x: str, chance: random.Random) -> None:
    from optml_queue.trial import TrialResult, digest

    for p in store.claim(store.experiment(x), workers=1):
        if chance.random() < 0.5:
            store.begin(x, p.number, p.generation, digest(p.params), "t", "w", 30.0)
            if chance.random() < 0.5:
                store.finish(x, p.number, "t", TrialResult(TrialState.COMPLETE, {"nmse": 1.0}))


def test_backlog_by_class(viewer: httpx.Client, operator: httpx.Client, store: Store) -> None:
    store.worker_beat("w1", {"class": "gpu"}, ttl_s=30)
    id_ = submitted(operator, SPEC + "max_parallel: 3\n")
    expected = {"class": "default", "queued": 0, "running": 0, "unpublished": 3, "total": 3}
    nothing = {"class": "gpu", "queued": 0, "running": 0, "unpublished": 0, "total": 0}
    assert viewer.get("/api/v1/backlog/default").json() == expected
    assert viewer.get("/api/v1/backlog").json() == {"classes": [expected, nothing]}
    assert viewer.get("/api/v1/backlog/nobody-has-it").json()["total"] == 0
    carried_out(store, id_)
    assert viewer.get("/api/v1/backlog/default").json()["total"] == 0


# Metrics


def samples(client: httpx.Client) -> dict[str, float]:
    """The figures by name and labels, as in `optml_workers{class=gpu}`."""
    found = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_metrics(viewer: httpx.Client, operator: httpx.Client, store: Store) -> None:
    store.worker_beat("w1", {"class": "gpu"}, ttl_s=30)
    id_ = submitted(operator, SPEC.replace("[1e-3, 1e-2, 0.1, 1.0]", "{min: 1, max: 20, step: 1}"))
    carried_out(store, id_, "fc", most=3)
    found = samples(viewer)
    assert found[f"optml_trials{{experiment={id_},state=complete}}"] == 2
    assert found["optml_workers{class=gpu}"] == 1
    assert found["optml_failed_trials{class=default}"] == 1
    assert found["optml_backlog{class=default,kind=queued}"] == 17
    assert found["optml_archive_lag_trials"] == 3
    assert found["optml_oldest_queued_age_seconds{class=default}"] >= 0
    assert found["optml_recovered_messages_total"] == 0
    assert found["optml_trial_duration_seconds_count{class=default}"] == 3
    assert found["optml_queue_wait_seconds_bucket{class=default,le=+Inf}"] == 3
    assert found["optml_queue_wait_seconds_sum{class=default}"] >= 0


def test_recovered_messages_are_counted_for_good(viewer: httpx.Client, operator: httpx.Client, store: Store) -> None:
    id_ = submitted(operator)
    carried_out(store, id_, most=1)
    assert store.recover(store.experiment(id_), most=10, workers=1, idle=True, grace_s=0) == 3
    store.remove(id_)
    assert samples(viewer)["optml_recovered_messages_total"] == 3


def test_times_fall_into_their_part_of_the_histogram(
    viewer: httpx.Client, store: Store, operator: httpx.Client
) -> None:
    id_ = submitted(operator)
    carried_out(store, id_)
    times = store.times("default")
    assert sum(count for name, count in times.items() if name.startswith("run:")) == 4
    total_s = sum(trial.run_s or 0.0 for trial in store.stream(id_))
    assert times["run_ms"] == pytest.approx(total_s * 1000, abs=0.01)


def test_the_documentation_has_no_script(viewer: httpx.Client) -> None:
    page = viewer.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "GET /api/v1/experiments/{id}/trials" in page.text
    assert "<script" not in page.text
