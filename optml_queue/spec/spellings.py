"""What the users of other tools may write, and what it is called here.

From W&B sweeps, Katib, Ray Tune and Optuna.
"""

from __future__ import annotations

from collections.abc import Mapping

_GOAL = "write it as metric: {name: …, goal: minimize}"
_TRIALS = "the number of trials is max_trials"
_PARALLEL = "the number of trials at once is max_parallel"
_FAILED = "the number of failures to stop at is max_failed"
_PARAMETERS = "the search space is parameters"
_STOPPING = "early stopping is early_stopping: {method: asha}"
_RETRY = "attempts are set by retry: {max_attempts: 3}"

SPEC: Mapping[str, str] = {
    "direction": _GOAL,
    "mode": _GOAL,
    "goal": _GOAL,
    "objective": _GOAL,
    "objectiveMetricName": _GOAL,
    "run_cap": _TRIALS,
    "count": _TRIALS,
    "num_samples": _TRIALS,
    "n_trials": _TRIALS,
    "maxTrialCount": _TRIALS,
    "max_concurrent_trials": _PARALLEL,
    "n_jobs": _PARALLEL,
    "parallelTrialCount": _PARALLEL,
    "maxFailedTrialCount": _FAILED,
    **dict.fromkeys(("early_terminate", "earlyStopping", "scheduler", "pruner"), _STOPPING),
    "objectives": "several metrics are metrics: [{name: …, goal: …}, …]",
    "additionalMetricNames": "several metrics are metrics: [{name: …, goal: …}, …]",
    "search_alg": "the way to search is method: grid, random, tpe …",
    "sampler": "the way to search is method: grid, random, tpe …",
    "space": _PARAMETERS,
    "param_space": _PARAMETERS,
    "search_space": _PARAMETERS,
    "config": _PARAMETERS,
    "max_retries": _RETRY,
    "max_failures": _RETRY,
    "retries": _RETRY,
    "time_budget_s": "the time of an experiment is limited by budget: {wall: 2h}, that of one attempt by timeout",
    "points_to_evaluate": "points to try first are points",
    "entity": "leave it out: an experiment goes by its name alone",
    "project": "leave it out: an experiment goes by its name alone",
    "description": "write it as a comment: # …",
    "class": "write it as resources: {class: …}",
}

PARAMETER: Mapping[str, str] = {
    **dict.fromkeys(("lower", "low", "start"), "the lower bound is min"),
    **dict.fromkeys(("upper", "high", "stop", "end"), "the upper bound is max"),
    **dict.fromkeys(("num", "n", "steps", "num_points"), "the number of values is count"),
    **dict.fromkeys(("q", "increment"), "the distance between two values is step"),
    **dict.fromkeys(("log", "log_scale", "logscale", "base"), "a log scale is scale: log"),
    **dict.fromkeys(("choices", "categories", "options", "list_of", "grid_search"), "list the values as values: [ … ]"),
    **dict.fromkeys(("distribution", "sampler"), "use values, or min and max, with scale: log for a log-uniform one"),
    **dict.fromkeys(("type", "parameterType", "dtype"), "leave it out: the algorithm declares the type"),
    "feasibleSpace": "write min, max and step, or values, directly under the parameter",
    "parameters": "parameters cannot be nested; write a condition as when",
    "default": "a fixed parameter is value",
    "condition": "a condition is when",
}

LIST: Mapping[str, str] = {
    **dict.fromkeys(("values", "items", "choices", "elements", "element"), "write what the elements may be as of"),
    **dict.fromkeys(("length", "size"), "write min_length and max_length"),
    **dict.fromkeys(("min", "min_size", "min_items", "minItems"), "write min_length"),
    **dict.fromkeys(("max", "max_size", "max_items", "maxItems"), "write max_length"),
}

METRIC: Mapping[str, str] = {
    **dict.fromkeys(("direction", "mode", "type"), "write goal: minimize or goal: maximize"),
    **dict.fromkeys(("objectiveMetricName", "metric"), "write name"),
    "target": "a target is a key of its own, beside metric: target: 0.05",
}

GOAL: Mapping[str, str] = {
    **dict.fromkeys(("min", "minimise", "minimum", "lower"), "minimize"),
    **dict.fromkeys(("max", "maximise", "maximum", "higher"), "maximize"),
}

EARLY_STOPPING: Mapping[str, str] = {
    **dict.fromkeys(("type", "name", "algorithmName"), "write method"),
    **dict.fromkeys(("grace_period", "min_iter", "min_resource", "start_step", "n_warmup_steps"), "write min_steps"),
    **dict.fromkeys(("reduction_factor", "eta"), "write reduction"),
    **dict.fromkeys(("max_t", "max_iter", "max_resource"), "write max_steps"),
    **dict.fromkeys(("min_samples_required", "min_trials_required", "n_startup_trials"), "write min_trials"),
}

BUDGET: Mapping[str, str] = {
    **dict.fromkeys(("time", "duration", "wall_s", "wall_time", "time_budget_s"), "the time since submission is wall"),
    **dict.fromkeys(("hours", "cpu_hours", "gpu_hours"), "the time of all workers is worker_hours"),
    **dict.fromkeys(("price", "money", "max_cost"), "write cost"),
    "max_trials": "write trials",
}

METHOD: Mapping[str, str] = {
    **dict.fromkeys(
        ("bayesian", "bayes", "bayesopt", "bayesianoptimization", "bo", "hyperopt", "optuna"),
        "did you mean 'tpe' (quick, any space) or 'gp' (a Gaussian process, few trials)?",
    ),
    **dict.fromkeys(("gaussian", "gaussian-process", "kriging", "gpyopt"), "did you mean 'gp'?"),
    **dict.fromkeys(("cma", "cmaes", "cma_es"), "did you mean 'cma-es'?"),
    **dict.fromkeys(("nsga", "nsga-ii", "nsgaii"), "did you mean 'nsga2'?"),
    **dict.fromkeys(("genetic", "ga", "evolutionary", "pbt", "regularized-evolution"), "did you mean 'evolution'?"),
    **dict.fromkeys(("gridsearch", "grid_search", "exhaustive"), "did you mean 'grid'?"),
    **dict.fromkeys(("randomsearch", "random_search", "sobol"), "did you mean 'random'?"),
}

RETRY: Mapping[str, str] = {
    "max_retries": "attempts count the first one: max_attempts",
    "limit": "attempts count the first one: max_attempts",
    "delay": "the wait before the next attempt is backoff",
    "retry_delay": "the wait before the next attempt is backoff",
    "retry_backoff": "the wait before the next attempt is backoff",
    "retry_backoff_max": "the longest wait before the next attempt is max_backoff",
    "reasons": "the reasons after which a trial is tried again are on: [lost, …]",
}
