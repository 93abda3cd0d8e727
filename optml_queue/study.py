"""An experiment as a study of Optuna's: for its dashboard, and for what it can tell of parameters.

A finished trial is a trial of the study, with its number here as the attribute `number`, its seed, attempts and metrics
beside it. Diverged, failed and cancelled ones are FAIL, those stopped early PRUNED with their last value. Several
metrics make a study of several objectives; in it, the last value of a trial stopped early is an attribute alone.

A list is several parameters: its length, NAME.length, and its elements, NAME[0] ….
"""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from optml_queue.driver import Metric
from optml_queue.errors import InputError
from optml_queue.space import Axis, Choices, Geometric, Interval, Linear
from optml_queue.spec import Spec
from optml_queue.trial import ParamValue, Trial, TrialState, encode

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

FEW = 4  # complete trials, below which nobody can tell which parameter matters


def write_study(trials: Iterable[Trial], spec: Spec, name: str, out: BinaryIO) -> None:
    """Write a study as Optuna's journal file: `optuna-dashboard FILE` opens it. Raises InputError without Optuna."""
    optuna = _optuna("--format optuna")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.log"
        backend = optuna.storages.journal.JournalFileBackend(str(path))
        _filled(trials, spec, spec.metrics, name, optuna.storages.JournalStorage(backend))
        out.write(path.read_bytes())


def importance(trials: Iterable[Trial], spec: Spec) -> Mapping[str, float]:
    """How much of what the best trials have in common each parameter explains, the largest first; they sum to 1.

    PED-ANOVA (S. Watanabe, A. Bansal and F. Hutter, 2023, IJCAI) over complete trials, for parameters that every one of
    them has. Empty while fewer than four are complete. Raises InputError without Optuna.
    """
    optuna = _optuna("importance")
    study = _filled(trials, spec, spec.metrics[:1], "importance", optuna.storages.InMemoryStorage())
    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    varied = {name for name in _common(complete) if len({str(trial.params[name]) for trial in complete}) > 1}
    if len(complete) < FEW or not varied:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    with warnings.catch_warnings():
        # Where all trials are equally good, so are all parameters: the equal shares say as much.
        warnings.simplefilter("ignore", UserWarning)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=sorted(varied))
    return {name: float(share) for name, share in found.items()}


def _common(trials: Iterable[FrozenTrial]) -> set[str]:
    """The parameters that all trials have."""
    names = [set(trial.params) for trial in trials]
    return set.intersection(*names) if names else set()


def _optuna(what: str) -> Any:
    try:
        import optuna
        import optuna.importance
        import optuna.storages.journal
    except ImportError:
        raise InputError(f"{what} needs Optuna; `pip install 'optml-queue[search]'`") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _filled(
    trials: Iterable[Trial], spec: Spec, metrics: Sequence[Metric], name: str, storage: optuna.storages.BaseStorage
) -> optuna.Study:
    """A study with some of the spec's metrics as its objectives."""
    import optuna

    from optml_queue.search.optuna_search import directions

    goals = [metric.goal for metric in metrics]
    study = optuna.create_study(storage=storage, study_name=name, directions=directions(goals))
    names = [metric.name for metric in metrics]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(names)
    axes = {axis.name: axis for axis in spec.space.axes}
    parts = (part for axis in axes.values() for part in axis.parts)
    forms = {part.name: form for part in parts if (form := _distribution(part)) is not None}
    study.add_trials(_frozen(trial, names, axes, forms) for trial in trials if trial.finished_at is not None)
    return study


def _frozen(
    trial: Trial, metrics: Sequence[str], axes: Mapping[str, Axis], forms: Mapping[str, BaseDistribution]
) -> FrozenTrial:
    from optuna.trial import TrialState as OptunaState
    from optuna.trial import create_trial

    states = {TrialState.COMPLETE: OptunaState.COMPLETE, TrialState.STOPPED_EARLY: OptunaState.PRUNED}
    state = states.get(trial.state, OptunaState.FAIL)
    values = [trial.metrics[name] for name in metrics if name in trial.metrics]
    if len(values) < len(metrics) and state is OptunaState.COMPLETE:
        state = OptunaState.FAIL
    # A trial of several objectives has no values on the way.
    has_steps = state is OptunaState.PRUNED and len(metrics) == 1
    figures = (
        figure
        for name, value in trial.params.items()
        if name in axes
        for figure in zip(axes[name].parts, axes[name].split(value), strict=False)
    )
    inner = {part.name: _inner(value, forms[part.name]) for part, value in figures if part.name in forms}
    # A value that an earlier search of the experiment had, and the present space lacks, has no place in the study.
    fitting = {name: value for name, value in inner.items() if _fits(forms[name], value)}
    frozen = create_trial(
        state=state,
        values=values if state is OptunaState.COMPLETE else None,
        params=fitting,
        distributions={name: forms[name] for name in fitting},
        intermediate_values=dict(enumerate(values)) if has_steps else {},
        user_attrs={
            "number": trial.number,
            "seed": trial.seed,
            "state": str(trial.state),
            "attempts": trial.attempts,
            **{f"metric: {name}": each if math.isfinite(each) else repr(each) for name, each in trial.metrics.items()},
        },
    )
    frozen.datetime_start = _time(trial.started_at or trial.queued_at or trial.finished_at)
    frozen.datetime_complete = _time(trial.finished_at)
    return frozen


def _fits(form: BaseDistribution, value: Any) -> bool:
    try:
        return form._contains(form.to_internal_repr(value))
    except ValueError:
        return False


def _time(time_s: float | None) -> datetime | None:
    """Optuna writes local times without a zone; here they are UTC."""
    return None if time_s is None else datetime.fromtimestamp(time_s, UTC).replace(tzinfo=None)


def _distribution(axis: Axis) -> BaseDistribution | None:
    """The range of a parameter as Optuna's users write it; None for one that has a single value."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if axis.size == 1:
        return None
    if isinstance(axis, Choices):
        return CategoricalDistribution([_label(axis, value) for value in axis.values])
    assert isinstance(axis, Interval | Linear | Geometric)  # noqa: S101 - for mypy: what is no choice has bounds
    low, high = axis.low, axis.high
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=axis.log)
    return FloatDistribution(low, high, log=axis.log)


def _label(axis: Choices, value: ParamValue) -> bool | int | float | str:
    """A choice as it is; as JSON where Optuna would not tell it from others, or takes none such."""
    plain = [each for each in axis.values if not isinstance(each, list)]
    return encode(value) if len(set(plain)) < len(axis.values) or isinstance(value, list) else value


def _inner(value: ParamValue, form: BaseDistribution) -> Any:
    choices = getattr(form, "choices", None)
    return value if choices is None or value in choices else encode(value)
