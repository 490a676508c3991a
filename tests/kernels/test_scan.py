"""Scans against the loops that they stand for."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from eutectic.kernels.scan import affine_products, affine_states


@pytest.mark.parametrize("with_initial", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 13, 64, 101])
def test_affine_states_are_the_loops(n: int, with_initial: bool) -> None:
    g = torch.Generator().manual_seed(n)
    transition = torch.randn(2, n, 5, 3, 3, generator=g, dtype=torch.float64) * 0.4
    update = torch.randn(2, n, 5, 3, 4, generator=g, dtype=torch.float64)
    initial = torch.randn(2, 5, 3, 4, generator=g, dtype=torch.float64) if with_initial else None
    before, last = affine_states(transition, update, initial)
    state = torch.zeros_like(update[:, 0]) if initial is None else initial
    for j in range(n):
        torch.testing.assert_close(before[:, j], state, rtol=1e-10, atol=1e-10)
        state = transition[:, j] @ state + update[:, j]
    torch.testing.assert_close(last, state, rtol=1e-10, atol=1e-10)


def test_products_are_those_done() -> None:
    for n in range(1, 70):
        with FlopCounterMode(display=False) as counter:
            affine_states(torch.zeros(1, n, 3, 3), torch.zeros(1, n, 3, 4))
        transitions, states = affine_products(n)
        assert counter.get_total_flops() == 2 * 3 * 3 * (3 * transitions + 4 * states)


def test_products_by_hand() -> None:
    """Of 5 places, two pairs: 4 products with states and 1 of transitions; of those 2, one more with a state."""
    assert affine_products(5) == (1, 4 + 1)
    assert affine_products(1) == (0, 0)
