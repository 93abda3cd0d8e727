"""Estimators of scikit-learn by name: which ones may be named, and their figures against scikit-learn's own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from sklearn import svm as sklearn_svm
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score

from optml_queue.data import DataSpec, Split, Table, load
from optml_queue.driver import ActiveTrial, Order, load_driver
from optml_queue.errors import AttemptEndedError, AttemptFailedError, DataError, DivergedError, DriverError, SpecError
from optml_queue.runner import run_attempt
from optml_queue.spec import Spec, load_spec

FOREST = "sklearn.ensemble.RandomForestClassifier"
TREE = "sklearn.tree.DecisionTreeClassifier"
RIDGE = "sklearn.linear_model.Ridge"

sklearn = load_driver("sklearn")
driver_module = sys.modules[sklearn.train.__module__]
functions: ModuleType = sys.modules[f"{sklearn.train.__module__.rpartition('.')[0]}.functions"]


def trial(data: Table, estimator: str, *, seed: int = 0, metric: str = "", **params: Any) -> ActiveTrial:
    return ActiveTrial(0, sklearn.complete({"estimator": estimator, **params}), seed, data, metric=metric)


def train(data: Table, estimator: str, *, seed: int = 0, metric: str = "", **params: Any) -> dict[str, float]:
    return dict(sklearn.train(trial(data, estimator, seed=seed, metric=metric, **params)))


def check(**params: Any) -> dict[str, str]:
    assert sklearn.check is not None
    return dict(sklearn.check(params))


@pytest.fixture(scope="module")
def digits() -> Table:
    found = load(DataSpec("digits", {"seed": 0}))
    assert isinstance(found, Table)
    return found


@pytest.fixture(scope="module")
def plane() -> Table:
    """Numbers that lie on a plane, but for some noise."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(120, 3)).astype(np.float32)
    targets = inputs @ np.array([1.0, -2.0, 0.5]) + 10.0 + 0.1 * random.normal(size=120)
    train, validation, test = (
        Split(inputs[rows], targets[rows]) for rows in (slice(0, 100), slice(100, 100), slice(100, 120))
    )
    return Table(train, validation, test, classes=(), digest="plane")


