"""Filters read from a model: they are what an impulse leaves, and numbers known by hand come out."""

import dataclasses
import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad
from zoo import SHAPE, perturb, shape

from eutectic.arch import registry
from eutectic.arch.base import Mixer
from eutectic.arch.gated_conv import GatedConv
from eutectic.arch.mixers.h3 import H3
from eutectic.arch.mixers.hyena import Hyena, ModalFilter
from eutectic.arch.mixers.mega import Mega
from eutectic.arch.mixers.multihyena import MultiHyena
from eutectic.arch.mixers.rtf import RTF
from eutectic.arch.mixers.s4d import S4D
from eutectic.arch.model import Model, build
from eutectic.config import RunConfig
from eutectic.errors import UserError
from eutectic.inference.filters import Filters, energy, filter_rows, filters_of, lags, pole_rows, summary
from eutectic.kernels import plain

Rows = list[list[float]]
LENGTH = 32  # of small_run
POLES = ("hyena", "multihyena", "rtf(order=3)", "s4d(d_state=8)", "h3(d_state=8)", "mega(ema_dim=3)")
OTHERS = ("hyena_implicit", "hyena_se", "hyena_mr", "monarch(max_length=20)")


def of_layout(run: RunConfig, layout: str) -> RunConfig:
    return dataclasses.replace(run, model=dataclasses.replace(shape(layout), vocab_size=run.model.vocab_size))


def left(mixer: Mixer) -> Tensor:
    """What the mixer itself makes of an impulse where gates are open, (channels, length)."""
    impulse = pad(torch.ones(1, 1, SHAPE.d_inner).double(), (0, 0, 0, LENGTH - 1))
    ones = torch.ones(1, LENGTH, SHAPE.d_inner).double()
    match mixer:
        case MultiHyena():  # of a head's products of keys and values one alone
            first = (torch.arange(SHAPE.d_inner) % SHAPE.d_head == 0).double()
            return mixer.mix(ones, impulse * first, ones)[0].T[:: SHAPE.d_head]
        case GatedConv():
            return mixer.mix(ones, impulse, ones)[0].T
        case S4D() | H3():
            return mixer.ssm(impulse)[0].T
        case Mega():
            return (plain.modal_conv(impulse, *mixer.average()) + mixer.omega * impulse)[0].T
    raise AssertionError(mixer)


@pytest.mark.parametrize("layout", [*POLES, *OTHERS])
def test_a_filter_is_what_an_impulse_leaves(layout: str, small_run: RunConfig) -> None:
    run = of_layout(small_run, layout)
    model = perturb(build(run.model, 0).double())
    found = filters_of(model, run)
    assert [(one.path, one.mixer) for one in found] == [(f"blocks.{k}.mixer", layout) for k in range(2)]
    for one in found:
        mixer = model.get_submodule(one.path)
        assert isinstance(mixer, Mixer)
        with torch.no_grad():
            torch.testing.assert_close(one.h, left(mixer), rtol=0, atol=1e-9)
        assert (one.modal is not None) == (layout in POLES)
        if one.modal is not None:
            torch.testing.assert_close(one.modal.response(LENGTH), one.h, rtol=0, atol=1e-6)


def test_every_mixer_with_a_convolution_is_read(small_run: RunConfig) -> None:
    having = set()
    for name in registry.SEQUENCE:
        run = of_layout(small_run, name)
        if filters_of(build(run.model, 0), run):
            having.add(name)
    assert having == {layout.partition("(")[0] for layout in (*POLES, *OTHERS)}


def by_hand(run: RunConfig, decays: Rows, angles: Rows, residues: list[list[complex]]) -> Model:
    """A hyena of two layers whose first filters have these modes, and none the others; D is 0.25."""
    model = build(run.model, 0)
    for block in model.blocks:
        mixer = block.mixer
        assert isinstance(mixer, Hyena) and isinstance(mixer.filter, ModalFilter)
        with torch.no_grad():
            mixer.filter.residues.zero_()
            mixer.skip.fill_(0.25)
            mixer.filter.log_decay[: len(decays)] = torch.tensor(decays).log()
            mixer.filter.angle[: len(decays)] = torch.tensor(angles)
            mixer.filter.residues[: len(decays)] = torch.view_as_real(torch.tensor(residues))
    return model


