"""The selective scan of Mamba (Gu and Dao 2023, S6), equal to kernels/reference/selective_scan.py.

Each channel has n modes that decay at rates of their own at every step, so there is no chunk of matmuls: it is a scan
of n numbers per channel. They are never in memory for more than a segment of the length at once, and not kept for the
backward pass, which computes a segment's anew.
"""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from eutectic.kernels.scan import Elements, associative_scan

SEGMENT = 2048


def segmented(
    x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, initial: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """y (batch, length, channels) and the state after the last step (batch, channels, n), all in float32 or wider.

    x and steps dt (batch, length, channels), rates a (channels, n) < 0, b and c (batch, length, n).
    initial (batch, channels, n): the state before the first step, zero where None.
    """
    state = x.new_zeros(len(x), *a.shape) if initial is None else initial
    rows = []
    for parts in zip(*(part.split(SEGMENT, 1) for part in (x, dt, b, c)), strict=True):
        y, state = checkpoint(_segment, *parts, a, state, use_reentrant=False, preserve_rng_state=False)
        rows.append(y)
    return torch.cat(rows, 1), state


def flops(length: int, channels: int, n: int, algorithm: str) -> int:
    """Over one sequence, as `recurrence`, or else as segmented() computes it: there is no FFT of what decays by input.

    Per step and channel, dt x. Per mode of it, dt a and (dt x) b, and a read-out of 2; between them,
    recurrence: a decay and an addition. chunked: the scan's 2 combinations, each of 2 products and an addition.
    """
    return length * channels * (1 + n * (4 + (2 if algorithm == "recurrence" else 6)))


def _segment(x: Tensor, dt: Tensor, b: Tensor, c: Tensor, a: Tensor, initial: Tensor) -> tuple[Tensor, Tensor]:
    def combine(earlier: Elements, later: Elements) -> Elements:
        return earlier[0] * later[0], later[0] * earlier[1] + later[1]

    decay = (dt[..., None] * a).exp()
    update = (dt * x)[..., None] * b[:, :, None]
    update[:, 0] += decay[:, 0] * initial
    _, states = associative_scan(combine, (decay, update), 1)
    return (states * c[:, :, None]).sum(-1), states[:, -1]
