"""Hankel singular values against dense matrices, and balanced truncation against Glover's bound, in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from eutectic.inference import hankel
from eutectic.inference.convert import Modal


def systems(channels: int, modes: int, seed: int, slowest: float = 0.02) -> Modal:
    """Random stable ones, a third of their poles real, of either sign."""
    g = torch.Generator().manual_seed(seed)
    decay = -(slowest + torch.rand(channels, modes, generator=g, dtype=torch.float64))
    angle = math.pi * torch.rand(channels, modes, generator=g, dtype=torch.float64)
    kind = torch.randint(6, (channels, modes), generator=g)
    angle = torch.where(kind == 0, 0.0, torch.where(kind == 1, math.pi, angle))
    residues = torch.randn(channels, modes, generator=g, dtype=torch.complex128)
    return Modal(torch.complex(decay, angle), residues, torch.zeros(channels, dtype=torch.float64))


def close(got: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=tolerance * float(expected.abs().max()))


@settings(max_examples=15, deadline=None)
@given(length=st.integers(2, 90), columns=st.integers(1, 5))
def test_products_are_with_the_dense_matrix(length: int, columns: int) -> None:
    g = torch.Generator().manual_seed(length)
    h = torch.randn(3, length, generator=g, dtype=torch.float64)
    dense = hankel.dense(h)
    i, j = torch.meshgrid(torch.arange(length // 2), torch.arange(length // 2), indexing="ij")
    assert torch.equal(dense, h[:, 1 + i + j])
    x = torch.randn(3, columns, length // 2, generator=g, dtype=torch.float64)
    close(hankel.product(h, x), x @ dense, 1e-13)


@settings(max_examples=10, deadline=None)
@given(length=st.integers(4, 300), rank=st.integers(4, 30))
def test_falling_values_are_the_dense_ones(length: int, rank: int) -> None:
    h = systems(3, 8, length, slowest=0.2).response(length)
    values, vectors, rest = hankel.factor(h, rank)
    left, expected, _ = torch.linalg.svd(hankel.dense(h))
    rank = min(rank, length // 2)
    close(values, expected[:, :rank], 1e-9)
    assert bool((rest >= expected[:, rank:].sum(1) - 1e-13).all())
    first = (vectors[..., 0] * left[..., 0]).sum(1).abs()
    apart = expected[:, 1] < 0.9 * expected[:, 0]
    close(first[apart], torch.ones_like(first)[apart], 1e-9)


def test_values_that_do_not_fall_are_bounded_from_below_and_their_tails_from_above() -> None:
    """Of noise, whose Hankel matrix is all but of full rank."""
    h = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, expected = hankel.factor(h, 24), torch.linalg.svdvals(hankel.dense(h))
    ratio = found.values[:, :9] / expected[:, :9]
    assert float(ratio.min()) > 0.95 and float(ratio.max()) <= 1 + 1e-12
    tails = expected.flip(1).cumsum(1).flip(1)[:, :25]
    assert bool((found.tails() >= tails).all()) and bool((found.tails() < 2 * tails).all())


@settings(max_examples=15, deadline=None)
@given(modes=st.integers(1, 6), seed=st.integers(0, 1000))
def test_modal_filters_have_their_values_in_closed_form(modes: int, seed: int) -> None:
    modal = systems(4, modes, seed, slowest=0.1)
    expected = torch.linalg.svdvals(hankel.dense(modal.response(700)))[:, : 2 * modes]
    close(hankel.modal_values(*modal[:2]), expected, 1e-12)
    real = modal.log_poles.real, modal.residues.real
    expected = torch.linalg.svdvals(hankel.dense(Modal(*real, modal.skip).response(700)))[:, :modes]
    close(hankel.modal_values(*real), expected, 1e-12)


def test_closed_forms_are_the_gramians() -> None:
    """sigma^2 are the eigenvalues of P Q, with P_ij = 1 / (1 - p_i p_j*) and Q_ij = c_i* c_j / (1 - p_i* p_j)."""
    modal = systems(5, 4, 7)
    pairs = hankel.is_pair(modal.log_poles)
    for values, log_poles, residues, twice in zip(hankel.modal_values(*modal[:2]), *modal[:2], pairs, strict=True):
        p = torch.cat([log_poles.exp(), log_poles.exp().conj()[twice]])
        residues = torch.where(twice, residues / 2, residues.real)
        c = torch.cat([residues, residues.conj()[twice]]) * p
        controllable = 1 / (1 - p[:, None] * p.conj())
        observable = c.conj()[:, None] * c / (1 - p.conj()[:, None] * p)
        expected = torch.linalg.eigvals(controllable @ observable).real.clamp(min=0).sqrt().sort(descending=True)[0]
        close(values[: len(p)], expected, 1e-6)


def test_equal_poles_have_values_too() -> None:
    log_poles = torch.full((1, 3), -0.1, dtype=torch.float64)
    residues = torch.tensor([[1.0, 2.0, -0.5]], dtype=torch.float64)
    alone = hankel.modal_values(log_poles[:, :1], residues.sum(1, keepdim=True))
    close(hankel.modal_values(log_poles, residues), torch.nn.functional.pad(alone, (0, 2)), 1e-13)


def test_balancing_changes_no_response_and_truncation_keeps_within_the_bound() -> None:
    """Of 100 systems, at every order, on 2,000 frequencies: sigma_{d+1} <= error <= 2 (sigma_{d+1} + ...)."""
    modal = systems(100, 4, 0)
    balanced = hankel.balance(*modal[:2])
    z = torch.exp(1j * torch.linspace(0, math.pi, 2000, dtype=torch.float64))
    p = modal.log_poles.exp()[:, None]
    c, pairs = (modal.residues * modal.log_poles.exp())[:, None], hankel.is_pair(modal.log_poles)[:, None]
    poles = (c / (z[:, None] - p) + c.conj() / (z[:, None] - p.conj())) / 2
    exact = torch.where(pairs, poles, c.real / (z[:, None] - p.real)).sum(2)
    close(balanced.frequency_response(z), exact, 1e-11)
    for order in range(8):
        error = (balanced.truncated(order).frequency_response(z) - exact).abs().amax(1)
        rounding = 1e-11 * exact.abs().amax(1)
        tail = balanced.values[:, order:].sum(1)
        assert bool((error <= 2 * tail + rounding).all())
        assert bool((error >= balanced.values[:, order] * (1 - 1e-3) - rounding).all())


@pytest.mark.parametrize("order", [2, 8])
def test_kungs_poles_are_the_systems(order: int) -> None:
    g = torch.Generator().manual_seed(1)
    angle = torch.linspace(0.4, 2.7, order // 2, dtype=torch.float64).expand(3, -1)
    log_poles = torch.complex(-0.02 - 0.2 * torch.rand(3, order // 2, generator=g, dtype=torch.float64), angle)
    residues = torch.randn(3, order // 2, generator=g, dtype=torch.complex128)
    h = Modal(log_poles, residues, torch.ones(3, dtype=torch.float64)).response(400)
    poles = hankel.shift_poles(hankel.factor(h, order).vectors)
    upper = poles[poles.imag > 0].view(3, -1)
    order_of = upper.angle().argsort(1)
    torch.testing.assert_close(upper.gather(1, order_of), log_poles.exp(), rtol=0, atol=1e-11)
