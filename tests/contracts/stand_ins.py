"""One small trainer in the three forms that code comes in, for the suite that every driver passes.

It walks down a parabola, or does what the parameter `behaviour` says.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from optml_queue.command.driver import command_driver
from optml_queue.driver import Driver, Metric, load_driver
from optml_queue.program import load_program

LOSS = Metric("loss")

BEHAVE = '''
import random


def walk(params, seed, report):
    """The loss after some steps; it is reported as often as `epochs` says."""
    x = random.Random(seed).uniform(1, 2)
    for epoch in range(1, params.get("epochs", 1) + 1):
        x -= params["rate"] * 2 * x
        loss = min(x * x, 1e300) if x * x < 1e200 else float("inf")
        if params.get("epochs", 1) > 1:
            report(epoch, loss)
    return loss


def behave(params, seed, report):
    behaviour = params.get("behaviour", "walk")
    if behaviour == "fail":
        raise ValueError("no such column: x")
    if behaviour == "memory":
        return {"loss": len(bytearray(1 << 60))}
    if behaviour == "flood":
        for line in range(20_000):
            print("line", line, "x" * 80)
    if behaviour == "missing":
        return {"accuracy": 1.0}
    if behaviour == "not a number":
        return {"loss": "low"}
    return {"loss": walk(params, seed, report)}
'''
TRAIN = """
def train(trial):
    return behave(trial.params, trial.seed, trial.report)
"""
DRIVER = f"""
from optml_queue.driver import Metric, Parameter
from .functions import behave

PARAMETERS = (
    Parameter("rate", float, help="of the walk"),
    Parameter("epochs", int, 1, help="steps"),
    Parameter("behaviour", str, "walk", help="what to do instead"),
)
METRICS = (Metric("loss", help="the square"),)
DATA = ("sunspots",)

{TRAIN}
"""
SCRIPT = """
import json, os
from behave import behave

trial = json.load(open(os.environ["OPTML_TRIAL"]))
report = lambda step, value: print(f"step={step} loss={value!r}", flush=True)
print(json.dumps(behave(trial["params"], trial["seed"], report)))
"""


def algorithm(folder: Path) -> Driver:
    """The trainer as an algorithm's folder."""
    home = folder / "walker"
    home.mkdir(parents=True)
    (home / "functions.py").write_text(BEHAVE)
    (home / "driver.py").write_text(DRIVER)
    return load_driver(home)


def program(folder: Path) -> Driver:
    """The trainer as a user's program of two files."""
    home = folder / "program"
    home.mkdir(parents=True)
    (home / "behave.py").write_text(BEHAVE)
    (home / "train.py").write_text("from behave import behave\n\n" + TRAIN)
    return load_program(home, "train.py", LOSS)


def command(folder: Path) -> Driver:
    """The trainer as a command with files of its own."""
    home = folder / "command"
    home.mkdir(parents=True)
    (home / "behave.py").write_text(BEHAVE)
    (home / "run.py").write_text(SCRIPT)
    return replace(command_driver([sys.executable, "run.py"], LOSS, files=home), name="run.py")


FORMS = {"algorithm": algorithm, "program": program, "command": command}
