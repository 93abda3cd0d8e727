"""A command's arguments: texts with `{name}` for a parameter's value.

A value stays within its argument: there is no shell that could split it. It cannot become an option either: an
argument whose text as written does not begin with '-' must not begin with it when it is filled in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from optml_queue.trial import ParamValue

_PIECE = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}|[{}]")
_OPTION_NAME = re.compile(r"--?\{[^{]")


def names_in(argument: str) -> Iterator[str]:
    """The names that an argument has placeholders for."""
    return (piece[1] for piece in _PIECE.finditer(argument) if piece[1])


def syntax_problem(argument: str, names: Collection[str]) -> str:
    """Why an argument cannot be filled in; "" when it can. `names` are those there are values for."""
    for piece in _PIECE.finditer(argument):
        if piece[0] in "{}":
            return "has a brace that begins or ends no {name}; write {{ or }} for a brace"
        if piece[1] and piece[1] not in names:
            return f"has a placeholder for {piece[1]!r}, which is no parameter"
    if "\0" in argument:
        return "holds a NUL character, which no argument can"
    if _OPTION_NAME.match(argument):
        return "lets a value name the option; write the option out, as in --name={name}"
    return ""


def text_of(value: ParamValue) -> str:
    """A value as an argument or a variable: numbers with every digit, true and false, lists as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def filled(argument: str, values: Mapping[str, ParamValue]) -> str | None:
    """An argument with the values in it; None when it names a parameter that the point does not have.

    Raises ValueError for a value that would make an option of it, or that no argument can hold.
    """
    if any(name not in values for name in names_in(argument)):
        return None
    text = _PIECE.sub(lambda piece: text_of(values[piece[1]]) if piece[1] else piece[0][0], argument)
    if text.startswith("-") and not argument.startswith("-"):
        raise ValueError(
            f"would begin with '-' in the argument {argument!r} and look like an option; "
            f"write it behind its option, as in --name={argument}"
        )
    if "\0" in text:
        raise ValueError("holds a NUL character, which no argument can")
    return text


def argv_of(arguments: Sequence[str], values: Mapping[str, ParamValue]) -> list[str]:
    """All arguments filled in; those for parameters that the point does not have are left out. Raises ValueError."""
    texts = (filled(argument, values) for argument in arguments)
    return [text for text in texts if text is not None]


def problems(arguments: Sequence[str], values: Mapping[str, ParamValue]) -> dict[str, str]:
    """What is wrong with a point for these arguments, by parameter."""
    found: dict[str, str] = {}
    for argument in arguments:
        try:
            filled(argument, values)
        except ValueError as error:
            found.update((name, f"{error}") for name in names_in(argument))
    return found


def variables(params: Mapping[str, ParamValue]) -> dict[str, str]:
    """The environment variables that carry a point: OPTML_PARAM_<NAME>, the name in capitals.

    A text with a NUL character is left out: no variable can hold it.
    """
    texts = {f"OPTML_PARAM_{name.upper()}": text_of(value) for name, value in params.items()}
    return {name: text for name, text in texts.items() if "\0" not in text}
