"""Which parameters matter, worked out when somebody asks and kept until an experiment has grown noticeably."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock

import numpy as np

from optml_queue.api.columns import STATES, Columns, chosen
from optml_queue.api.reader import Reader
from optml_queue.spec import Spec
from optml_queue.store import Experiment
from optml_queue.study import importance
from optml_queue.trial import TrialState

TRIALS_MAX = 2_000  # that are looked at; of more, an even sample
GROWN = 1.1  # times as many finished trials as were looked at: another look
KEPT_MAX = 32


@dataclass(frozen=True, slots=True)
class Importance:
    """Each parameter's share, the largest first, over so many complete `trials` of the `finished` ones."""

    shares: Mapping[str, float]
    trials: int
    is_sample: bool
    finished: int


class Importances:
    """What is known of the experiments that were asked for last; one is worked out at a time."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Importance] = OrderedDict()
        self._lock = Lock()

    def of(self, experiment: Experiment, columns: Columns, reader: Reader) -> Importance:
        """The importance over the trials of a table, which are read anew. Raises InputError without Optuna."""
        with self._lock:
            known = self._known.get(experiment.id)
            if known is None or _is_old(known, experiment, columns):
                known = self._known[experiment.id] = _looked(experiment, columns, reader)
            self._known.move_to_end(experiment.id)
            while len(self._known) > KEPT_MAX:
                self._known.popitem(last=False)
            return known


def _looked(experiment: Experiment, columns: Columns, reader: Reader) -> Importance:
    complete = columns.states == STATES.index(TrialState.COMPLETE)
    rows = np.flatnonzero(complete & np.isfinite(columns.value))
    shown = chosen(rows, columns.value, TRIALS_MAX)
    trials = reader.trials(experiment.id, columns.numbers[shown].tolist())
    shares = importance(trials, Spec.from_json(experiment.spec))
    return Importance(shares, len(trials), len(shown) < len(rows), columns.covered)


def _is_old(known: Importance, experiment: Experiment, columns: Columns) -> bool:
    if experiment.is_over:
        return known.finished != columns.covered
    return columns.covered >= known.finished * GROWN
