"""scikit-learn by dotted name: finding an estimator, building it, folds, figures. No state, no trial."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from optml_queue import metrics
from optml_queue.trial import ParamValue

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Indices = npt.NDArray[np.int64]

# One public module deep: that is where scikit-learn documents its estimators. It leaves out what is private
# (`sklearn.svm._classes`) and what lies below (`sklearn.utils.estimator_checks`).
_NAME = re.compile(r"sklearn\.([a-z][a-z0-9_]*)\.([A-Z][A-Za-z0-9]*)")
# scikit-learn takes seeds of 32 bits.
_SEEDS = 1 << 32


def name_problem(name: object) -> str:
    """Why something cannot be the name of an estimator, whatever is installed; "" when it can."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return ""
    return f"must be the full name of an estimator, as sklearn.ensemble.RandomForestClassifier, got {name!r}"


def is_installed() -> bool:
    """Whether scikit-learn can be imported; it is not."""
    return importlib.util.find_spec("sklearn") is not None


def estimator(name: str) -> type[Any]:
    """The class of scikit-learn with a name that `name_problem` lets pass.

    Only a module that scikit-learn itself lists as public is imported. Raises ValueError with the rule that the name
    breaks, ModuleNotFoundError when scikit-learn is not installed.
    """
    import sklearn
    from sklearn.base import ClassifierMixin, RegressorMixin

    module_name, class_name = name.split(".")[1:]
    if module_name not in sklearn.__all__:
        near = get_close_matches(module_name, sklearn.__all__, n=1)
        hint = f"; did you mean sklearn.{near[0]}?" if near else ""
        raise ValueError(f"must be in a public module of scikit-learn, got {name!r}{hint}")
    names = _estimators(module_name)
    found = names.get(class_name)
    if found is None:
        near = get_close_matches(class_name, names, n=1)
        hint = f"; did you mean sklearn.{module_name}.{near[0]}?" if near else ""
        raise ValueError(f"must be an estimator of scikit-learn with fit and predict, got {name!r}{hint}")
    if not issubclass(found, ClassifierMixin | RegressorMixin):
        raise ValueError(f"must be a classifier or a regressor, got {name!r}")
    if missing := [name for name, default in _arguments(found).items() if default is inspect.Parameter.empty]:
        raise ValueError(f"must be complete by itself, got {name!r}, which is built around {', '.join(missing)}")
    return found


def _estimators(module_name: str) -> dict[str, type[Any]]:
    """The estimators that a module of scikit-learn offers, by name."""
    from sklearn.base import BaseEstimator

    try:
        module = importlib.import_module(f"sklearn.{module_name}")
    except ImportError:  # a function of the package, not a module
        return {}
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, BaseEstimator)
        and value.__module__.partition(".")[0] == "sklearn"
        and not name.startswith("_")
        and not inspect.isabstract(value)
        and callable(getattr(value, "fit", None))
        and hasattr(value, "predict")
    }


def _arguments(estimator: type[Any]) -> dict[str, object]:
    """The arguments of an estimator's constructor with their defaults."""
    return {name: argument.default for name, argument in inspect.signature(estimator).parameters.items()}


def parameter_names(estimator: type[Any]) -> list[str]:
    """What `get_params` of an estimator would list, without building one."""
    return sorted(_arguments(estimator))


def is_classifier(estimator: type[Any]) -> bool:
    """Whether an estimator predicts classes; otherwise it predicts numbers."""
    from sklearn.base import ClassifierMixin

    return issubclass(estimator, ClassifierMixin)


def build(estimator: type[Any], params: Mapping[str, ParamValue], seed: int) -> Any:
    """An estimator that is not fitted yet. The text None stands for None, `random_state` follows the seed."""
    given: dict[str, Any] = {name: None if value == "None" else value for name, value in params.items()}
    if "random_state" in _arguments(estimator):
        given.setdefault("random_state", seed % _SEEDS)
    return estimator(**given)


def folds(targets: Array, count: int, seed: int, *, stratified: bool) -> Iterator[tuple[Indices, Indices]]:
    """`count` pairs of rows to fit and rows to judge by, shuffled by the seed; every row is judged by once.

    Stratified folds have the classes in equal parts. Raises ValueError when there are not rows enough.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    splitter = (StratifiedKFold if stratified else KFold)(count, shuffle=True, random_state=seed % _SEEDS)
    pairs: Iterator[tuple[Indices, Indices]] = splitter.split(targets, targets)
    return pairs


def measure(targets: Array, predictions: Array, *, classes: bool) -> dict[str, float]:
    """The figures of predictions (n,): error_rate and accuracy of classes, mse and r2 of numbers."""
    if classes:
        error_rate = metrics.error_rate(targets, predictions)
        return {"error_rate": error_rate, "accuracy": 1.0 - error_rate}
    return {"mse": metrics.mse(targets, predictions), "r2": metrics.r2(targets, predictions)}


def mean(figures: list[dict[str, float]]) -> dict[str, float]:
    """The mean of every figure over the folds."""
    return {name: sum(figure[name] for figure in figures) / len(figures) for name in figures[0]}
