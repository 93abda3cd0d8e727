"""Suites and their budgets.

A test belongs to the suite of its marker (`integration`, `faults`, …), else to `unit`. Every run prints seconds per
suite; where CI is set, a skipped test or a suite over its budget fails the run. Where processes share the tests, the
seconds of a suite are those of its tests divided by the number of processes: its part of the time that passed.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict

import pytest
from hypothesis import settings

# A busy machine is no failure: the suites have budgets, single examples have none.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

# Hundreds of processes are started here, as users start them: they compile the package once, not each anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Seconds; None: no budget. In order of precedence, for a test with several markers. They are those of `make test`, and
# leave room for a machine that is busy: all together are less than ten minutes.
BUDGETS_S: dict[str, float | None] = {
    "soak": None,
    "deploy": 80,
    "browser": 60,
    "faults": 140,
    "integration": 210,
    "training": 40,
    "unit": 60,
}

SUITE = "suite"  # a test's property


class Suites:
    """Adds up what each suite took and how its tests ended."""

    def __init__(self, strict: bool, processes: int = 1) -> None:
        self.strict = strict
        self.processes = processes
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.outcomes: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # A process that dies of a test leaves a report that knows of no suite.
        name = str(dict(report.user_properties).get(SUITE, "unit"))
        self.seconds[name] += report.duration / self.processes
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[name][report.outcome] += 1
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped.append(report.nodeid)

    def over_budget(self) -> list[str]:
        """The suites that took longer than they may."""
        return [name for name, budget in BUDGETS_S.items() if budget and self.seconds[name] > budget]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.strict and (self.skipped or self.over_budget()) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("suites")
        for name in reversed(BUDGETS_S):
            terminalreporter.line(self._line(name))
        if self.strict:
            for nodeid in self.skipped:
                terminalreporter.line(f"skipped, which CI does not allow: {nodeid}")

    def _line(self, name: str) -> str:
        if not self.outcomes[name]:
            return f"{name:<12} absent: no test ran"
        ended = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes[name].items()))
        budget = BUDGETS_S[name]
        limit = f" of {budget:.0f} s" if budget else ""
        verdict = "  OVER BUDGET" if name in self.over_budget() else ""
        return f"{name:<12} {self.seconds[name]:6.1f} s{limit}   {ended}{verdict}"


def suite(item: pytest.Item) -> str:
    """The suite a test belongs to."""
    return next((name for name in BUDGETS_S if item.get_closest_marker(name)), "unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Note each test's suite where its reports carry it along: another process may add them up."""
    for item in items:
        item.user_properties.append((SUITE, suite(item)))


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return  # one of several processes that share the tests: the one that started them adds up
    processes = config.getoption("numprocesses", None) or 1
    config.pluginmanager.register(Suites(bool(os.environ.get("CI")), processes), "suites")
