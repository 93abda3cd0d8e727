"""A search that learns goes on whatever ends: its history is all there is to it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import optuna
import pytest

from optml_queue import experiments
from optml_queue.archive import Archive
from optml_queue.archive_source import ArchiveSource
from optml_queue.lineage import children
from optml_queue.results import write_parts
from optml_queue.search.adaptive import Task, derived_seed, searcher
from optml_queue.search.history import History, history_of
from optml_queue.spec import Spec, parse_spec
from optml_queue.store import Assignment, Publication, Store
from optml_queue.trial import Trial, TrialResult, TrialState, digest
from tests.cluster import cluster
from tests.valkey_server import valkey_server

pytestmark = pytest.mark.integration

GP = ["gp"] if find_spec("torch") else []

TPE = """
name: tpe
algorithm: lms
method: tpe
seed: 3
parameters:
  learning_rate: {min: 1e-7, max: 0.1, scale: log}
  filter_size: {min: 1, max: 20}
max_trials: 40
"""


def spec(*overrides: str) -> Spec:
    return parse_spec(TPE, "tpe.yaml", Path.cwd(), overrides)


def history(store: Store, experiment: str, metric: str = "nmse") -> History:
    trials = list(store.stream(experiment))
    return history_of(trials, store.finishing(experiment), [metric], {trial.number: trial.number for trial in trials})


def assert_each_follows_from_what_was_known(found: History, task: Task) -> None:
    """Every point again, from the tells that its searcher had seen and the asks before it."""
    for place, ask in enumerate(found.asks):
        tells = tuple(tell for tell in found.tells if tell.position < ask.seen)
        before = History(found.asks[:place], tells, ask.seen)
        assert searcher(task).suggest(before, [ask.number])[0].params == ask.params, ask.number


def run(store: Store, publication: Publication, value: float, metric: str = "nmse") -> None:
    """What a worker does with one message."""
    token = f"token-{publication.number}"
    begun = store.begin(
        publication.experiment,
        publication.number,
        publication.generation,
        digest(publication.params),
        token,
        "worker",
        30.0,
    )
    assert isinstance(begun, Assignment)
    result = TrialResult(TrialState.COMPLETE, {metric: value})
    assert store.finish(publication.experiment, publication.number, token, result) == "accepted"


def course(store: Store, experiment: str, trials: int) -> list[Trial]:
    """Advance and run, one trial after the other, until so many have ended."""
    waiting: list[Publication] = []
    while (ended := store.experiment(experiment).finished) < trials:
        experiments.advance(store, waiting.extend, experiment)
        publication = waiting.pop(0)
        run(store, publication, 1.0 + abs(float(publication.params["filter_size"]) - 9.0) + ended / 1000)  # type: ignore[arg-type]
    return list(store.stream(experiment))


@pytest.mark.parametrize("method", ["tpe", "cma-es", *GP])
def test_one_worker_tries_what_a_fresh_sampler_suggests(method: str, store: Store, archive: Archive) -> None:
    """Against Optuna alone: for each trial a sampler seeded by (seed, number), and what had been told when it came."""
    trials = 15 if method == "gp" else 40  # the first ten of the Gaussian process are random
    wanted = spec(f"method={method}", "parameters.filter_size.max=1000", f"max_trials={trials}")
    experiment = experiments.submit(store, archive, wanted)
    course(store, experiment, trials)
    found = history(store, experiment)
    assert store.experiment(experiment).state == "complete"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    told = 0
    for ask in found.asks:
        while told < ask.seen:
            tell = found.tells[told]
            study.tell(tell.number, tell.value)
            told += 1
        study.sampler = fresh_sampler(method, derived_seed(wanted.seed, ask.number))
        trial = study.ask()
        rate = trial.suggest_float("learning_rate", 1e-7, 0.1, log=True)
        assert ask.params == {"learning_rate": rate, "filter_size": trial.suggest_int("filter_size", 1, 1000)}


def fresh_sampler(method: str, seed: int) -> optuna.samplers.BaseSampler:
    if method == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    kind = optuna.samplers.GPSampler if method == "gp" else optuna.samplers.CmaEsSampler
    random = optuna.samplers.RandomSampler(seed=seed)
    return kind(seed=seed, independent_sampler=random, warn_independent_sampling=False)


def test_what_is_suggested_knows_all_but_what_waits_or_runs(store: Store, archive: Archive) -> None:
    experiment = experiments.submit(store, archive, spec())
    trials = course(store, experiment, 40)
    assert all(trial.number == trial.origin["seen"] for trial in trials)


def test_evolution_of_lists_is_known_by_its_parents(store: Store, archive: Archive) -> None:
    text = """
