"""The modal Hyena against PyPI's stripedhyena; real poles; the convolution's forms; FLOPs by hand; its start.

Of stripedhyena 0.2.2, ParallelHyenaFilter runs on a CPU as it is: the short FIR, the filter from poles and residues,
the FFT convolution with both gates, prefill and decoding. Its projections are torch's linear layers, for which ours
stand. Its attention blocks need flash_attn, and its other convolutions flashfftconv; neither is used here.
"""

import dataclasses
import math

import pytest
import torch
from public import assert_same
from torch.utils.flop_counter import FlopCounterMode
from zoo import perturb, shape, stepped

from eutectic.arch.base import LayerShape
from eutectic.arch.flops import count
from eutectic.arch.mixers.hyena import Hyena
from eutectic.arch.model import build
from eutectic.errors import UserError

SHAPE = LayerShape(
    d_model=24, d_inner=24, n_heads=4, n_kv_heads=4, d_ffn=48, layer=0, n_layers=2, out_scale=0.5, n_modes=5
)
SHAPES = [SHAPE, dataclasses.replace(SHAPE, d_inner=4, n_modes=16), dataclasses.replace(SHAPE, d_inner=64, n_modes=1)]


def _mixer(shape: LayerShape, conv: str = "chunked") -> Hyena:
    """One off its start, where the FIR is the identity and D is one."""
    torch.manual_seed(3)
    return perturb(Hyena(shape, conv=conv))


def _theirs(mixer: Hyena) -> torch.nn.Module:
    model = pytest.importorskip("stripedhyena.model")
    utils = pytest.importorskip("stripedhyena.utils")
    width, modes = mixer.filter.log_decay.shape
    config = {"hidden_size": width, "num_filters": width, "state_size": modes, "num_attention_heads": 1}
    config |= {"short_filter_length": 3, "short_filter_bias": True, "hyena_filter_groups": 1}
    theirs = model.ParallelHyenaFilter(utils.dotdict(config | {"column_split_hyena": False}), 0)
    log_poles, residues = mixer.filter.poles()
    with torch.no_grad():
        theirs.D.copy_(mixer.skip)
        theirs.short_filter_weight.copy_(mixer.fir.flip(1)[:, None])
        theirs.short_filter_bias.zero_()
        theirs.poles.copy_(torch.view_as_real(log_poles.exp())[:, :, None])
        theirs.residues.copy_(torch.view_as_real(residues)[:, :, None])
    return theirs


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_stripedhyena(shape: LayerShape) -> None:
    mixer = _mixer(shape)
    x = torch.randn(2, 150, 24)
    theirs, _ = _theirs(mixer)(mixer.qkv(x))
    assert_same(mixer(x), mixer.out(theirs), 2e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_decoding_equals_stripedhyena(shape: LayerShape) -> None:
    """Its prefill of 100 tokens, then its steps, against ours."""
    mixer, cache = _mixer(shape), pytest.importorskip("stripedhyena.cache")
    x = torch.randn(2, 110, 24)
    theirs, memory = _theirs(mixer), cache.RecurrentInferenceParams()
    qkv = mixer.qkv(x)
    rows = [theirs(qkv[:, :100], memory)[0], *(theirs(qkv[:, t : t + 1], memory)[0] for t in range(100, 110))]
    y, state = mixer.prefill(x[:, :100], None)
    got = [y]
    for t in range(100, 110):
        y, state = mixer.step(x[:, t], state)
        got.append(y[:, None])
    assert_same(torch.cat(got, 1), mixer.out(torch.cat(rows, 1)), 2e-5)


def test_real_poles_step_and_prefill_as_forward() -> None:
    mixer = _mixer(dataclasses.replace(SHAPE, poles="real")).double()
    x = torch.randn(2, 130, 24, dtype=torch.float64)
    expected = mixer(x)
    assert_same(stepped(mixer, x), expected, 1e-12)
    first, state = mixer.prefill(x[:, :77], None)
    second, state = mixer.prefill(x[:, 77:], state)
    assert_same(torch.cat([first, second], 1), expected, 1e-12)
    assert state[1].shape == (2, 24, 5)
    assert state[1].dtype == torch.float64


@pytest.mark.parametrize("length", [1, 33, 64, 65, 256])
def test_real_poles_flops_equal_torchs_counter(length: int) -> None:
    config = dataclasses.replace(shape("hyena"), poles="real")
    with FlopCounterMode(display=False) as counter:
        build(config, 0).double()(torch.zeros(1, length, dtype=torch.long))
    assert counter.get_total_flops() == count(config, length).matmul


def test_the_convolutions_forms_agree() -> None:
    x = torch.randn(2, 200, 24, dtype=torch.float64)
    naive, fft, chunked = (_mixer(SHAPE, conv).double()(x) for conv in ("naive", "fft", "chunked"))
    assert_same(fft, naive, 1e-12)
    assert_same(chunked, naive, 1e-12)
    with pytest.raises(UserError, match="no conv 'direct'"):
        Hyena(SHAPE, conv="direct")


@pytest.mark.parametrize(("poles", "recurrence", "rows", "jump"), [("complex", 12, 10, 8), ("real", 4, 5, 2)])
def test_core_flops_by_hand(poles: str, recurrence: int, rows: int, jump: int) -> None:
    """128 tokens are two chunks of 64. The FIRs are 3 x 3 taps, a multiply-add each; two gates and the skip are 4."""
    mixer = Hyena(dataclasses.replace(SHAPE, poles=poles))
    fir_and_gates = 128 * 24 * (18 + 4)
    assert mixer.flops(128, "recurrence").core == 128 * 24 * 5 * recurrence + fir_and_gates
    assert mixer.flops(128, "chunked").core == 24 * (2 * 128 * (64 + 2 * rows) + 5 * jump) + fir_and_gates
    assert mixer.flops(128, "fft").core == 24 * (2 * 2.5 * 256 * 8 + 6 * 129) + fir_and_gates
    assert mixer.flops(128, "fft").projection == 2 * 128 * (24 * 72 + 24 * 24)


def test_starts_with_memories_from_1_to_256_tokens() -> None:
    torch.manual_seed(0)
    mixer = Hyena(dataclasses.replace(SHAPE, d_inner=1024, n_modes=8))
    log_poles, residues = mixer.filter.poles()
    memory = -1 / log_poles.real
    torch.testing.assert_close(memory[7], 256 ** (torch.arange(8) / 7), rtol=1e-5, atol=0)
    # so that 8 modes in white noise of variance 1, each of energy |R|^2 memory / 2 or so, sum to order 1
    torch.testing.assert_close(residues.real.var(0), 1 / (8 * memory[0]), rtol=0.3, atol=0)
    turns = log_poles.imag * memory / math.pi
    assert 0 <= turns.min() < 0.01
    assert 0.99 < turns.max() < 1
    assert torch.equal(mixer.fir, torch.tensor([1.0, 0.0, 0.0]).expand(3072, 3))
    assert torch.equal(mixer.skip, torch.ones(1024))
