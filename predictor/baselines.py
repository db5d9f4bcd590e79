"""Classical models on hand-made features, judged in the same folds as the networks.

The thesis has a decision tree for classes and a linear regression for percentages, both on Grewe's
four features; each is here for every task (a linear model of classes is a logistic regression).
Boosted trees read the plain counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from predictor.cross_validation import Judged, LaunchSet, Run
from predictor.datasets import grewe
from predictor.tasks import Task, labels

Baseline = Literal["tree", "linear", "boosted"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)


def judge_baseline(
    launches: LaunchSet,
    counted: NDArray[np.float64],
    baseline: Baseline,
    todo: Sequence[Run],
    advance: Callable[[], object] = lambda: None,
) -> tuple[Judged, ...]:
    """Fits a baseline on what each run trains and validates on, and judges it on its test rows.

    Shapes: counted [launches of the data set, 8], as `grewe.counts` gives them.
    """
    read = grewe.simple(counted) if baseline == "boosted" else grewe.combined(counted)
    features = read[launches.rows]
    results = []
    for run in todo:
        task = run.plan.task
        true = labels(task, launches.examples)
        known = np.concatenate((run.split.train, run.split.validation))
        model = _model(baseline, task, run.plan.seed)
        model.fit(features[known], true[known])
        said = model.predict(features[run.split.test])
        results.append(
            Judged(
                run.plan.seed,
                run.plan.fold,
                best_epoch=0,
                epochs=0,
                rows=tuple(run.split.test.tolist()),
                said=tuple(float(one) for one in said),
            )
        )
        advance()
    return tuple(results)


def _model(baseline: Baseline, task: Task, seed: int) -> Any:
    """The model; a tree of the thesis' depth and leaves."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    regression = task == "regression"
    if baseline == "linear":
        if regression:
            return LinearRegression()
        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    if baseline == "boosted":
        boosted = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
        return boosted(random_state=seed)
    if regression:
        return DecisionTreeRegressor(max_depth=5, min_samples_leaf=5, random_state=seed)
    return DecisionTreeClassifier(
        criterion="entropy", max_depth=5, min_samples_leaf=5, random_state=seed
    )
