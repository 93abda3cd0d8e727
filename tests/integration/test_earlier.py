"""What comes from earlier experiments, over a real store: it is found once, and then it is the experiment's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from optml_queue import experiments, suggestions
from optml_queue.archive import Archive
from optml_queue.archive.earlier import opened
from optml_queue.early_stopping import EarlyStopping
from optml_queue.errors import InputError
from optml_queue.results import write_parts
from optml_queue.search import SerialSearch, segments
from optml_queue.search.start import read_start
from optml_queue.spec import Spec, parse_spec
from optml_queue.spec.prior import Reuse, Source
from optml_queue.store import Assignment, ExperimentState, Publication, Store
from optml_queue.trial import Params, Trial, TrialResult, TrialState, digest

pytestmark = pytest.mark.integration

GRID = """
name: grid
algorithm: lms
parameters:
  learning_rate: {values: [0.5, 0.1, 0.01, 1e-6]}
  filter_size: {min: 3, max: 7, step: 1}
"""
TPE = """
name: tpe
algorithm: lms
method: tpe
parameters:
  learning_rate: {min: 1e-7, max: 0.2, scale: log}
  filter_size: {min: 1, max: 20}
max_trials: 8
"""


def spec(text: str, *overrides: str) -> Spec:
    return parse_spec(text, "spec.yaml", Path.cwd(), overrides)


def run(store: Store, message: Publication) -> None:
    """What a worker does with one message; large rates diverge."""
    token, rate = f"token-{message.number}", float(message.params["learning_rate"])  # type: ignore[arg-type]
    x, n = message.experiment, message.number
    assert isinstance(store.begin(x, n, message.generation, digest(message.params), token, "worker", 30.0), Assignment)
    store.report(x, n, token, 1, rate)
    state = TrialState.DIVERGED if rate > 0.2 else TrialState.COMPLETE
    value = float("nan") if rate > 0.2 else 1.0 + rate + abs(float(message.params["filter_size"]) - 5.0)  # type: ignore[arg-type]
    assert store.finish(x, n, token, TrialResult(state, {"nmse": value, "mse": value / 3})) == "accepted"


def course(store: Store, archive: Archive, experiment: str, most: int = 1_000) -> list[Trial]:
    """Advance and run, one trial after the other, until the experiment is over; those that ran."""
    waiting: list[Publication] = []
    ran: list[int] = []
    while not store.experiment(experiment).is_over and len(ran) < most:
        experiments.advance(store, waiting.extend, experiment, archive=archive)
        if waiting:
            message = waiting.pop(0)
            run(store, message)
            ran.append(message.number)
    return store.trials(experiment, ran)


def finished_grid(store: Store, archive: Archive) -> str:
    experiment = experiments.submit(store, archive, spec(GRID))
    assert len(course(store, archive, experiment)) == 20
    return experiment


def figures(trial: Trial) -> tuple[object, ...]:
    return trial.number, trial.state, trial.params, trial.seed, repr(trial.metrics), trial.reason


def test_the_same_grid_again_runs_nothing(store: Store, archive: Archive) -> None:
    first = finished_grid(store, archive)
    ran = list(store.stream(first))
    write_parts(store, archive, first, force=True)
    second = experiments.submit(store, archive, spec(GRID, "reuse=true"))
    assert course(store, archive, second) == []
    store.remove(first)
    third = experiments.submit(store, archive, spec(GRID, "reuse=true"))  # from the second
    assert course(store, archive, third) == []
    store.remove(second)
    store.remove(third)
    fourth = experiments.submit(store, archive, spec(GRID, "reuse=true", "max_trials=10"))  # from the archive
    archive.delete(first)  # what was found at submission is there, whatever becomes of the first
    assert course(store, archive, fourth) == []
    record, found = store.experiment(fourth), list(store.stream(fourth))
    assert (record.state, record.reused, record.terminal) == (ExperimentState.COMPLETE, 10, 10)
    assert list(map(figures, found)) == list(map(figures, ran[:10]))
    assert {trial.attempts for trial in found} == {0}
    assert [trial.reused_from for trial in found] == [f"{first}/{number}" for number in range(10)]
    assert store.best(fourth)[0].metrics["nmse"] == min(trial.metrics["nmse"] for trial in ran[5:10])
    assert sorted(store.finishing(fourth)) == list(range(10))
    assert record.worker_s == 0
    assert store.client.exists(f"optml:x:{fourth}:fresh", f"optml:x:{fourth}:t:0") == 0


def test_a_curve_comes_along_and_counts_for_early_stopping(store: Store, archive: Archive) -> None:
    first = finished_grid(store, archive)
    second = experiments.submit(store, archive, spec(GRID, "reuse=true", "early_stopping={method: median}"))
    course(store, archive, second)
    third = experiments.submit(store, archive, spec(GRID, "reuse=true"))
    store.remove(first)
    course(store, archive, third)
    assert store.curve(second, 7) == store.curve(third, 7) == {1: 0.1}
    assert store.trials(third, [7])[0].reused_from == f"{first}/7"  # that ran
    assert store.client.zcard(f"optml:x:{second}:averages:1") == 15  # complete ones


def test_rungs_have_the_curves_of_those_that_no_rule_chose(store: Store, archive: Archive) -> None:
    def rung(experiment: str) -> int:
        return int(store.client.zcard(f"optml:x:{experiment}:rung:0:1"))

    asha = "early_stopping={method: asha, reduction: 5}"
    first = finished_grid(store, archive)
    second = experiments.submit(store, archive, spec(GRID, "reuse=true", asha, "seeds=[0, 1]"))
    assert len(course(store, archive, second)) == 20
    assert rung(second) == 40
    # Of the second's, those that ran there were chosen; what it took over was not.
    third = experiments.submit(store, archive, spec(GRID, "reuse=true", asha, "seeds=[0, 1]"))
    ran = course(store, archive, third)
    assert {trial.seed for trial in ran} == {1}
    assert 0 < len(ran) < 20
    assert rung(third) == 20 + len(ran)
    assert store.client.hget(f"optml:x:{third}", "reused") == str(40 - len(ran))
    assert first in {trial.reused_from.partition("/")[0] for trial in store.stream(third)}


def test_what_is_new_runs_and_the_rest_is_taken_over(store: Store, archive: Archive) -> None:
    finished_grid(store, archive)
    wider = ("reuse=true", "parameters.learning_rate.values=[0.2, 1e-6, 0.5]", "seeds=[0, 1]")
    again = experiments.submit(store, archive, spec(GRID, *wider, "constraints=['nmse < 2.5']"))
    ran = course(store, archive, again)
    trials = list(store.stream(again))
    # In another order and with more beside them, the same points with the same seed are found.
    taken = [trial for trial in trials if trial.reused_from]
    assert {(trial.params["learning_rate"], trial.seed) for trial in taken} == {(1e-6, 0), (0.5, 0)}
    assert len(ran) == 20
    assert len(taken) == 10
    # The constraint is the new experiment's.
    assert [trial.is_feasible for trial in taken if trial.params["learning_rate"] == 1e-6] == [
        False,
        True,
        True,
        True,
        False,
    ]
    extended = experiments.extend(
        store, archive, again, spec(GRID, "reuse=true", "seeds=[0, 1]", "constraints=['nmse < 2.5']")
    )
    assert len(course(store, archive, again)) == 10  # 0.1 and 0.01 with seed 1
    assert store.experiment(again).reused == 20
    assert extended.extensions == 1


def test_a_result_that_was_there_may_end_the_experiment(store: Store, archive: Archive) -> None:
    finished_grid(store, archive)
    for key, reason, counted in (
        ("target=1.02", "target reached: trial 12 has nmse 1.01", 13),
        ("budget.trials=7", "budget spent", 7),
    ):
        again = experiments.submit(store, archive, spec(GRID, "reuse=true", key))
        assert course(store, archive, again) == []
        record = store.experiment(again)
        assert (record.state, record.reason[: len(reason)]) == (ExperimentState.COMPLETE, reason)
        assert (record.reused, record.counts[TrialState.CANCELLED]) == (counted, 20 - counted)
        assert record.counts[TrialState.QUEUED] == 0
        cancelled = store.trials(again, range(counted, 20))
        assert {(trial.state, trial.reason, trial.reused_from) for trial in cancelled} == {
            (TrialState.CANCELLED, "cancelled", "")
        }
        assert store.retry(again, [19]) == 1  # it runs, then, for it was asked for


def test_only_what_another_run_would_find_too(store: Store, archive: Archive) -> None:
    first = finished_grid(store, archive)
    plain = store.spec(first)
    store.client.hset(
        f"optml:x:{first}", "spec", replace(Spec.from_json(plain), early_stopping=EarlyStopping("asha")).to_json()
    )
    again = experiments.submit(store, archive, spec(GRID, "reuse=true"))
    # Under a rule of early stopping, it may have been the rule that let it diverge.
    assert len(course(store, archive, again)) == 5
    store.client.hset(f"optml:x:{first}", "spec", plain)
    for other in ("data.name=channel", "metric.at=best", "metric=mse"):
        experiment = experiments.submit(store, archive, spec(GRID, "reuse=true", other))
        assert Spec.from_json(store.spec(experiment)).reuse == Reuse()


def test_a_restored_experiment_keeps_what_it_took_over(store: Store, archive: Archive) -> None:
    first = finished_grid(store, archive)
    again = experiments.submit(store, archive, spec(GRID, "reuse=true", "seeds=[0, 1]"))
    course(store, archive, again, most=5)
    write_parts(store, archive, again, force=True)
    before = store.experiment(again)
    store.client.flushall()
    archive.delete(first)
    experiments.restore(store, archive, again)
    assert store.experiment(again).reused == before.reused == 20
    store.resume(again)
    course(store, archive, again)
    assert store.experiment(again).reused == 20
    assert sum(trial.seed == 0 and bool(trial.reused_from) for trial in store.stream(again)) == 20


def points(trials: list[Trial]) -> list[Params]:
    return [trial.params for trial in trials]


def serial(store: Store, archive: Archive, experiment: str) -> list[Params]:
    """The points that a search in one process suggests, told the results of an experiment."""
    wanted = Spec.from_json(store.spec(experiment))
    assert wanted.start_from is not None
    with opened(archive, wanted.start_from.digest) as lines:
        search = SerialSearch(wanted, segments(wanted), read_start(lines))
    suggested = []
    for number, params, _seed in search:
        suggested.append(params)
        (trial,) = store.trials(experiment, [number])
        search.tell(number, TrialResult(trial.state, trial.metrics))
    return suggested


def test_a_search_starts_from_what_is_known(store: Store, archive: Archive) -> None:
    first = finished_grid(store, archive)
    unaided = points(course(store, archive, experiments.submit(store, archive, spec(TPE), experiment="alone")))
    for id_ in ("whole", "broken-off"):
        experiments.submit(store, archive, spec(TPE, f"start_from=[alone, {first}]"), experiment=id_)
    start = Spec.from_json(store.spec("whole")).start_from
    assert start is not None
    reasons = {"have another learning_rate than is searched": 5}
    assert start.sources == (Source("alone", 8, 8), Source(first, 15, 20, reasons))
    # It is the experiment's own from now on, whatever becomes of those that it comes from.
    for gone in ("alone", first):
        store.remove(gone)
        archive.delete(gone)
    tried = points(course(store, archive, "whole"))
    assert tried != unaided
    assert serial(store, archive, "whole") == tried
    # The best by far of what was known are those with 1e-6 and 5: it looks there at once.
    assert all(abs(float(point["filter_size"]) - 5.0) < 4 for point in tried[:4])  # type: ignore[arg-type]

    begun = points(course(store, archive, "broken-off", most=4))
    write_parts(store, archive, "broken-off", force=True)
    store.client.flushall()
    suggestions._memories.clear()
    experiments.restore(store, archive, "broken-off")
    store.resume("broken-off")
    assert begun + points(course(store, archive, "broken-off")) == tried


def test_submitting_again_joins_what_was_started_from_the_same(store: Store, archive: Archive) -> None:
    first = finished_grid(store, archive)
    experiments.submit(store, archive, spec(TPE, "start_from=latest", "reuse=true"), experiment="once")
    record = store.spec("once")
    course(store, archive, "once")
    # `latest` is another experiment by now, and there are more results: what was found at first stands.
    assert experiments.submit(store, archive, spec(TPE, "start_from=latest", "reuse=true"), experiment="once") == "once"
    assert store.spec("once") == record
    for same in ("latest", f"[{first}]"):
        wanted = spec(TPE, f"start_from={same}", "reuse=true", "max_trials=9")
        assert experiments.extend(store, archive, "once", wanted).max_trials == 9
    assert len(course(store, archive, "once")) == 1
    with pytest.raises(InputError, match=r"start_from: is .*, not left out; an extension cannot change it"):
        experiments.extend(store, archive, "once", spec(TPE, "max_trials=10"))


def test_what_cannot_be_started_from_is_said(store: Store, archive: Archive) -> None:
    first = finished_grid(store, archive)
    for overrides, message in (
        ([f"start_from={first}:log"], "start_from: .* is no experiment's id"),
        (["start_from=grind"], r"spec:\d+: start_from: there is no experiment 'grind'\n +did you mean"),
        (["start_from=latest", "metric=mse"], r"judged by nmse \(minimize, at: last\), this experiment by mse"),
        (["start_from=latest", "parameters.filter_size.min=8"],
         f"start_from: {first}: 0 of 20 trials are used; 15 have another filter_size than is searched"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            experiments.submit(store, archive, spec(TPE, *overrides))
    assert store.ids() == [first]
