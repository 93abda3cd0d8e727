"""A command's arguments: values stay values, whatever they are."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optml_queue.command.arguments import argv_of, filled, names_in, problems, syntax_problem, variables
from optml_queue.trial import ParamValue

SCALARS = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES: st.SearchStrategy[ParamValue] = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=4)


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("--rate={rate}", "--rate=1e-06"),
        ("{rate}", "1e-06"),
        ("{deep}/{deep}", "true/true"),
        ("-n{count}", "-n-3"),
        ("{{rate}}", "{rate}"),
        ("a{{{count}}}", "a{-3}"),
        ("{sizes}", '[1,2.5,"ä"]'),
        ("{name}", "two words; rm -rf $HOME\n"),
        ("{empty}", ""),
    ],
)
def test_values_are_filled_in_as_they_are(argument: str, text: str) -> None:
    values: dict[str, ParamValue] = {
        "rate": 1e-6,
        "deep": True,
        "count": -3,
        "sizes": [1, 2.5, "ä"],
        "name": "two words; rm -rf $HOME\n",
        "empty": "",
    }
    assert filled(argument, values) == text.replace(",", ", ")


@given(
    st.lists(st.sampled_from(["{a}", "x{a}", "--o={a}", "-o{a}", "{a}{b}", "plain", "-p"]), max_size=5), VALUES, VALUES
)
def test_no_value_becomes_an_option_or_a_second_argument(arguments: list[str], a: ParamValue, b: ParamValue) -> None:
    values = {"a": a, "b": b}
    try:
        argv = argv_of(arguments, values)
    except ValueError:
        assert problems(arguments, values)
        return
    assert problems(arguments, values) == {}
    assert len(argv) == len(arguments)
    for argument, text in zip(arguments, argv, strict=True):
        assert text.startswith("-") == argument.startswith("-")
        assert "\0" not in text


def test_a_value_that_would_look_like_an_option_is_named_with_the_remedy() -> None:
    found = problems(["run", "{offset}", "--x={offset}"], {"offset": -0.5})
    assert found == {
        "offset": "would begin with '-' in the argument '{offset}' and look like an option; "
        "write it behind its option, as in --name={offset}"
    }
    assert problems(["run", "--x={offset}"], {"offset": -0.5}) == {}


def test_an_argument_for_a_parameter_that_does_not_apply_is_left_out() -> None:
    assert argv_of(["run", "--depth={depth}", "{rate}"], {"rate": 1}) == ["run", "1"]


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("{rate", "a brace that begins or ends no {name}"),
        ("rate}", "a brace that begins or ends no {name}"),
        ("{}", "a brace that begins or ends no {name}"),
        ("{rate:.3f}", "a brace that begins or ends no {name}"),
        ("{learning_rate}", "a placeholder for 'learning_rate', which is no parameter"),
        ("--{rate}", "lets a value name the option"),
        ("-{rate}", "lets a value name the option"),
        ("a\0b", "holds a NUL character"),
        ("--{{rate}}", ""),
        ("-n{rate}", ""),
        ("{rate}{rate}", ""),
    ],
)
def test_what_cannot_be_filled_in_is_told(argument: str, told: str) -> None:
    problem = syntax_problem(argument, ["rate"])
    assert told in problem
    assert bool(told) == bool(problem)


def test_names_and_variables() -> None:
    assert list(names_in("{a}-{{b}}-{c}")) == ["a", "c"]
    assert variables({"learning_rate": 0.1, "deep": False, "bad": "\0"}) == {
        "OPTML_PARAM_LEARNING_RATE": "0.1",
        "OPTML_PARAM_DEEP": "false",
    }
    assert json.loads(variables({"sizes": [1, "b"]})["OPTML_PARAM_SIZES"]) == [1, "b"]
