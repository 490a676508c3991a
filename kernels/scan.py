"""Parallel prefix scans over an associative operator, in logarithmic depth, with plain autograd."""

from collections.abc import Callable

import torch
from torch import Tensor

Elements = tuple[Tensor, ...]


def associative_scan(combine: Callable[[Elements, Elements], Elements], elements: Elements, dim: int) -> Elements:
    """Inclusive scan along `dim` (Blelloch 1990): about 2n combinations in 2 log2(n) parallel steps.

    combine(earlier, later) acts on tuples of tensors of equal length along `dim`, elementwise along it.
    """
    n = elements[0].shape[dim]
    if n < 2:
        return elements
    even = tuple(_every_second(e, dim, 0) for e in elements)
    odd = tuple(_every_second(e, dim, 1) for e in elements)
    pairs = associative_scan(combine, combine(tuple(e.narrow(dim, 0, n // 2) for e in even), odd), dim)
    if n == 2:
        return tuple(torch.cat([e, p], dim) for e, p in zip(even, pairs, strict=True))
    # an even place beyond the first is what its pair before it holds, and itself
    rest = (n - 1) // 2
    later = combine(tuple(p.narrow(dim, 0, rest) for p in pairs), tuple(e.narrow(dim, 1, rest) for e in even))
    evens = (torch.cat([e.narrow(dim, 0, 1), r], dim) for e, r in zip(even, later, strict=True))
    return tuple(_interleave(e, p, dim) for e, p in zip(evens, pairs, strict=True))


def decayed_sums(decay: Tensor, update: Tensor, dim: int, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """States S_j = a_j S_{j-1} + u_j along `dim`: those before each j, and the last one.

    decay broadcasts against update. initial: S before the first, zero where None; shaped as update with size 1 at dim.
    """

    def combine(earlier: Elements, later: Elements) -> Elements:
        return earlier[0] * later[0], later[0] * earlier[1] + later[1]

    decays, states = associative_scan(combine, (decay, update), dim)
    if initial is None:
        initial = torch.zeros_like(update.narrow(dim, 0, 1))
    else:
        states = states + decays * initial
    n = states.shape[dim]
    return torch.cat([initial, states.narrow(dim, 0, n - 1)], dim), states.narrow(dim, n - 1, 1)


def affine_states(transition: Tensor, update: Tensor, initial: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """States S_j = M_j S_{j-1} + B_j of matrices along dimension 1: those before each j, and the last one.

    transition (batch, n, ..., d, d), update (batch, n, ..., d, e), initial (batch, ..., d, e), zero where None. All
    are multiplied in their own precision, under autocast too.
    """
    with torch.autocast(update.device.type, enabled=False):
        if initial is None:
            initial = torch.zeros_like(update[:, 0])
        else:
            update = torch.cat([transition[:, :1] @ initial[:, None] + update[:, :1], update[:, 1:]], 1)
        states = _affine_scan(transition[:, 1:], update)
    return torch.cat([initial[:, None], states[:, :-1]], 1), states[:, -1]


def affine_products(n: int) -> tuple[int, int]:
    """Matmuls in affine_states from zero: of transitions with transitions, and of transitions with states."""
    # a level of m places has m // 2 - 1 of the former and m - 1 of the latter, and the next m // 2 places
    levels = [n >> i for i in range(n.bit_length())]
    return sum(m - 1 for m in levels[1:]), sum(m - 1 for m in levels)


def _affine_scan(transition: Tensor, update: Tensor) -> Tensor:
    """Every S_j of S_0 = B_0, S_j = M_{j-1} S_{j-1} + B_j.

    It pairs places as associative_scan, but as the first has no transition, no product of those from 0 to j is formed:
    half of the work.
    """
    n = update.shape[1]
    if n < 2:
        return update
    into_odd, into_even = transition[:, 0::2], transition[:, 1::2]
    first, second = update[:, 0 : n - 1 : 2], update[:, 1::2]
    pairs = _affine_scan(into_odd[:, 1:] @ into_even[:, : n // 2 - 1], into_odd @ first + second)
    later = into_even @ pairs[:, : (n - 1) // 2] + update[:, 2::2]
    return _interleave(torch.cat([update[:, :1], later], 1), pairs, 1)


def _every_second(x: Tensor, dim: int, first: int) -> Tensor:
    return x[(slice(None),) * (dim % x.ndim) + (slice(first, None, 2),)]


def _interleave(even: Tensor, odd: Tensor, dim: int) -> Tensor:
    """even at 0, 2, ... and odd at 1, 3, ...; even is as long as odd or one longer."""
    dim = dim % even.ndim
    n = odd.shape[dim]
    both = torch.stack([even.narrow(dim, 0, n), odd], dim + 1).flatten(dim, dim + 1)
    return torch.cat([both, even.narrow(dim, n, 1)], dim) if even.shape[dim] > n else both
