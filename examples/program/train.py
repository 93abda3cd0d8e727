"""A ridge regression by gradient descent. `train` is all that OptML Queue asks for."""

from functools import partial

import numpy as np
import problem  # the file beside this one


def train(trial):
    x, y, x_test, y_test = problem.make(seed=trial.seed)
    state = trial.restore() or {"epoch": 0, "weights": np.zeros(x.shape[1])}
    weights = state["weights"]
    for epoch in range(state["epoch"] + 1, trial.params["epochs"] + 1):
        gradient = x.T @ (x @ weights - y) / len(y) + trial.params["penalty"] * weights
        weights = weights - trial.params["learning_rate"] * gradient
        trial.report(epoch, rmse(x_test, y_test, weights))
        trial.checkpoint_if_due(partial(dict, epoch=epoch, weights=weights))  # where another attempt would go on
    np.savez(trial.scratch / "weights.npz", weights=weights)
    trial.artifact("weights.npz")  # optml best latest --fetch DIR brings that of the best trial
    print(f"{len(y)} rows, {np.count_nonzero(np.abs(weights) > 0.01)} weights that matter")  # optml logs shows it
    return {"rmse": rmse(x_test, y_test, weights)}


def rmse(x, y, weights):
    return float(np.sqrt(np.mean((x @ weights - y) ** 2)))
