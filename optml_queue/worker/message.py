"""A trial's message as workers read it. Anyone who can write to the broker can send one: nothing in it is trusted."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optml_queue.store import Carried, is_experiment_id
from optml_queue.trial import Params, digest, encode

NUMBER_MAX = 2**53
PARAMS_MAX = 65_536  # bytes of a point's JSON
MORE_MAX = 500  # trials that a message carries beside its first; claim.lua has the same figure


@dataclass(frozen=True, slots=True)
class TrialCall:
    """The arguments of the task. `more` are number and generation of trials to run after the first."""

    experiment: str
    number: int
    params: Params
    generation: int
    more: Carried = ()

    @property
    def trials(self) -> Carried:
        """Number and generation of every trial that the message carries."""
        return ((self.number, self.generation), *self.more)


def read_message(args: Sequence[Any], kwargs: Mapping[str, Any]) -> TrialCall | None:
    """The call that a message's arguments make; None when they are not a trial's."""
    if len(args) != 3 or not {"generation"} <= kwargs.keys() <= {"generation", "more"}:
        return None
    experiment, number, params = args
    generation, more = kwargs["generation"], kwargs.get("more", [])
    if not isinstance(experiment, str) or not is_experiment_id(experiment):
        return None
    if not (_is_count(number) and _is_count(generation) and _is_point(params) and _are_trials(more)):
        return None
    call = TrialCall(experiment, number, params, generation, tuple((n, g) for n, g in more))
    return call if len(dict(call.trials)) == len(call.trials) else None


def _are_trials(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MORE_MAX and all(map(_is_pair, value))


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_count, value))


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < NUMBER_MAX


def _is_point(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    try:
        digest(value)
        return len(encode(value).encode()) <= PARAMS_MAX
    except (ValueError, RecursionError):  # half a character, or lists in lists without end
        return False


def token_of(delivery_tag: str, worker: str, pid: int | None = None) -> str:
    """What fences an attempt: this delivery in this process (default: the present one) of this worker.

    The worker's main process computes the same token for its child. A message delivered again has the same tag, and
    an SQS receipt is hundreds of characters long: hence the process, and the digest.
    """
    text = f"{delivery_tag}@{worker}/{os.getpid() if pid is None else pid}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]
