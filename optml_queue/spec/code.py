"""What a spec trains: an algorithm of the package, the user's program, or a command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optml_queue.spec.algorithm import Algorithm
from optml_queue.spec.command import Command
from optml_queue.spec.program import Program

Code = Algorithm | Program | Command

_KINDS: Mapping[str, type[Code]] = {kind.kind: kind for kind in (Algorithm, Program, Command)}


def code_from_dict(fields: Mapping[str, Any]) -> Code:
    """The code that `to_dict` of one of the three wrote."""
    return _KINDS[fields["kind"]].from_dict(fields)