def test_numbers_of_poles_set_by_hand(small_run: RunConfig) -> None:
    run = dataclasses.replace(small_run, model=dataclasses.replace(small_run.model, layout="hyena"))
    # the energy of a real pole's lags from 1 on: within t of them 1 - exp(-2 t / tau), beyond 32 exp(-62 / tau)
    edge = 2 * (LENGTH - 1) / math.log(10)
    decays = [[math.log(2), 1.0], [0.1, 0.05], [1 / (0.99 * edge), 1.0], [1 / (1.01 * edge), 1.0]]
    angles = [[0.0, 0.0], [-0.3, 2 * math.pi + 1.0], [0.0, 0.0], [0.0, 0.0]]
    residues = [[4, 0], [3 + 4j, -0.5j], [1, 0], [1, 0]]
    first, second = filters_of(by_hand(run, decays, angles, residues), run)
    assert (first.h - second.h).abs().max() == 0 and len(first.h) == 16
    torch.testing.assert_close(
        first.h[0], 4 * 0.5 ** torch.arange(LENGTH) + pad(torch.tensor([0.25]), (0, 31)).double()
    )
    rows = pole_rows(first)
    got = [
        (row["channel"], row["mode"], row["radius"], row["angle"], row["residue"], row["time_constant"]) for row in rows
    ]
    expected = [
        (0, 0, 0.5, 0.0, 4.0, 1 / math.log(2)),
        (1, 0, math.exp(-0.1), 0.3, 5.0, 10.0),
        (1, 1, math.exp(-0.05), 1.0, 0.5, 20.0),
        (2, 0, math.exp(-1 / edge / 0.99), 0.0, 1.0, 0.99 * edge),
        (3, 0, math.exp(-1 / edge / 1.01), 0.0, 1.0, 1.01 * edge),
    ]
    assert [row[:2] for row in got] == [row[:2] for row in expected]
    for one, other in zip(got, expected, strict=True):
        assert one[2:] == pytest.approx(other[2:], rel=1e-5)
    assert all((row["layer"], row["mixer"], row["channels"]) == (0, "hyena", 16) for row in rows)
    told = summary(first)
    assert told["time_constant"] == pytest.approx(20.0, rel=1e-5)
    assert told["time_constant_90"] == pytest.approx((0.6 * 1.01 + 0.4 * 0.99) * edge, rel=1e-5)
    # of four filters with lags from 1 on one is longer; the others have none, nor a memory
    assert told["longer"] == pytest.approx(1 / 4)
    assert first.memory[0] == 2 and (first.memory[4:] == 0).all()  # 1 - 1 / 4, 1 - 1 / 16
    assert told["memory"] == 0
    energies = first.h.square()
    assert told["past"] == pytest.approx(float(energies[:, 1:].sum() / energies.sum()))


def test_energy_is_that_of_all_lags() -> None:
    generator = torch.Generator().manual_seed(0)
    draw = [torch.randn(3, 4, 2, generator=generator, dtype=torch.float64) for _ in range(2)]
    log_poles = torch.complex(-draw[0][..., 0].abs() - 0.02, draw[0][..., 1])
    for poles, residues in ((log_poles, torch.view_as_complex(draw[1])), (log_poles.real, draw[1][..., 0])):
        h = (residues[..., None] * (poles[..., None] * torch.arange(2000)).exp()).sum(1).real
        torch.testing.assert_close(energy(poles, residues), h.square().sum(1))


