"""`start_from` and `reuse` of a spec: what is refused, and how they survive YAML and the store's JSON."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from optml_queue.errors import InputError, SpecError
from optml_queue.spec import Spec, parse_spec
from optml_queue.spec.extension import extended
from optml_queue.spec.prior import Reuse, Source, StartFrom

TPE = """
name: t
algorithm: lms
method: tpe
max_trials: 9
parameters: {learning_rate: {min: 1e-6, max: 0.1}}
"""
FOUND = StartFrom(("latest",), (Source("lms-k3f9a", 3, 4, {"failed": 1}),), "0" * 64)


def read(*overrides: str, text: str = TPE) -> Spec:
    return parse_spec(text, "t.yaml", Path.cwd(), overrides)


def test_they_are_read_and_survive() -> None:
    assert (read().start_from, read().reuse) == (None, None)
    assert "reuse" not in read("reuse=false").to_dict()
    spec = read("start_from=[a-1, latest]", "reuse=true", "method=[random: 2, evolution: rest]")
    assert spec.start_from == StartFrom(("a-1", "latest"))
    assert read("start_from=a-1").start_from == StartFrom(("a-1",))
    submitted = replace(spec, start_from=FOUND, reuse=Reuse("1" * 64, 7, 2))
    again = Spec.from_json(submitted.to_json())
    assert (again.start_from, again.reuse) == (FOUND, Reuse("1" * 64, 7, 2))
    # What people read and submit once more has the ids that were meant.
    assert again.to_dict()["start_from"] == ["lms-k3f9a"]
    assert read(text=again.to_yaml()).start_from == StartFrom(("lms-k3f9a",))
    assert read(text=again.to_yaml()).reuse == Reuse()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["start_from=7"], "start_from: must be an experiment's id, or latest, got 7"),
        (["start_from=[a, []]"], r"start_from\[1\]: must be an experiment's id"),
        (["start_from=[]"], "start_from: is empty"),
        (["start_from=a", "method=random"], "start_from: is for a search that learns, and random does not"),
        (["reuse=1"], "reuse: must be true or false, got 1"),
        (["warm_start=a"], "earlier results are start_from: EXPERIMENT"),
    ],
)
def test_what_is_refused_is_told(overrides: list[str], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read(*overrides)


def test_a_command_without_files_is_never_the_same() -> None:
    text = "name: t\ncommand: [./train, '{x}']\nmetric: loss\nparameters: {x: [1, 2]}\nreuse: true\n"
    with pytest.raises(SpecError, match="reuse: cannot tell whether this command is the same as before"):
        read(text=text)


def test_an_extension_starts_from_the_same() -> None:
    old = replace(read("start_from=latest"), start_from=FOUND)
    for same in ("latest", "[lms-k3f9a]"):
        assert extended(old, read(f"start_from={same}", "max_trials=20"), 9).start_from == FOUND
    for other in ([], ["start_from=[latest, a]"]):
        with pytest.raises(InputError, match=r"start_from: is .*, not"):
            extended(old, read(*other), 9)
    with pytest.raises(InputError, match="start_from: is left out, not"):
        extended(read(), read("start_from=a"), 9)
