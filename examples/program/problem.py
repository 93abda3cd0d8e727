"""Data made anew from a seed: twenty inputs, five of which matter."""

import numpy as np

ROWS, INPUTS = 200, 20


def make(seed):
    rng = np.random.default_rng(seed)
    weights = np.where(np.arange(INPUTS) < 5, rng.normal(size=INPUTS), 0.0)
    x = rng.normal(size=(2 * ROWS, INPUTS))
    y = x @ weights + rng.normal(scale=0.5, size=2 * ROWS)
    return x[:ROWS], y[:ROWS], x[ROWS:], y[ROWS:]