def test_a_fraction_has_the_poles_of_its_denominator(small_run: RunConfig) -> None:
    run = of_layout(small_run, "rtf(order=3,stable=false)")
    model = build(run.model, 0)
    mixer = model.get_submodule("blocks.1.mixer")
    assert isinstance(mixer, RTF)
    with torch.no_grad():
        # (1 - 0.5 / z) (1 - z^-1 + 0.5 z^-2) of poles 0.5 and 0.5 +- 0.5 i, and all 0, which no mode has
        mixer.denominator[:2] = torch.tensor([[-1.5, 1.0, -0.25], [0.0, 0.0, 0.0]])
        mixer.numerator[:2] = torch.tensor([[1.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
        # three alike: their residues are lost in rounding
        mixer.denominator[2] = torch.tensor([-1.5, 0.75, -0.125])
        mixer.numerator[2] = torch.tensor([1.0, 0.3, 0.2])
    _, found = filters_of(model, run)
    assert found.h[1, 1:6].tolist() == [1, 2, 3, 0, 0]
    rows = pole_rows(found)
    own = sorted((row["radius"], row["angle"], row["residue"]) for row in rows if row["channel"] == 0)
    # by partial fractions of z^-1: amplitudes 0.5 / ((0.5 - p) (0.5 - p*)), and twice p / ((p - 0.5) (p - p*))
    assert own[0] == pytest.approx((0.5, 0.0, 2.0 / 0.5 * 0.5), abs=1e-6)
    p = 0.5 + 0.5j
    amplitude = 2 * p**2 / ((p - 0.5) * (p - p.conjugate()))
    assert own[1] == pytest.approx((abs(p), math.pi / 4, abs(amplitude / p)), abs=1e-6)
    assert not [row for row in rows if row["channel"] == 1]
    hidden = [row for row in rows if row["channel"] == 2]
    assert hidden and all(row["residue"] is None and row["radius"] == pytest.approx(0.5, abs=1e-3) for row in hidden)
    with torch.no_grad():
        mixer.denominator[3, 0] = -1.1
    with pytest.raises(UserError, match=r"layer 1 \(blocks.1.mixer\): channel 3 has an unstable pole of size 1.1"):
        filters_of(model, run)


@pytest.mark.parametrize("length", [2, 3, 32, 1000, 1024, 4097])
def test_lags_begin_closely_and_thin_out(length: int) -> None:
    found = lags(length)
    assert found[: min(length, 12)] == list(range(min(length, 12))) and found[-1] < length
    assert all(b < 2 ** (1 / 8) * (a + 0.5) + 0.5 for a, b in itertools.pairwise([*found, length]) if a)
    assert len(found) < 12 + 8 * math.log2(length)


def test_kept_filters_span_memories_and_miss_no_lag() -> None:
    t, channels = torch.arange(200), 9
    order = [4, 7, 1, 0, 8, 2, 6, 3, 5]  # from the shortest memory to the longest
    h = torch.empty(channels, 200).double()
    for k, channel in enumerate(order):
        h[channel] = torch.exp(-t / (2.0 + 3 * k)) * torch.cos(3.0 * t)
    rows = filter_rows(Filters("blocks.3.mixer", "hyena", h, None))
    kept = list(dict.fromkeys(row["channel"] for row in rows))
    assert kept == [order[k] for k in (0, 2, 4, 6, 8)]
    own = [row for row in rows if row["channel"] == kept[-1]]
    assert [row["lag"] for row in own] == lags(200) and {row["layer"] for row in own} == {3}
    assert [row["value"] for row in own] == h[kept[-1], lags(200)].tolist()
    for row, until in zip(own, [*lags(200)[1:], 200], strict=True):
        span = h[kept[-1], row["lag"] : until]
        assert (row["low"], row["high"]) == (float(span.min()), float(span.max()))
    assert any(row["low"] < row["value"] for row in own)


def test_side_by_side_each_has_its_own(small_run: RunConfig) -> None:
    run = of_layout(small_run, "[hyena*2|attn|hyena_se]+attn")
    found = filters_of(build(run.model, 0), run)
    assert [(one.path, one.mixer, len(one.h)) for one in found] == [
        ("blocks.0.mixer.mixers.0", "hyena", 16),
        ("blocks.0.mixer.mixers.2", "hyena_se", 8),
    ]
