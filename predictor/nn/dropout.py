"""Dropout whose mask costs a byte of randomness for each number.

Most of the time of `torch.nn.functional.dropout` on a CPU goes into drawing its mask, a number at a
time. A rate is a whole number of 256ths here (0.3 is 77 of 256), and kept numbers are scaled for it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def dropout(values: Tensor, rate: float, training: bool) -> Tensor:
    """Zeroes numbers at random, from torch's own generator, and scales the rest. Shapes: any."""
    dropped = round(256.0 * rate)
    if not training or not dropped:
        return values
    draws = torch.empty((values.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    kept = draws.view(torch.uint8)[: values.numel()].view(values.shape) >= dropped
    return values * (kept * (256.0 / (256.0 - dropped)))
