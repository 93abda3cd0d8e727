"""Double exponential smoothing: predicts each month from the ones before it."""

import csv
import json
import os
from pathlib import Path

trial = json.loads(Path(os.environ["OPTML_TRIAL"]).read_text())
alpha, beta = trial["params"]["level"], trial["params"]["trend"]
with Path(trial["data"]["path"]).open() as file:
    series = [float(row["value"]) for row in csv.DictReader(file)]

level, slope, squares = series[0], 0.0, []
for value in series[1:]:
    prediction = level + slope
    squares.append((value - prediction) ** 2)
    level, before = prediction + alpha * (value - prediction), level
    slope += beta * (level - before - slope)

test = squares[-int(trial["data"]["test"] * len(series)) :]
Path("result.json").write_text(json.dumps({"rmse": (sum(test) / len(test)) ** 0.5}))