name: layers
algorithm: ann
method: evolution
parameters:
  learning_rate: {min: 1e-4, max: 1.0, scale: log}
  network_size: {list: {of: [8, 16, 32, 64], min_length: 1, max_length: 4}}
max_trials: 45
"""
    wanted = parse_spec(text, "layers.yaml", Path.cwd())
    experiment = experiments.submit(store, archive, wanted)
    waiting: list[Publication] = []
    for number in range(45):
        experiments.advance(store, waiting.extend, experiment)
        run(store, waiting.pop(0), 1.0 / (number + 1), "error_rate")
    trials = {trial.number: trial for trial in store.stream(experiment)}
    assert_each_follows_from_what_was_known(
        history(store, experiment, "error_rate"), Task("evolution", wanted.space, wanted.goal, wanted.seed)
    )
    born = [trial for trial in trials.values() if trial.parents]
    assert len(born) == 20
    for child in born:
        (parent,) = (trials[number].params for number in child.parents)
        assert sum(child.params[name] != parent[name] for name in parent) == 1
    youngest = born[-1].parents[0]
    found = children(trials[youngest], wanted.to_json(), lambda numbers: store.trials(experiment, numbers))
    assert found == [child.number for child in born if youngest in child.parents]
    write_parts(store, archive, experiment, force=True)
    kept = ArchiveSource(archive)
    assert [kept.trials(experiment, [born[0].number])[0].parents] == [born[0].parents]


def test_more_trials_of_the_same_search(store: Store, archive: Archive) -> None:
    experiment = experiments.submit(store, archive, spec("max_trials=20"))
    before = course(store, experiment, 20)
    experiments.extend(store, archive, experiment, spec("max_trials=30"))
    after = course(store, experiment, 30)
    assert after[:20] == before
    assert [trial.number for trial in after] == list(range(30))
    wanted = spec()
    assert_each_follows_from_what_was_known(
        history(store, experiment), Task("tpe", wanted.space, wanted.goal, wanted.seed)
    )


def test_it_comes_back_from_the_archive_with_its_history(store: Store, archive: Archive) -> None:
    experiment = experiments.submit(store, archive, spec())
    course(store, experiment, 15)
    known = history(store, experiment)
    write_parts(store, archive, experiment, force=True)
    store.client.flushall()
    experiments.restore(store, archive, experiment)
    found = history(store, experiment)
    assert found.tells == known.tells
    assert found.asks == known.asks[:15]
    store.resume(experiment)
    trials = course(store, experiment, 40)
    assert store.experiment(experiment).state == "complete"
    assert len({trial.number for trial in trials}) == len(trials) == 40


def test_a_hybrid_goes_from_stage_to_stage(store: Store, archive: Archive) -> None:
    hybrid = spec("method=[random: 5, tpe: 15, cma-es: 10, evolution: rest]", "seeds=[0, 1]")
    experiment = experiments.submit(store, archive, hybrid)
    trials = course(store, experiment, 40)
    methods = [trial.origin.get("method", "random") for trial in trials]
    assert methods == ["random"] * 6 + ["tpe"] * 16 + ["cma-es"] * 10 + ["evolution"] * 8
    assert [trials[i].params for i in range(0, 40, 2)] == [trials[i].params for i in range(1, 40, 2)]


@pytest.mark.faults
def test_every_process_killed_in_the_middle(tmp_path: Path) -> None:
    with valkey_server() as server:
        times = {"OPTML_BEAT_S": "0.3", "OPTML_LEASE_S": "1.2", "OPTML_VISIBILITY_S": "1.5"}
        with cluster({"OPTML_BROKER_URL": server.url, **times}, tmp_path) as workers:
            parameters = "  value: {min: -5.0, max: 5.0}\n  sleep_s: {min: 0.02, max: 0.2}"
            wanted = workers.spec(parameters, "max_trials: 40", method="tpe")
            experiment = workers.submit_spec(wanted)
            workers.until(lambda: workers.store.experiment(experiment).finished >= 15, "15 trials")
            workers.kill(everything=True)
            server.kill()
            server.start()
            before = {trial.number: trial.params for trial in workers.trials(experiment)}
            assert 15 <= len(before) < 40
            workers.start()
            workers.end(experiment)
            trials = workers.trials(experiment)
            assert [trial.number for trial in trials] == list(range(40))
            assert {trial.state for trial in trials} == {TrialState.COMPLETE}
            assert all(trials[number].params == params for number, params in before.items())
            assert sorted(workers.store.finishing(experiment)) == list(range(40))
            task = Task("tpe", wanted.space, wanted.goal, wanted.seed)
            assert_each_follows_from_what_was_known(history(workers.store, experiment), task)
