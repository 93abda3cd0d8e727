"""Optuna's samplers: with its defaults, and so that what one of them found out, the next need not find out again.

A suggestion comes from a fresh sampler, so most of what one costs is to look through all trials for what the one
before it knew. `Samplers` are those of one study. They suggest what Optuna's own do.
"""

from __future__ import annotations

import copy
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from optml_queue.search.generations import Generations

# CMA-ES takes mean and spread from the best tenth of the trials before it: two at least.
_ENOUGH_TO_START_FROM = 20
_NUMBERS = (FloatDistribution, IntDistribution)
# Methods whose samplers keep something with the trials that they suggested.
WITH_STATE = frozenset({"cma-es", "nsga2"})


def sampler(method: str, seed: int) -> BaseSampler:
    """Optuna's sampler of a method, with its defaults. Raises KeyError for a method that is none of Optuna's."""
    return _KINDS[method](**_arguments(method, seed))


class Samplers:
    """The samplers of a method for one study, in which a trial's place is its number there.

    Some keep something with the trials that they suggested, and read it from them again. So they must hear of every
    trial in time: `join` when it runs though no sampler suggested it in this study, `tell` when it is complete.
    """

    def __init__(self, method: str, study: Study) -> None:
        self._method = method
        self._study = study
        self._shared = IntersectionSearchSpace()
        self._generations = Generations()
        self._source: list[FrozenTrial] | None = None

    def fresh(self, seed: int, number: int) -> BaseSampler:
        """A sampler for one suggestion: `number` trials were asked for before it."""
        given = _arguments(self._method, seed)
        if self._method == "tpe":
            return _Tpe(self._shared, **given)
        if self._method == "nsga2":
            return _Nsga2(self._shared, self._generations, **given)
        if self._method == "cma-es":
            return _CmaEs(self._shared, number, source_trials=self._before(), **given)
        return sampler(self._method, seed)

    def join(self, place: int, *, is_own: bool) -> None:
        """Note a trial. With one of the method's own is kept what its sampler would keep, were it asked now."""
        if self._method not in WITH_STATE:
            return
        if not is_own:
            self._generations.admit(place)
            return
        asked = self.fresh(0, place)
        trial = self._study.get_trials(deepcopy=False)[place]
        asked.sample_relative(self._study, trial, asked.infer_relative_search_space(self._study, trial))

    def tell(self, place: int) -> None:
        """Note that a trial is complete."""
        if self._method == "nsga2":
            self._generations.tell(place)

    def _before(self) -> list[FrozenTrial] | None:
        """The trials that CMA-ES starts from: those complete before its first, if they are enough."""
        if self._source is None:
            ended = self._study.get_trials(deepcopy=False, states=(OptunaState.COMPLETE,))
            self._source = [_numbers_of(trial) for trial in ended]
        return self._source if len(self._source) >= _ENOUGH_TO_START_FROM else None


def _numbers_of(trial: FrozenTrial) -> FrozenTrial:
    """A trial with what CMA-ES searches alone: it starts from no trial that has more parameters."""
    forms: dict[str, BaseDistribution] = {
        name: form for name, form in trial.distributions.items() if isinstance(form, _NUMBERS)
    }
    return create_trial(value=trial.value, params={name: trial.params[name] for name in forms}, distributions=forms)


def _arguments(method: str, seed: int) -> dict[str, Any]:
    """What a sampler is made with: no warnings, and chance of that seed where it goes by chance."""
    if method not in {"cma-es", "gp"}:
        return {"seed": seed}
    return {"seed": seed, "independent_sampler": RandomSampler(seed=seed), "warn_independent_sampling": False}


class _Sharing(BaseSampler):
    """Looks for the parameters that all trials have in those alone that came since the last suggestion."""

    _forms: tuple[type[BaseDistribution], ...] = (BaseDistribution,)

    def __init__(self, shared: IntersectionSearchSpace, **given: Any) -> None:
        super().__init__(**given)
        self._shared = shared

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        found = self._shared.calculate(study)
        return {name: form for name, form in found.items() if isinstance(form, self._forms) and not form.single()}


class _Tpe(_Sharing, TPESampler):
    """Optuna's own."""


class _CmaEs(_Sharing, CmaEsSampler):
    """Optuna's own; to it, a trial's number is how many were asked for before, whatever else the study has."""

    _forms = _NUMBERS

    def __init__(self, shared: IntersectionSearchSpace, number: int, **given: Any) -> None:
        super().__init__(shared, **given)
        self._number = number

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        numbered = copy.copy(trial)
        numbered.number = self._number
        return super().sample_relative(study, numbered, search_space)


class _Nsga2(_Sharing, NSGAIISampler):
    """Optuna's own; which generation a trial is of, it need not read from all trials."""

    def __init__(self, shared: IntersectionSearchSpace, generations: Generations, **given: Any) -> None:
        super().__init__(shared, **given)
        self._generations = generations

    def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:  # noqa: ARG002
        return self._generations.bear(trial.number, self.population_size or 0)

    def get_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        trials = study.get_trials(deepcopy=False)
        return [trials[place] for place in self._generations.members(generation)]

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """The best as they are ranked when the generation begins, then in order of numbers: as Optuna has them."""
        if generation == 0:
            return []
        known = self._generations.parents(generation)
        if known is None:
            chosen = self.select_parent(study, generation)
            self._generations.choose(generation, [trial.number for trial in chosen])
            return chosen
        trials = study.get_trials(deepcopy=False)
        return [trials[place] for place in known]


_KINDS: dict[str, type[BaseSampler]] = {
    "tpe": TPESampler,
    "gp": GPSampler,
    "cma-es": CmaEsSampler,
    "nsga2": NSGAIISampler,
}
