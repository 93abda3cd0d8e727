"""CI's rules for a test run: seconds per suite are told, a skipped test and a suite over its budget fail it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import SUITE, Suites

pytest_plugins = ["pytester"]

RULES = Path(__file__).with_name("conftest.py").read_text()
NAMES = ("training", "integration", "faults", "browser", "deploy", "soak")
MARKERS = "\n".join(["[pytest]", "markers =", *(f"    {name}: x" for name in NAMES), ""])
TESTS = """
import pytest

def test_plain(): pass

@pytest.mark.integration
def test_with_servers(): pass
"""
SKIPPED = TESTS + "\ndef test_left_out(): pytest.skip('no server')\n"


def run(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    tests: str,
    *arguments: str,
    rules: str = RULES,
    ci: str = "true",
) -> pytest.RunResult:
    monkeypatch.setenv("CI", ci)
    pytester.makeini(MARKERS)
    pytester.makeconftest(rules)
    pytester.makepyfile(tests)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)


def test_every_suite_is_told_and_an_empty_one_is_called_absent(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run(pytester, monkeypatch, TESTS)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["unit * s of 60 s * 1 passed", "integration * s of 210 s * 1 passed", "browser * absent: no test ran"]
    )


def test_a_skipped_test_fails_ci_and_is_named(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(pytester, monkeypatch, SKIPPED)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["skipped, which CI does not allow: *::test_left_out"])


def test_a_skipped_test_passes_elsewhere(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(pytester, monkeypatch, SKIPPED, ci="").ret == 0


def test_a_suite_over_its_budget_fails_ci(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(pytester, monkeypatch, TESTS, rules=RULES.replace('"unit": 60', '"unit": 1e-9'))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["unit *OVER BUDGET"])


def test_tests_that_other_processes_run_count_as_well(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = RULES.replace('"integration": 210', '"integration": 1e-9')
    result = run(pytester, monkeypatch, SKIPPED, "--numprocesses", "1", rules=rules)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "unit * s of 60 s * 1 passed, 1 skipped",
            "integration * 1 passed  OVER BUDGET",
            "skipped, which CI does not allow: *::test_left_out",
        ]
    )


def test_the_seconds_of_a_suite_are_its_part_of_the_time_that_passed() -> None:
    suites = Suites(strict=True, processes=2)
    for name, took_s in (("unit", 3.0), ("integration", 500.0), ("unit", 1.0)):
        properties = [(SUITE, name)]
        report = pytest.TestReport("x", ("x", None, "x"), {}, "passed", None, "call", (), took_s, 0, 0, properties)
        suites.pytest_runtest_logreport(report)
    assert dict(suites.seconds) == {"unit": 2.0, "integration": 250.0}
    assert suites.over_budget() == ["integration"]
