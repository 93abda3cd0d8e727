"""Optuna's samplers: with its defaults, and so that what one of them found out, the next need not find out again.

A suggestion comes from a fresh sampler, so most of what one costs is to look through all trials for what the one
before it knew. `Samplers` are those of one study. They suggest what Optuna's own do.
"""

from __future__ import annotations

import copy
from bisect import insort
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study, StudyDirection
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
        self._outlook = _Outlook()
        self._joining: BaseSampler | None = None

    def fresh(self, seed: int, number: int) -> BaseSampler:
        """A sampler for one suggestion: `number` trials were asked for before it."""
        given = _arguments(self._method, seed)
        if self._method == "tpe":
            return _Tpe(self._shared, **given)
        if self._method == "nsga2":
            return _Nsga2(self._shared, self._generations, **given)
        if self._method == "cma-es":
            self._outlook.begin(self._study)
            return _CmaEs(self._shared, self._outlook, number, **given)
        return sampler(self._method, seed)

    def join(self, place: int, *, is_own: bool) -> None:
        """Note a trial. With one of the method's own is kept what its sampler would keep, were it asked now."""
        if self._method not in WITH_STATE:
            return
        if not is_own:
            self._generations.admit(place)
            return
        self._joining = asked = self._joining or self.fresh(0, 0)  # of any seed: what is kept has no chance in it
        trial = self._study.get_trials(deepcopy=False)[place]
        asked.sample_relative(self._study, trial, asked.infer_relative_search_space(self._study, trial))

    def tell(self, place: int) -> None:
        """Note that a trial is complete."""
        if self._method == "nsga2":
            self._generations.tell(place)
        elif self._method == "cma-es":
            self._outlook.tell(self._study.get_trials(deepcopy=False)[place])


class _Outlook:
    """What samplers of CMA-ES would look for in all trials of their study.

    `source` are the trials to start from, those complete before its first, if they are enough, and `optimizer` the
    state that they give; `recent` are the complete trials, in order, but for those of generations that are over.
    """

    def __init__(self) -> None:
        self.source: list[FrozenTrial] | None = None
        self.optimizer: Any = None
        self.recent: list[FrozenTrial] = []
        self._has_begun = False

    def begin(self, study: Study) -> None:
        """Note the trials to start from. A second call does nothing."""
        if self._has_begun:
            return
        self._has_begun = True
        complete = study.get_trials(deepcopy=False, states=(OptunaState.COMPLETE,))
        if len(complete) >= _ENOUGH_TO_START_FROM:
            self.source = [_numbers_of(trial) for trial in complete]

    def tell(self, trial: FrozenTrial) -> None:
        """Note a complete trial."""
        insort(self.recent, trial, key=lambda each: each.number)


def _numbers_of(trial: FrozenTrial) -> FrozenTrial:
    """A trial with what CMA-ES searches alone: it starts from none that has other parameters."""
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
    """Optuna's own; to it, a trial's number is how many were asked for before, whatever else the study has.

    Methods with an underscore are Optuna's own affair. Should a release not call them, then a suggestion takes longer,
    and is the same.
    """

    _forms = _NUMBERS

    def __init__(self, shared: IntersectionSearchSpace, outlook: _Outlook, number: int, **given: Any) -> None:
        super().__init__(shared, source_trials=outlook.source, **given)
        self._outlook = outlook
        self._number = number

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        numbered = copy.copy(trial)
        numbered.number = self._number
        return super().sample_relative(study, numbered, search_space)

    def _init_optimizer(self, trans: Any, direction: StudyDirection) -> Any:
        """Mean and spread of the best of the trials to start from are computed once. The seed is drawn each time."""
        if self._outlook.optimizer is not None:
            self._source_trials = None
        made = super()._init_optimizer(trans, direction)
        if self._outlook.source is None:
            return made
        self._outlook.optimizer = self._outlook.optimizer or copy.deepcopy(made)
        return copy.deepcopy(self._outlook.optimizer)  # it is seeded anew before it is asked

    def _get_trials(self, study: Study) -> list[FrozenTrial]:  # noqa: ARG002
        return self._outlook.recent

    def _get_solution_trials(self, trials: list[FrozenTrial], generation: int) -> list[FrozenTrial]:
        """The trials of the present generation. Those of earlier ones are not looked at again: generations only rise.

        One trial stays in any case, for CMA-ES begins when there is one.
        """
        key = self._attr_key_generation
        still = [trial for trial in trials if trial.system_attrs.get(key, -1) >= generation]
        self._outlook.recent = still or trials[-1:]
        return super()._get_solution_trials(still, generation)


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