class TestNames:
    @pytest.mark.parametrize(
        "name", [FOREST, TREE, RIDGE, "sklearn.kernel_ridge.KernelRidge", "sklearn.isotonic.IsotonicRegression"]
    )
    def test_classifiers_and_regressors_are_found(self, name: str) -> None:
        assert check(estimator=name) == {}
        assert functions.estimator(name).__name__ == name.rpartition(".")[2]

    @pytest.mark.parametrize(
        "name",
        [
            "RandomForestClassifier",
            "os.system",
            "subprocess.Popen",
            "sklearn.RandomForestClassifier",
            "sklearn.svm._classes.SVC",
            "sklearn._loss.HalfSquaredError",
            "sklearn.utils.estimator_checks.BaseBadClassifier",
            "sklearn.tests.test_base.MyEstimator",
            "sklearn..svm.SVC",
            "sklearn.svm.SVC\n",
            "sklearn.svm.SVC()",
            "xsklearn.svm.SVC",
            "",
        ],
    )
    def test_nothing_else_has_a_name(self, name: str) -> None:
        assert check(estimator=name) == {
            "estimator": f"must be the full name of an estimator, as {FOREST}, got {name!r}"
        }

    @pytest.mark.parametrize(
        ("name", "problem"),
        [
            ("sklearn.conftest.Fixture", "must be in a public module of scikit-learn, got 'sklearn.conftest.Fixture'"),
            (
                "sklearn.ensembles.RandomForestClassifier",
                (
                    "must be in a public module of scikit-learn, got 'sklearn.ensembles.RandomForestClassifier'; "
                    "did you mean sklearn.ensemble?"
                ),
            ),
            (
                "sklearn.ensemble.RandomForestClasifier",
                (
                    "must be an estimator of scikit-learn with fit and predict, got "
                    f"'sklearn.ensemble.RandomForestClasifier'; did you mean {FOREST}?"
                ),
            ),
            # Functions, transformers, bases, modules and what other libraries left there are none.
            ("sklearn.clone.Clone", "must be an estimator"),
            ("sklearn.preprocessing.StandardScaler", "must be an estimator"),
            ("sklearn.linear_model.LinearModel", "must be an estimator"),
            ("sklearn.svm.BaseEstimator", "must be an estimator"),
            ("sklearn.model_selection.HalvingGridSearchCV", "must be an estimator"),
            ("sklearn.cluster.KMeans", "must be a classifier or a regressor"),
            ("sklearn.ensemble.IsolationForest", "must be a classifier or a regressor"),
            (
                "sklearn.ensemble.StackingClassifier",
                (
                    "must be complete by itself, got 'sklearn.ensemble.StackingClassifier', "
                    "which is built around estimators"
                ),
            ),
        ],
    )
    def test_what_is_no_estimator_is_told(self, name: str, problem: str) -> None:
        assert check(estimator=name)["estimator"].startswith(problem)

    def test_a_class_of_another_package_is_none_though_it_lies_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Foreign(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
            def fit(self) -> None: ...
            def predict(self) -> None: ...

        monkeypatch.setattr(sklearn_svm, "Foreign", Foreign, raising=False)
        assert check(estimator="sklearn.svm.Foreign")["estimator"].startswith("must be an estimator of scikit-learn")

    def test_no_other_module_is_imported(self) -> None:
        code = """
import sys
from optml_queue.driver import load_driver
sklearn = load_driver("sklearn")
assert "sklearn" not in sys.modules
for name in ("antigravity.this.That", "sklearn.conftest.X", "sklearn.tests.X", "sklearn.externals._numpydoc.X"):
    assert sklearn.check({"estimator": name})
sys.exit(any(name.startswith(("sklearn.conftest", "sklearn.tests", "antigravity")) for name in sys.modules))
"""
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_without_scikit_learn_the_form_alone_is_checked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(driver_module, "is_installed", lambda: False)
        assert check(estimator="sklearn.no.Such", parameter=1) == {}
        assert set(check(estimator="os.system")) == {"estimator"}

    def test_a_worker_without_scikit_learn_says_so(self, digits: Table, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(driver_module, "is_installed", lambda: False)
        with pytest.raises(DriverError, match=r"not installed on this worker: install optml-queue\[sklearn\]"):
            train(digits, TREE)


class TestParameters:
    def test_unknown_ones_are_told_with_the_known_ones(self) -> None:
        problem = check(estimator="sklearn.svm.SVC", folds=5, C=1.0, gama=0.1)["gama"]
        assert problem.startswith("is no parameter of sklearn.svm.SVC; did you mean 'gamma'? it has C, break_ties, ")

    def test_a_trial_with_one_fails(self, digits: Table) -> None:
        with pytest.raises(DriverError, match=r"depht is no parameter of sklearn.tree.DecisionTreeClassifier"):
            train(digits, TREE, depht=3)

    def test_a_value_that_the_estimator_refuses_fails_in_its_words(self, digits: Table) -> None:
        with pytest.raises(ValueError, match="The 'max_depth' parameter of DecisionTreeClassifier must be"):
            train(digits, TREE, max_depth=-1)

    def test_the_text_none_is_none(self) -> None:
        tree = functions.estimator(TREE)
        assert functions.build(tree, {"max_depth": "None"}, 0).get_params()["max_depth"] is None
        assert functions.build(tree, {"max_features": "sqrt"}, 0).get_params()["max_features"] == "sqrt"

    def test_the_seed_is_the_random_state_unless_that_is_given(self) -> None:
        tree = functions.estimator(TREE)
        assert functions.build(tree, {}, 7).get_params()["random_state"] == 7
        assert functions.build(tree, {}, 2**63 - 1).get_params()["random_state"] == 2**32 - 1
        assert functions.build(tree, {"random_state": 3}, 7).get_params()["random_state"] == 3

    def test_estimators_without_randomness_are_built_too(self) -> None:
        assert functions.build(functions.estimator("sklearn.linear_model.LinearRegression"), {}, 7) is not None


class TestFigures:
    def test_classes_are_judged_as_scikit_learn_does(self, digits: Table) -> None:
        found = train(digits, FOREST, seed=3, n_estimators=10, folds=4)
        forest = RandomForestClassifier(n_estimators=10, random_state=3)
        folds = StratifiedKFold(4, shuffle=True, random_state=3)
        scores = cross_val_score(forest, digits.train.inputs, digits.train.targets, cv=folds)
        fitted = forest.fit(digits.train.inputs, digits.train.targets)
        assert found == {
            "accuracy": pytest.approx(scores.mean()),
            "error_rate": pytest.approx(1 - scores.mean()),
            "test_error_rate": pytest.approx(1 - fitted.score(digits.test.inputs, digits.test.targets)),
        }
        assert found["test_error_rate"] < 0.2

    def test_numbers_are_judged_as_scikit_learn_does(self, plane: Table) -> None:
        found = train(plane, RIDGE, seed=3, metric="mse", alpha=2.0)
        folds = KFold(5, shuffle=True, random_state=3)
        ridge, rows = Ridge(alpha=2.0), (plane.train.inputs, plane.train.targets)
        errors = plane.test.targets - ridge.fit(*rows).predict(plane.test.inputs)
        assert found == {
            "mse": pytest.approx(-cross_val_score(ridge, *rows, cv=folds, scoring="neg_mean_squared_error").mean()),
            "r2": pytest.approx(cross_val_score(ridge, *rows, cv=folds, scoring="r2").mean()),
            "test_mse": pytest.approx((errors**2).mean()),
        }
        assert found["r2"] > 0.9

    def test_the_seed_decides_the_bits(self, digits: Table) -> None:
        first, again, other = (train(digits, FOREST, seed=seed, n_estimators=3, folds=2) for seed in (1, 1, 2))
        assert first == again != other

    def test_the_test_part_does_not_reach_the_folds(self, digits: Table) -> None:
        inverted = replace(digits, test=Split(1 - digits.test.inputs, digits.test.targets))
        before, after = (train(data, TREE, folds=2) for data in (digits, inverted))
        assert before.pop("test_error_rate") < after.pop("test_error_rate")
        assert before == after


class TestData:
    def test_a_regressor_does_not_predict_classes(self, digits: Table) -> None:
        with pytest.raises(DataError, match="Ridge predicts numbers, and the targets of the data are classes"):
            train(digits, RIDGE)

    def test_a_classifier_does_not_predict_numbers(self, plane: Table) -> None:
        with pytest.raises(DataError, match=r"DecisionTreeClassifier predicts classes, and the targets .* are numbers"):
            train(plane, TREE)

    def test_the_metric_must_be_one_of_such_targets(self, plane: Table) -> None:
        with pytest.raises(DataError, match="are numbers, which error_rate does not judge: use mse, r2 or test_mse"):
            train(plane, RIDGE, metric="error_rate")

    def test_more_folds_than_rows(self, plane: Table) -> None:
        with pytest.raises(DataError, match="the training part cannot be cut into 101 folds"):
            train(plane, RIDGE, folds=101, metric="mse")


class TestTrials:
    @pytest.mark.parametrize("metric", ["error_rate", "accuracy"])
    def test_every_fold_reports_the_mean_so_far(self, digits: Table, metric: str) -> None:
        seen: list[tuple[int, float]] = []

        def report(step: int, value: float) -> Order:
            seen.append((step, value))
            return Order.OK

        active = trial(digits, TREE, folds=3, metric=metric)
        active.on_report = report
        metrics = sklearn.train(active)
        assert [step for step, _value in seen] == [1, 2, 3]
        assert seen[-1][1] == metrics[metric]

    def test_what_is_known_at_the_end_alone_is_not_reported(self, digits: Table) -> None:
        active = trial(digits, TREE, folds=2, metric="test_error_rate")
        active.on_report = lambda _step, _value: Order.ABORT
        assert sklearn.train(active)["test_error_rate"] < 0.5

    def test_an_order_ends_it_between_folds(self, digits: Table) -> None:
        active = trial(digits, TREE, folds=4)
        active.on_report = lambda step, _value: Order.CANCEL if step == 2 else Order.OK
        with pytest.raises(AttemptEndedError):
            sklearn.train(active)

    @pytest.mark.parametrize(
        ("estimator", "params"),
        [
            ("sklearn.linear_model.SGDRegressor", {"learning_rate": "constant", "eta0": 1e10}),
            ("sklearn.linear_model.SGDRegressor", {"learning_rate": "constant", "eta0": 3.0, "max_iter": 1}),
        ],
    )
    def test_training_that_runs_away_is_diverged(self, plane: Table, estimator: str, params: dict[str, Any]) -> None:
        with pytest.raises(DivergedError):
            train(plane, estimator, metric="mse", **params)

    def test_warnings_are_kept_with_the_trial_each_once(self, digits: Table) -> None:
        lines: list[str] = []
        active = trial(digits, "sklearn.neural_network.MLPClassifier", folds=2, max_iter=1, hidden_layer_sizes=[4])
        active.on_log = lines.append
        sklearn.train(active)
        assert len(lines) == 1
        assert lines[0].startswith("ConvergenceWarning: Stochastic Optimizer: Maximum iterations (1) reached")

    def test_a_missing_figure_that_is_judged_by_is_a_failure(self, digits: Table) -> None:
        active = trial(digits, TREE, folds=2)
        with pytest.raises(AttemptFailedError, match=r"DataError: .* which r2 does not judge"):
            run_attempt(sklearn, digits, active, metric="r2")


class TestSpec:
    def test_two_kinds_of_estimators_share_a_grid(self, tmp_path: Path) -> None:
        spec = self.spec(
            tmp_path,
            "estimator: [sklearn.svm.SVC, sklearn.ensemble.RandomForestClassifier]",
            "C: {values: [1, 10], when: \"estimator == 'sklearn.svm.SVC'\"}",
            "max_depth: {values: [None, 4], when: \"estimator != 'sklearn.svm.SVC'\"}",
        )
        assert spec.space.count_exact() == 4

    @pytest.mark.parametrize(
        ("lines", "problem"),
        [
            (
                ("estimator: sklearn.svm.SVCC",),
                (
                    "6: parameters.estimator: must be an estimator of scikit-learn with fit and predict, got "
                    "'sklearn.svm.SVCC'; did you mean sklearn.svm.SVC?"
                ),
            ),
            (
                ("estimator:", "  values:", "    - sklearn.svm.SVC", "    - os.system"),
                (
                    f"9: parameters.estimator.values[1]: must be the full name of an estimator, as {FOREST}, "
                    "got 'os.system'"
                ),
            ),
            (
                ("estimator: sklearn.svm.SVC", "max_depth: [1, 2]"),
                "7: parameters.max_depth.values[0]: is no parameter of sklearn.svm.SVC; ",
            ),
            # Without `when` every estimator gets it.
            (
                ("estimator: [sklearn.tree.DecisionTreeClassifier, sklearn.svm.SVC]", "C: 1.0"),
                "7: parameters.C: is no parameter of sklearn.tree.DecisionTreeClassifier; ",
            ),
            (("C: 1.0",), "5: parameters.estimator: is missing: the algorithm has no default for it"),
            (("estimator: sklearn.svm.SVC", "folds: 1"), "7: parameters.folds: must be >= 2, got 1"),
            (
                ("estimator: sklearn.svm.SVC", "accuracy: 1"),
                "7: parameters.accuracy: is the name of a column of the results, which no parameter can have",
            ),
        ],
    )
    def test_problems_have_their_line(self, tmp_path: Path, lines: tuple[str, ...], problem: str) -> None:
        with pytest.raises(SpecError) as raised:
            self.spec(tmp_path, *lines)
        assert f"grid.yaml:{problem}" in str(raised.value)
        assert len(raised.value.problems) == 1

    def test_a_large_grid_is_looked_at_everywhere(self, tmp_path: Path) -> None:
        with pytest.raises(SpecError, match=r"C: is no parameter of sklearn\.tree"):
            self.spec(
                tmp_path,
                "C: {min: 0.1, max: 1.0, count: 4000}",
                "estimator: [sklearn.svm.SVC, sklearn.tree.DecisionTreeClassifier]",
            )

    def test_a_point_to_try_first_is_checked_too(self, tmp_path: Path) -> None:
        (tmp_path / "grid.yaml").write_text(
            "name: t\nalgorithm: sklearn\ndata: digits\nparameters:\n  estimator: sklearn.svm.SVC\n"
            "  gamma: [scale, auto]\npoints:\n  - {estimator: os.system, gamma: scale}\n"
        )
        with pytest.raises(SpecError, match=r"grid.yaml:8: points\[0\]: estimator must be the full name"):
            load_spec(tmp_path / "grid.yaml")

    @staticmethod
    def spec(folder: Path, *lines: str) -> Spec:
        head = ("name: t", "algorithm: sklearn", "method: grid", "data: digits", "parameters:")
        path = folder / "grid.yaml"
        path.write_text("\n".join([*head, *(f"  {line}" for line in lines)]))
        return load_spec(path)
