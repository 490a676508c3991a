"""The oracle of the grouped causal FIR, readable as the formula."""

import torch
from torch import Tensor


def grouped_fir(x: Tensor, taps: Tensor) -> Tensor:
    """y_{t,c} = sum_{s<n} taps_{g,s} x_{t-s,c}, for x (batch, length, channels) and taps (groups, n).

    Channel c is of group g = c // (channels / groups); inputs before the first are zero.
    """
    h = taps.repeat_interleave(x.shape[2] // len(taps), 0)
    rows = []
    for t in range(x.shape[1]):
        lags = range(min(taps.shape[1], t + 1))
        rows.append(torch.stack([h[:, s] * x[:, t - s] for s in lags]).sum(0))
    return torch.stack(rows, 1)
