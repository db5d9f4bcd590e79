"""What a head reads of a kernel and its launch."""

from __future__ import annotations

import numpy as np
import pytest

from predictor.frontend import compile_source
from predictor.prediction import Prediction
from predictor.program_graph import build
from predictor.tuned.features import TUNED_FEATURES, LaunchNumbers, tuned_features
from predictor.tuned.hot_spot import HOT_FACTS, hot_facts

LAUNCH = LaunchNumbers(1 << 20, 64, 4096, 1, (7, -300))
EVEN = Prediction(np.zeros((1, 2)), np.ones(1))


def hot(
    body: str, parameters: str = "__global float *a, __global const float *b, int n"
) -> dict[str, float]:
    source = f"__kernel void f({parameters}) {{ size_t i = get_global_id(0); {body} }}"
    return dict(zip(HOT_FACTS, hot_facts(build(compile_source(source))).tolist()))


def test_names_are_unique_and_every_one_has_a_number() -> None:
    assert len(set(TUNED_FEATURES)) == len(TUNED_FEATURES)
    graph = build(compile_source("__kernel void f(__global int *a) { a[0] = 1; }"))
    features = tuned_features(graph, LAUNCH, EVEN)
    assert features.shape == (len(TUNED_FEATURES),)
    assert np.isfinite(features).all()


def test_a_kernel_that_does_nothing_has_features() -> None:
    features = tuned_features(build(compile_source("__kernel void f() {}")), LAUNCH, EVEN)
    assert np.isfinite(features).all()


def test_the_launch_is_read() -> None:
    graph = build(compile_source("__kernel void f(__global int *a) { a[0] = 1; }"))
    named = dict(zip(TUNED_FEATURES, tuned_features(graph, LAUNCH, EVEN)))
    assert named["items"] == pytest.approx(np.log(4096))
    assert named["largest integer"] == pytest.approx(np.log1p(300))
    assert named["integers"] == 2
    assert named["predicted share"] == 0.5


def test_a_sum_of_integers_is_told_from_a_sum_of_floats_and_from_a_chain() -> None:
    loop = "{kind} s = 0; for (int k = 0; k < n; k++) s = {step}; a[i] = s;"
    floats = hot(loop.format(kind="float", step="s + b[i * n + k]"))
    integers = hot(loop.format(kind="int", step="s + (int)b[i * n + k]"))
    chain = hot(loop.format(kind="float", step="s * s + b[i * n + k] * s"))
    assert floats["float sums"] > 0
    assert not floats["float chains"]
    assert integers["integer sums"] > 0
    assert not integers["carries floats"]
    assert chain["float chains"] > 0


def test_only_the_loop_is_hot() -> None:
    outside = hot("a[i] = sin(b[i]) / b[i + 1];")
    inside = hot("float s = sin(b[i]); for (int k = 0; k < 100; k++) s += b[k]; a[i] = s;")
    assert outside["costly"] > 0
    assert inside["loop"] == 1
    assert inside["costly"] == 0


def test_calls_keep_vectors_away() -> None:
    assert hot("a[i] = b[i] + 1;")["items fit vectors in line"] == 1
    assert hot("a[i] = sin(b[i]);")["items fit vectors"] == 0
    assert hot("a[i] = b[(int)b[i]];")["items fit vectors in line"] == 0


def test_launches_of_negative_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        LaunchNumbers(-1, 1, 1, 1, ())
