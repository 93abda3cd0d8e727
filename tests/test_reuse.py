"""Which results are the same, and how one is found among many."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optml_queue import reuse
from optml_queue.archive import Archive, open_archive
from optml_queue.archive.earlier import key_of, opened
from optml_queue.earlier import Earlier
from optml_queue.early_stopping import EarlyStopping
from optml_queue.errors import ArchiveError
from optml_queue.experiments import with_files
from optml_queue.provenance import facts
from optml_queue.restoration import submission_of
from optml_queue.results import write_opening
from optml_queue.spec import Spec, parse_spec
from optml_queue.spec.prior import Reuse
from optml_queue.store import Experiment, NewTrial, ReusedResult
from optml_queue.trial import Params, Trial, TrialState, fingerprint

PROGRAM = "def train(trial):\n    return {'loss': 1.0}\n"
BODY = """
name: t
program: code
metric: loss
parameters: {x: {values: [1, 2, 3]}}
reuse: true
"""


@dataclass
class Kept:
    """A store of some experiments."""

    kept: dict[str, tuple[Experiment, list[Trial]]]

    def experiments(self) -> list[Experiment]:
        return [record for record, _ in self.kept.values()]

    def experiment(self, experiment: str, /) -> Experiment:
        raise AssertionError

    def resolve(self, text: str, /) -> str:
        raise AssertionError

    def stream(self, experiment: str, /) -> Iterator[Trial]:
        return iter(self.kept[experiment][1])

    def curve(self, experiment: str, number: int, /) -> dict[int, float]:
        raise AssertionError


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return open_archive(str(tmp_path / "archive"))


def spec(archive: Archive, folder: Path, body: str = BODY, program: str = PROGRAM) -> Spec:
    """The spec with its code in the archive."""
    (folder / "code").mkdir(exist_ok=True)
    (folder / "code" / "train.py").write_text(program)
    return with_files(archive, parse_spec(body, "t.yaml", folder), None)


def opening(id_: str, wanted: Spec, created_at: float = 1.0) -> Experiment:
    return replace(Experiment.opened(id_, submission_of(wanted, facts(wanted))), created_at=created_at)


def trial(number: int, x: int, state: TrialState = TrialState.COMPLETE, loss: float = 1.0, seed: int = 0) -> Trial:
    return Trial(number, state, {"x": x}, seed, {"loss": loss})


def listed(archive: Archive, wanted: Spec, *earlier: tuple[Experiment, list[Trial]]) -> tuple[Reuse, list[NewTrial]]:
    """What is found, and the trials x = 1, 2, 3 with the results that they take over."""
    store = Kept({record.id: (record, trials) for record, trials in earlier})
    found = reuse.keep_list(archive, Earlier(archive, store), wanted, "new")
    trials = [NewTrial(number, {"x": x}, 0) for number, x in enumerate((1, 2, 3))]
    return found, list(reuse.with_results(trials, found, archive))


def test_results_of_the_same_code_are_found_the_newest_first(archive: Archive, tmp_path: Path) -> None:
    wanted = spec(archive, tmp_path)
    old = opening("old", wanted, 1.0), [trial(0, 1, loss=1.0), trial(1, 2, loss=2.0), trial(2, 3, seed=1)]
    new = opening("new-er", wanted, 2.0), [trial(0, 2, loss=2.5), replace(trial(1, 9), origin={"reused_from": "z/7"})]
    found, trials = listed(archive, wanted, old, new, (opening("new", wanted), [trial(0, 3)]))
    assert (found.results, found.experiments) == (4, 2)
    taken = [trial.reused and (trial.reused.ran, dict(trial.reused.result.metrics)) for trial in trials]
    assert taken == [("old/0", {"loss": 1.0}), ("new-er/0", {"loss": 2.5}), None]
    assert listed(archive, wanted)[0] == Reuse()


def test_only_results_that_another_run_would_find(archive: Archive, tmp_path: Path) -> None:
    wanted = spec(archive, tmp_path)
    ended = [trial(n, n, state) for n, state in enumerate(TrialState)]
    nan = replace(trial(9, 9, TrialState.DIVERGED, float("nan")), reason="loss is nan")
    found, _ = listed(archive, wanted, (opening("a", wanted), [*ended, nan]))
    assert found.results == 3  # the complete one, and those that diverged
    cut = replace(wanted, early_stopping=EarlyStopping("asha"))
    found, _ = listed(archive, wanted, (opening("a", cut), [*ended, nan]))
    assert found.results == 1
    (result,) = reuse.with_results(
        [NewTrial(0, {"x": 9}, 0)], listed(archive, wanted, (opening("a", wanted), [nan]))[0], archive
    )
    assert result.reused is not None
    assert result.reused.result.reason == "loss is nan"
    assert str(result.reused.result.metrics["loss"]) == "nan"


@pytest.mark.parametrize(
    "change",
    [
        {"program": PROGRAM + "# another comment\n"},
        {"body": BODY.replace("metric: loss", "metric: {name: loss, goal: maximize}")},
        {"body": BODY.replace("metric: loss", "metric: {name: loss, at: best}")},
        {"body": BODY + "requirements: [pyyaml]\n"},
        {"body": BODY + "data: {csv: series.csv}\n"},
    ],
)
def test_whatever_may_change_a_result_makes_it_another(
    archive: Archive, tmp_path: Path, change: dict[str, str]
) -> None:
    (tmp_path / "series.csv").write_text("".join(f"{i % 7}\n" for i in range(50)))
    earlier = opening("a", spec(archive, tmp_path)), [trial(0, 1)]
    assert listed(archive, spec(archive, tmp_path), earlier)[0].results == 1
    assert listed(archive, spec(archive, tmp_path, **change), earlier)[0].results == 0


def test_another_file_of_data_is_other_data_wherever_it_lies(archive: Archive, tmp_path: Path) -> None:
    def of(name: str, modulus: int) -> Spec:
        (tmp_path / name).write_text("".join(f"{i % modulus}\n" for i in range(50)))
        return spec(archive, tmp_path, f"{BODY}data: {{csv: {name}}}\n")

    earlier = opening("a", of("series.csv", 7)), [trial(0, 1)]
    assert listed(archive, of("copy.csv", 7), earlier)[0].results == 1
    assert listed(archive, of("series.csv", 6), earlier)[0].results == 0


def test_what_another_version_of_ours_found_is_not_the_same(archive: Archive) -> None:
    text = "name: t\nalgorithm: lms\nparameters: {learning_rate: [0.1]}\nreuse: true\n"
    wanted = parse_spec(text, "t.yaml", Path.cwd())
    trials = [Trial(0, TrialState.COMPLETE, {"learning_rate": 0.1}, 0, {"nmse": 1.0})]
    record = opening("a", wanted)
    assert listed(archive, wanted, (record, trials))[0].results == 1
    for told in ({"optml_queue": "0.0.1"}, {"algorithm": {"name": "lms", "digest": "0" * 64}}):
        assert listed(archive, wanted, (replace(record, facts={**record.facts, **told}), trials))[0].results == 0
    assert reuse.identity_of(wanted, {}) == ""


def test_other_metrics_and_constraints_are_those_of_the_new_spec(archive: Archive, tmp_path: Path) -> None:
    small = BODY.replace("metric: loss", "metrics: [loss, size]\nconstraints: ['loss + x < 4']")
    wanted = spec(archive, tmp_path, small)
    earlier = [trial(0, 1), replace(trial(1, 2), metrics={"loss": 1.0, "size": 2.0}, reason="infeasible: loss > 9")]
    earlier.append(replace(trial(2, 3), metrics={"loss": 1.0, "size": 2.0}))
    _, trials = listed(archive, wanted, (opening("a", wanted), earlier))
    reasons = [trial.reused and trial.reused.result.reason for trial in trials]
    assert reasons == [None, "", "infeasible: loss + x < 4"]


def test_records_of_an_archive_alone_are_read_and_odd_ones_passed_over(archive: Archive, tmp_path: Path) -> None:
    wanted = spec(archive, tmp_path)
    write_opening(archive, opening("a", wanted))
    archive.put("a/parts/0000000000-0000000000-00.jsonl", trial(0, 2).to_json().encode() + b"\n")
    archive.put("b/experiment.json", b"{}")
    write_opening(archive, replace(opening("c", wanted), spec=wanted.to_json()))
    found, trials = listed(archive, wanted)
    assert (found.results, found.experiments) == (1, 1)
    assert [trial.reused is not None for trial in trials] == [False, True, False]
    archive.put(key_of(found.digest), b"damaged")
    reuse._lists.clear()
    with pytest.raises(ArchiveError, match="is damaged"):
        opened(archive, found.digest)
    with pytest.raises(ArchiveError, match="none at hand"):
        reuse.with_results(trials, found, None)


def test_a_limit_leaves_out_the_oldest(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reuse, "RESULTS_MAX", 3)
    wanted = spec(archive, tmp_path)
    old, new = ((opening(name, wanted, at), [trial(n, n) for n in (at, at + 1)]) for name, at in (("o", 1), ("n", 2)))
    found, trials = listed(archive, wanted, old, new)
    assert found.results == 3
    assert [trial.reused and trial.reused.experiment for trial in trials] == ["o", "n", "n"]


VALUE = st.one_of(st.integers(0, 3), st.floats(0, 1), st.text(max_size=3))
POINT = st.dictionaries(st.sampled_from("abc"), VALUE, max_size=2)
RESULTS = st.lists(
    st.tuples(POINT, st.integers(0, 11)), unique_by=lambda each: (fingerprint(each[0]), each[1]), min_size=1
)


@settings(max_examples=50)
@given(RESULTS, st.lists(st.tuples(POINT, st.integers(0, 11))))
def test_each_result_is_found_and_no_other(results: list[tuple[Params, int]], others: list[tuple[Params, int]]) -> None:
    numbers = {(fingerprint(params), seed): number for number, (params, seed) in enumerate(results)}
    results_of = [
        ReusedResult(
            "a", number, f"a/{number}", TrialState.COMPLETE, '{"loss":"nan"}', '"a\\tb"', enters_rungs=number % 2 == 0
        )
        for number in range(len(results))
    ]
    lines = [f"{reuse._key(*key)} {found.to_line()}\n" for key, found in zip(results, results_of, strict=True)]
    file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - `Results` closes it
    file.writelines(line.encode() for line in sorted(lines))
    file.flush()
    wanted = [*others, *results, *others]
    expected = [numbers.get((fingerprint(params), seed)) for params, seed in wanted]
    found = reuse.Results(file).find_all(wanted)
    assert found == [None if number is None else results_of[number] for number in expected]
    assert {result.result.reason for result in found if result} == {"a\tb"}
