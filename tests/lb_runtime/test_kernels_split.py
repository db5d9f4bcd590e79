"""Every shipped kernel, split at several shares, leaves the bytes of an unsplit launch or says why not."""

from __future__ import annotations

from typing import Any

import kernel_references as references
import numpy as np
import pytest

from lb_runtime.analysis.verdict import Declined, Merge, Splittable
from lb_runtime.cli.kernel_file import read_source
from lb_runtime.contexts import OpenPair
from lb_runtime.kernel import Kernel, launch_range, look_at
from lb_runtime.runtime import Runtime
from lb_runtime.trial import Trial, TrialResult, run_trial
from lb_runtime.verify import Outcome

SHARES = (0.1, 0.37, 0.5, 0.9)

DECLINED = {"prefix_sum_flags": "global-atomic"}

MERGED_BY_DIFFERENCE = {"scatter": {"target"}}

STEMS = sorted(path.stem for path in references.KERNELS.glob("*.cl"))


def kernel_of(stem: str) -> Kernel:
    launch = references.small_launch(stem)
    return look_at(read_source(references.KERNELS / f"{stem}.cl"), launch.options, launch.kernel)


def split(pair: OpenPair, stem: str, share: float) -> tuple[TrialResult, dict[str, Any]]:
    """Run a kernel's small launch at a share; the result, and its values by name afterwards."""
    launch = references.small_launch(stem)
    values = references.materialise(launch)
    kernel = kernel_of(stem)
    nd_range = launch_range(kernel, launch.global_size, launch.local_size, launch.offset)
    given = tuple(values[parameter.name] for parameter in kernel.facts.parameters)
    runtime = Runtime(devices=pair)
    trial = Trial(kernel, nd_range, given, share, wants_verification=True)
    return run_trial(runtime, trial), values


def is_cut(stem: str, share: float) -> bool:
    """Whether a small launch can be cut at a share: not where a part would get no work-group any way."""
    if stem in DECLINED:
        return False
    launch = references.small_launch(stem)
    nd_range = launch_range(kernel_of(stem), launch.global_size, launch.local_size, launch.offset)
    return any(
        all(piece.groups for piece in nd_range.cut(dimension, (share, 1 - share)))
        for dimension in range(nd_range.dimensions)
    )


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("stem", STEMS)
def test_one_device_cut_in_two_leaves_identical_bytes(
    halves: OpenPair, stem: str, share: float
) -> None:
    result, _ = split(halves, stem, share)
    assert result.decision.is_split == is_cut(stem, share)
    if not result.decision.is_split:
        return
    assert result.verification is not None
    assert result.verification.outcome is Outcome.IDENTICAL, result.verification.text


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("stem", STEMS)
def test_each_part_equals_its_own_devices_unsplit_result(
    intel_pair: OpenPair, stem: str, share: float
) -> None:
    result, _ = split(intel_pair, stem, share)
    assert result.decision.is_split == is_cut(stem, share)
    if result.decision.is_split:
        assert result.verification is not None
        assert result.verification.ok, result.verification.text


@pytest.mark.parametrize("stem", STEMS)
def test_a_split_run_matches_the_numpy_reference(pair: OpenPair, stem: str) -> None:
    launch = references.small_launch(stem)
    given = references.materialise(launch)
    before = {n: np.copy(v) if isinstance(v, np.ndarray) else v for n, v in given.items()}
    expected = references.REFERENCES[stem](before)
    _, values = split(pair, stem, 0.4)
    for name, content in expected.items():
        got = values[name].reshape(-1)[: content.size].reshape(content.shape)
        if np.issubdtype(content.dtype, np.floating):
            np.testing.assert_allclose(got, content, rtol=2e-3, atol=2e-3)
        else:
            np.testing.assert_array_equal(got, content)


@pytest.mark.parametrize("stem", STEMS)
def test_the_verdict_on_a_shipped_kernel_is_the_stated_one(halves: OpenPair, stem: str) -> None:
    result, _ = split(halves, stem, 0.37)
    verdict = result.decision.verdict
    if stem in DECLINED:
        assert isinstance(verdict, Declined)
        assert verdict.reasons[0].code == DECLINED[stem]
        return
    assert isinstance(verdict, Splittable)
    merged = {a.name for a in verdict.arguments if a.merge is Merge.DIFFERENCE}
    assert merged == MERGED_BY_DIFFERENCE.get(stem, set())


@pytest.mark.parametrize("share", SHARES)
def test_a_bitonic_step_is_split_between_the_pairs_that_it_exchanges(
    halves: OpenPair, share: float
) -> None:
    """Also where the cut falls between the keys of a pair: each work-item meets no keys but its own."""
    launch = references.default_launch("bitonic_step")
    values = references.materialise(launch)
    kernel = kernel_of("bitonic_step")
    nd_range = launch_range(kernel, launch.global_size, launch.local_size, launch.offset)
    given = tuple(values[p.name] for p in kernel.facts.parameters)
    trial = Trial(kernel, nd_range, given, share, wants_verification=True)
    result = run_trial(Runtime(devices=halves), trial)
    assert result.decision.is_split
    assert result.verification is not None
    assert result.verification.outcome is Outcome.IDENTICAL, result.verification.text


def test_a_histogram_is_combined_from_its_parts(halves: OpenPair) -> None:
    verdict = split(halves, "histogram", 0.37)[0].decision.verdict
    assert isinstance(verdict, Splittable)
    assert [a.name for a in verdict.arguments if a.merge is Merge.ATOMIC] == ["bins"]


def test_a_split_convolution_moves_the_slices_and_their_halo_rows_alone(halves: OpenPair) -> None:
    side, radius = 1024, 3
    kernel = kernel_of("convolution_2d")
    assert kernel.options == ("-D", f"RADIUS={radius}")
    random = np.random.default_rng(3)
    image = random.random((side, side), np.float32)
    mask, result = random.random(49, np.float32), np.zeros_like(image)
    nd_range = launch_range(kernel, (side, side), (16, 16), None)
    trial = Trial(kernel, nd_range, (side, side, image, mask, result), 0.3)
    execution = run_trial(Runtime(devices=halves), trial).typical
    row, cut = 4 * side, 16 * round(0.3 * side / 16)
    assert [part.uploaded_bytes for part in execution.parts] == [
        (cut + radius) * row + mask.nbytes,
        (side - cut + radius) * row + mask.nbytes,
    ]
    assert [part.downloaded_bytes for part in execution.parts] == [cut * row, (side - cut) * row]
