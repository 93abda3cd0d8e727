"""Any classifier or regressor of scikit-learn, by its name, judged by cross-validation.

`estimator` names the class, `folds` the folds; every other parameter is the estimator's own. A trial is judged by the
mean over the folds of the training part. Then the estimator is fitted to the whole training part, and `test_…` says
how it does on the test part, which the search does not look at. A validation part is left alone: the folds are it.

The seed decides how rows fall into folds, and the estimator's `random_state`.

A trial that was cut off goes on with the fold that it was at: a fit cannot be stopped, or taken up, half-way.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import partial
from typing import Any, cast

from optml_queue.data import Split, Table
from optml_queue.driver import ActiveTrial, Goal, Metric, Parameter
from optml_queue.errors import DataError, DivergedError, DriverError
from optml_queue.metrics import Targets
from optml_queue.trial import Params

from .functions import (
    build,
    estimator,
    folds,
    is_classifier,
    is_installed,
    mean,
    measure,
    name_problem,
    parameter_names,
)

PARAMETERS = (
    Parameter("estimator", str, help="full name of a class, as sklearn.ensemble.RandomForestClassifier"),
    Parameter("folds", int, default=5, help="folds of the cross-validation", minimum=2),
)
METRICS = (
    Metric("error_rate", help="classes: fraction of rows predicted wrongly, mean over the folds", optional=True),
    Metric("accuracy", Goal.MAXIMIZE, help="classes: 1 - error_rate", optional=True),
    Metric("test_error_rate", help="classes: error rate on the test part", optional=True),
    Metric("mse", help="numbers: mean squared error, mean over the folds", optional=True),
    Metric("r2", Goal.MAXIMIZE, help="numbers: explained fraction of the variance, mean over the folds", optional=True),
    Metric("test_mse", help="numbers: mean squared error on the test part", optional=True),
)
DATA = ("digits", "mnist", "npz", "table")
OTHER_PARAMETERS = True  # the estimator's

_OWN = tuple(parameter.name for parameter in PARAMETERS)
_CLASS_METRICS = ("error_rate", "accuracy", "test_error_rate")
_NUMBER_METRICS = ("mse", "r2", "test_mse")
# How scikit-learn says, in a ValueError, that training ran away.
_RUN_AWAY = ("under-/overflow", "non-finite parameter weights")


def prepare() -> None:
    """Import what a trial begins with."""
    import sklearn.model_selection  # noqa: F401


def check(params: Params) -> dict[str, str]:
    """What is wrong with a point, by parameter. Without scikit-learn only the form of the name can be told."""
    name = params.get("estimator")
    if problem := name_problem(name):
        return {"estimator": problem}
    if not is_installed():
        return {}
    try:
        known = parameter_names(estimator(str(name)))
    except ValueError as error:
        return {"estimator": str(error)}
    return {given: _unknown(given, str(name), known) for given in params if given not in (*_OWN, *known)}


def _unknown(given: str, estimator_name: str, known: list[str]) -> str:
    near = get_close_matches(given, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"is no parameter of {estimator_name}; {hint}it has {', '.join(known)}"


def train(trial: ActiveTrial) -> dict[str, float]:
    """Cross-validate one estimator on the training part, then fit it to all of it and test it.

    Raises DriverError when the point is wrong or scikit-learn is missing, DataError when the data do not suit the
    estimator, the metric or the folds, DivergedError when training ran away.
    """
    if not is_installed():
        raise DriverError("scikit-learn is not installed on this worker: install optml-queue[sklearn]")
    if problems := check(trial.params):
        raise DriverError("; ".join(f"{name} {problem}" for name, problem in problems.items()))
    found = estimator(str(trial.params["estimator"]))
    table: Table = trial.data
    _check_fit(found, table, trial.metric)
    with _within(trial):
        return _validated(trial, found, table)


def _check_fit(found: type[Any], table: Table, metric: str) -> None:
    """Raise DataError unless estimator, targets and metric are all of classes or all of numbers."""
    targets = "classes" if table.classes else "numbers"
    predicted = "classes" if is_classifier(found) else "numbers"
    if targets != predicted:
        raise DataError(f"{found.__name__} predicts {predicted}, and the targets of the data are {targets}")
    measured = _CLASS_METRICS if table.classes else _NUMBER_METRICS
    if metric and metric not in measured:
        raise DataError(f"the targets of the data are {targets}, which {metric} does not judge: use {_or(measured)}")


def _or(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


@contextmanager
def _within(trial: ActiveTrial) -> Iterator[None]:
    """Keep to the worker's share of cores; keep warnings with the trial, each once."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(trial.threads), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            yield
        finally:
            for line in dict.fromkeys(f"{warning.category.__name__}: {warning.message}" for warning in caught):
                trial.log(line)


def _validated(trial: ActiveTrial, found: type[Any], table: Table) -> dict[str, float]:
    params = {name: value for name, value in trial.params.items() if name not in _OWN}
    classes = bool(table.classes)
    inputs, targets = table.train.inputs, table.train.targets
    metric = trial.metric or (_CLASS_METRICS if classes else _NUMBER_METRICS)[0]
    kept = trial.restore()
    judged: list[dict[str, float]] = kept["judged"] if kept else []
    for step, (fitted, held) in list(enumerate(_folds(trial, table), start=1))[len(judged) :]:
        model = _fitted(build(found, params, trial.seed), Split(inputs[fitted], targets[fitted]))
        judged.append(_judged(model, Split(inputs[held], targets[held]), classes=classes))
        if metric in judged[0]:
            trial.report(step, mean(judged)[metric])
        trial.checkpoint_if_due(partial(dict, judged=judged))
    tested = _judged(_fitted(build(found, params, trial.seed), table.train), table.test, classes=classes)
    test = "error_rate" if classes else "mse"
    return {**mean(judged), f"test_{test}": tested[test]}


def _folds(trial: ActiveTrial, table: Table) -> list[tuple[Any, Any]]:
    count = cast(int, trial.params["folds"])
    try:
        return list(folds(table.train.targets, count, trial.seed, stratified=bool(table.classes)))
    except ValueError as error:
        raise DataError(f"the training part cannot be cut into {count} folds: {error}") from error


def _fitted(model: Any, part: Split) -> Any:
    try:
        return model.fit(part.inputs, part.targets)
    except ValueError as error:
        if any(words in str(error) for words in _RUN_AWAY):
            raise DivergedError(" ".join(str(error).split()[:20])) from error
        raise


def _judged(model: Any, part: Split, *, classes: bool) -> dict[str, float]:
    figures = measure(part.targets, model.predict(part.inputs), classes=classes)
    if not classes:
        targets: Any = part.targets
        if reason := Targets.of(targets).divergence(figures, "mse"):
            raise DivergedError(reason, figures)
    return figures
