"""What shares cost and gain, on launches whose answer is known by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from predictor.felt import felt, seconds_at


def array(*values: float) -> NDArray[np.float64]:
    return np.array(values)


def test_the_best_split_takes_as_long_as_the_best_split() -> None:
    cpu, gpu = array(1.0, 3.0, 9.0), array(2.0, 3.0, 0.1)
    result = felt(gpu / (cpu + gpu), cpu, gpu)
    assert result.to_best.mean == pytest.approx(1.0)
    assert result.to_best.percentile_90 == pytest.approx(1.0)
    assert result.slower_than_single == 0.0
    assert result.whole == 0.0


def test_an_unsplit_launch_takes_the_time_of_its_device() -> None:
    cpu, gpu = array(1.0, 1.0), array(4.0, 4.0)
    assert seconds_at(array(0.0, 1.0), cpu, gpu).tolist() == [4.0, 1.0]
    result = felt(array(0.0, 1.0), cpu, gpu)
    assert result.whole == 1.0
    assert result.to_single.mean == pytest.approx(2.5)
    assert result.to_best.median == pytest.approx((5.0 + 1.25) / 2)


def test_a_cut_far_off_is_slower_than_the_best_single_device() -> None:
    result = felt(array(0.5, 0.9), array(1.0, 1.0), array(4.0, 4.0))
    assert result.slower_than_single == 0.5


def test_the_best_single_device_is_not_slower_than_itself() -> None:
    assert felt(array(1.0 - 1e-12), array(0.1), array(4.0)).slower_than_single == 0.0


@pytest.mark.parametrize("share", [-0.1, 1.1, np.nan])
def test_shares_outside_of_0_to_1_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match="expected 0 to 1"):
        felt(array(share), array(1.0), array(1.0))


def test_as_many_shares_as_times_are_expected() -> None:
    with pytest.raises(ValueError, match="at least one launch"):
        felt(array(0.5, 0.5), array(1.0), array(1.0))
    with pytest.raises(ValueError, match="at least one launch"):
        felt(array(), array(), array())
