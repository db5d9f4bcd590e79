"""The gates of a GRU cell in one autograd step: a fraction of the arrays that its formula would leave.

r = sigmoid(a_r + b_r), u = sigmoid(a_u + b_u), n = tanh(a_n + r b_n), and the new state is
n + u (h - n), with a the cell's map of its input and b its map of the state h (Cho et al., 2014, as
`torch.nn.GRUCell` reads it).
"""

# mypy: allow-subclassing-any
# A checker without torch sees no type for its base class.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def gru(entering: Tensor, kept: Tensor, states: Tensor) -> Tensor:
    """The new states.

    Shapes: entering and kept [states, 3 x hidden] (a and b above, in the order r, u, n), states
    [states, hidden], returns [states, hidden].
    """
    apply: Callable[..., Tensor] = _Gates.apply
    return apply(entering, kept, states)


class _Gates(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, entering: Tensor, kept: Tensor, states: Tensor) -> Tensor:
        two = 2 * states.size(1)
        both = torch.sigmoid_(entering[:, :two] + kept[:, :two])
        reset, update = both.chunk(2, dim=1)
        new = torch.tanh_(torch.addcmul(entering[:, two:], reset, kept[:, two:]))
        ctx.save_for_backward(both, new, kept, states)
        return torch.lerp(new, states, update)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        both, new, kept, states = ctx.saved_tensors
        gradient, hidden = gradients[0], states.size(1)
        reset, update = both.chunk(2, dim=1)
        to_states = gradient * update
        before_tanh = (gradient - to_states) * (1.0 - new * new)
        to_entering = torch.empty_like(kept)
        to_entering[:, 2 * hidden :] = before_tanh
        slope = both * (1.0 - both)
        torch.mul(before_tanh, kept[:, 2 * hidden :], out=to_entering[:, :hidden])
        torch.mul(gradient, states - new, out=to_entering[:, hidden : 2 * hidden])
        to_entering[:, : 2 * hidden] *= slope
        to_kept = to_entering.clone()
        to_kept[:, 2 * hidden :] *= reset
        return to_entering, to_kept, to_states
