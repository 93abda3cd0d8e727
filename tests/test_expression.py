"""Conditions: what they mean, what is refused, and that no text runs code or escapes as another error."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optml_queue.errors import ExpressionError
from optml_queue.expression import MAX_LENGTH, parse

NAMES = ("rate", "size", "depth", "normalized", "layers")
POINT = {"rate": 0.1, "size": 5, "depth": "deep", "normalized": True, "layers": [32, 64]}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("rate > 0.05 and size == 5", True),
        ("rate > 0.05 and size > 5", False),
        ("rate > 1 or size >= 5", True),
        ("not rate > 1", True),
        ("0.01 < rate <= 0.1", True),
        ("0.01 < rate < 0.1", False),
        ("depth == 'deep'", True),
        ("depth != 'deep'", False),
        ("depth in ['deep', 'wide']", True),
        ("size not in (1, 2, 3)", True),
        ("size in [-1, +5]", True),
        ("size in [-1, -5]", False),
        ("normalized", True),
        ("not normalized", False),
        ("normalized == true", True),
        ("normalized == False", False),
        ("size == true", False),
        ("layers == [32, 64]", True),
        ("64 in layers", True),
        ("[32, 64] in [[32], [32, 64]]", True),
        ("len(layers) == 2 and len(depth) == 4", True),
        ("layers[0] == 32 and layers[1] == 64 and layers[-1] == 64 and layers[-2] < layers[1]", True),
        ("layers[2] > 0 or layers[2] <= 0 or layers[-3] != 5", False),
        ("not layers[2] == 64", True),
        ("size * 2 + 1 == 11 and size // 2 == 2 and size % 2 == 1 and size / 2 == 2.5", True),
        ("-size < -4", True),
        ("size == 5.0", True),
        ("depth == 5", False),
        ("true", True),
        ("false", False),
        ("rate < 1e-6", False),
        ("depth > 'abc'", True),
    ],
)
def test_means_what_python_means(text: str, answer: bool) -> None:
    assert parse(text, NAMES).evaluate(POINT) is answer


def test_knows_the_names_it_uses() -> None:
    assert parse("rate > 1 or len(layers) > 1", NAMES).names == {"rate", "layers"}


@pytest.mark.parametrize("text", ["rate > 0", "rate != 0", "0 < rate < 1", "rate + 1 > 0", "rate in [1]", "normalized"])
def test_a_name_that_does_not_apply_makes_its_comparison_false(text: str) -> None:
    assert parse(text, NAMES).evaluate({}) is False
    assert parse(f"not ({text})", NAMES).evaluate({}) is True


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("rate >", "cannot be read"),
        ("rate = 1", "cannot be read"),
        ("rate > 1; size", "cannot be read"),
        ("momentum > 1", "'momentum' is not a parameter"),
        ("rats > 1", "did you mean 'rate'"),
        ("size % 2", "is not a condition"),
        ("5", "is not a condition"),
        ("-5", "is not a condition"),
        ("len(layers)", "is not a condition"),
        ("rate is 1", "use == or !="),
        ("rate ** 2 > 1", "can be calculated"),
        ("__import__('os').system('true')", "the only function is len"),
        ("open('x') == 1", "the only function is len"),
        ("len(layers, 1) == 1", "the only function is len"),
        ("layers[size] == 1", "told by its place"),
        ("layers[0:1] == [1]", "told by its place"),
        ("layers[true] == 1", "told by its place"),
        ("layers[- -1] == 1", "told by its place"),
        ("layers[0]", "is not a condition"),
        ("rate.real > 1", "not allowed"),
        ("(lambda: 1) == 1", "not allowed"),
        ("[x for x in layers] == 1", "not allowed"),
        ("f'{rate}' == 1", "not allowed"),
        ("(rate := 1) == 1", "not allowed"),
        ("{} == 1", "not allowed"),
        ("b'x' == 1", "not a literal"),
        ("None == rate", "not a literal"),
        ("1j == rate", "not a literal"),
        ("... == rate", "not a literal"),
        ("rate in [size]", "not a literal"),
        ("depth in [-'a']", "not a literal"),
        ("rate < 1e999", "too large"),
        ("not " * 100 + "true", "nested"),
        ("rate < " + "(" * 60 + "-" * 60 + "1" + ")" * 60, "nested"),
        ("size == " + "-" * 60 + "size", "nested"),
        ("rate in " + "[" * 60 + "]" * 60, "nested"),
        ("rate > 1" + " " * MAX_LENGTH + "0", "characters"),
        ("rate > 1\0", "cannot be read"),
    ],
)
def test_refuses(text: str, word: str) -> None:
    with pytest.raises(ExpressionError, match=word):
        parse(text, NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "depth > 5",
        "normalized < 2",
        "layers < [1]",
        "depth + 1 > 0",
        "depth * 1000 == 'x'",
        "-depth > 0",
        "rate in depth",
        "len(rate) > 0",
        "depth[0] == 'd'",
        "rate / 0 > 1",
        "size % 0 == 1",
        f"{'9' * 400} / 2 > rate",
        "size",
    ],
)
def test_a_question_without_an_answer_is_an_error_that_shows_it(text: str) -> None:
    with pytest.raises(ExpressionError, match="has no answer") as caught:
        parse(text, NAMES).evaluate(POINT)
    assert repr(text) in str(caught.value)


def test_equal_texts_are_equal_expressions() -> None:
    assert parse("rate > 1", NAMES) == parse(" rate > 1\n", NAMES)
    assert parse("rate > 1", NAMES) != parse("rate > 2", NAMES)


TOKENS = st.sampled_from(
    ["rate", "size", "layers", "len", "(", ")", "[", "]", ",", "not", "and", "or", "in", "is", "<", ">", "==", "!=",
     "+", "-", "*", "**", "/", "%", "1", "0", "1e9", "'a'", "true", "None", "lambda", ":", ".", "if", "else",
     "0_", "1in", "\\N"]
)  # fmt: skip


@given(st.one_of(st.text(max_size=60), st.lists(TOKENS, max_size=15).map(" ".join), st.lists(TOKENS).map("".join)))
def test_junk_is_an_expression_error_or_a_condition(text: str) -> None:
    try:
        condition = parse(text, NAMES)
    except ExpressionError:
        return
    assert condition.names <= set(NAMES)
    with suppress(ExpressionError):
        assert isinstance(condition.evaluate(POINT), bool)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_comparisons_agree_with_python(value: float, bound: float) -> None:
    for sign, answer in (("<", value < bound), ("<=", value <= bound), ("==", value == bound), ("!=", value != bound)):
        if bound in (float("inf"), float("-inf")):
            return
        assert parse(f"rate {sign} {bound!r}", NAMES).evaluate({"rate": value}) is answer
