"""What every registered mixer must do: registering one buys these tests."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from zoo import CASES, IDS, SHAPE, perturb, perturbed, shape, tokens

from eutectic.arch import registry
from eutectic.arch.base import ChannelMixer, Layer, Mixer
from eutectic.arch.flops import count
from eutectic.arch.layout import MixerTerm
from eutectic.arch.model import Model, blank, build
from eutectic.config import ModelConfig
from eutectic.train import checkpoint

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
every_mixer = pytest.mark.parametrize(("layout", "channel"), CASES, ids=IDS)


@every_mixer
def test_causality(layout: str, channel: str) -> None:
    model = perturbed(layout, channel)
    read = tokens(2, 150)
    changed = read.clone()
    changed[1, 97] = (changed[1, 97] + 1) % 50
    before, after = model(read).detach(), model(changed).detach()
    scale = before.abs().max()
    torch.testing.assert_close(after[:, :97], before[:, :97], rtol=0, atol=1e-12 * float(scale))
    torch.testing.assert_close(after[0], before[0], rtol=0, atol=1e-12 * float(scale))
    # a sequence mixer carries it to the next tokens, too
    assert (after[1, 97:101] - before[1, 97:101]).abs().amax(-1).min() > 1e-9


@every_mixer
@pytest.mark.parametrize("spoilt", [math.nan, math.inf])
def test_what_is_not_finite_stays_in_its_sequence(layout: str, channel: str, spoilt: float) -> None:
    """In what leaves each block and in the gradient of what enters it."""
    for block in perturbed(layout, channel).layers():
        x = torch.randn(3, 70, SHAPE.d_model, dtype=torch.float64)
        bad = x.clone()
        bad[1, 40] = spoilt
        outcomes = []
        for entering in (x, bad):
            entering.requires_grad_()
            y = block(entering)
            outcomes.append((y.detach(), *torch.autograd.grad(y.sum(), entering)))
        assert not outcomes[1][0][1].isfinite().all()
        for before, after in zip(*outcomes, strict=True):
            torch.testing.assert_close(after[::2], before[::2], rtol=0, atol=1e-12 * float(before.abs().max()))


@every_mixer
def test_counted_without_memory_it_has_the_parameters_that_it_has(layout: str, channel: str) -> None:
    there, counted = (make(shape(layout, channel)).state_dict() for make in (Model, blank))
    assert {k: (v.shape, v.dtype) for k, v in counted.items()} == {k: (v.shape, v.dtype) for k, v in there.items()}


@every_mixer
def test_step_and_prefill_equal_forward(layout: str, channel: str) -> None:
    model = perturbed(layout, channel).eval()
    read = tokens(2, 257, seed=2)
    expected = model(read)
    tolerance = {"rtol": 1e-8, "atol": 1e-9 * float(expected.detach().abs().max())}
    states, rows = model.init_state(2, 257), []
    for t in range(257):
        logits, states = model.step(read[:, t], states)
        rows.append(logits)
    torch.testing.assert_close(torch.stack(rows, 1), expected, **tolerance)
    # in parts of odd lengths, then token by token
    first, states = model.prefill(read[:, :77], model.init_state(2, 257))
    second, states = model.prefill(read[:, 77:250], states)
    parts = [model.logits(first), model.logits(second)]
    for t in range(250, 257):
        logits, states = model.step(read[:, t], states)
        parts.append(logits[:, None])
    torch.testing.assert_close(torch.cat(parts, 1), expected, **tolerance)


@pytest.mark.parametrize("name", registry.names(Mixer))
def test_side_by_side_a_mixer_has_its_share_of_channels(name: str) -> None:
    layout = f"[{name}|attn]"
    model = perturbed(layout).eval()
    read = tokens(2, 70, seed=3)
    expected = model(read)
    first, states = model.prefill(read[:, :33], model.init_state(2, 70))
    rows = [model.logits(first)]
    for t in range(33, 70):
        logits, states = model.step(read[:, t], states)
        rows.append(logits[:, None])
    torch.testing.assert_close(
        torch.cat(rows, 1), expected, rtol=1e-8, atol=1e-9 * float(expected.detach().abs().max())
    )
    with FlopCounterMode(display=False) as counter:
        model(read[:1])
    counts = count(shape(layout), 70)
    assert counter.get_total_flops() == counts.matmul
    whole = count(shape(name), 70)
    assert counts.state.dim < 0.8 * whole.state.dim + count(shape("attn"), 70).state.dim


@pytest.mark.parametrize("length", [1, 33, 64, 65, 256])
@every_mixer
def test_flops_equal_torchs_counter(layout: str, channel: str, length: int) -> None:
    model = build(shape(layout, channel), 0).double().eval()
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, length, dtype=torch.long))
    assert counter.get_total_flops() == count(shape(layout, channel), length).matmul


@every_mixer
def test_charged_flops_are_sane(layout: str, channel: str) -> None:
    for algorithm in ("recurrence", "chunked", "fft"):
        one, two = (count(shape(layout, channel), length, algorithm) for length in (256, 512))
        assert 0 < one.core <= one.core_full
        assert 2 * one.projection == two.projection
        assert 2 * one.core <= two.core <= 4.2 * one.core


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@every_mixer
def test_state_size_is_the_caches(layout: str, channel: str, dtype: torch.dtype) -> None:
    """Those that a model under autocast or in bfloat16 really keeps: states in float32, caches in its dtype."""
    model = build(shape(layout, channel), 0).to(dtype).eval()
    for length in (1, 9, 70):
        _, states = model.prefill(tokens(1, length))
        _check_bytes(model, states, length, dtype)
        states = model.init_state(1, length + 1)
        assert not any(leaf.any() for leaf in tree_leaves(states))
        _, states = model.prefill(tokens(1, length), states)
        _, states = model.step(tokens(1, 1)[:, 0], states)
        _check_bytes(model, states, length + 1, dtype)


def _check_bytes(model: Model, states: list[object], length: int, dtype: torch.dtype) -> None:
    for block, state in zip(model.layers(), states, strict=True):
        tensors = [leaf for leaf in tree_leaves(state) if leaf.is_floating_point() or leaf.is_complex()]
        size = block.state_size(length)
        assert sum(t.numel() * (1 + t.is_complex()) for t in tensors) == size.dim
        assert sum(t.numel() * t.element_size() for t in tensors) == size.bytes(dtype)


@every_mixer
def test_parameters_by_group(layout: str, channel: str) -> None:
    counts = count(shape(layout, channel), 64)
    real = build(shape(layout, channel), 0)
    assert counts.params == sum(p.numel() for p in real.parameters())
    assert counts.params_embedding == 50 * 32
    assert counts.params_norm == (3 if channel == "none" else 5) * 32
    assert 0 < counts.params_active <= counts.params
    assert (counts.params_active < counts.params) == channel.startswith("moe")


@every_mixer
def test_loss_starts_at_ln_vocab(layout: str, channel: str) -> None:
    model = build(shape(layout, channel, vocab_size=256), 0)
    read = tokens(4, 129, vocab_size=256)
    loss = torch.nn.functional.cross_entropy(model(read[:, :-1]).flatten(0, 1), read[:, 1:].flatten())
    assert loss.item() == pytest.approx(5.545, rel=0.02)


@pytest.mark.parametrize("tied", [True, False])
def test_wide_models_too_start_at_ln_vocab(tied: bool) -> None:
    model = build(ModelConfig("attn", 4, 1024, 16, 16, 2736, 4096, tied=tied), 0)
    read = tokens(1, 129, vocab_size=4096)
    loss = torch.nn.functional.cross_entropy(model(read[:, :-1])[0], read[0, 1:])
    assert loss.item() == pytest.approx(8.318, rel=0.02)


def test_the_initial_scale_is_of_weights_alone() -> None:
    config = shape("hyena+mamba2", "moe")
    plain, scaled = (dict(build(config, 0, scale).named_parameters()) for scale in (1.0, 0.5))
    halved = {name for name, value in plain.items() if not torch.equal(value, scaled[name])}
    assert all(torch.equal(0.5 * plain[name], scaled[name]) for name in halved)
    weights = ("mixer.qkv.weight", "mixer.out.weight", "channel.up", "channel.down", "channel.router.weight")
    first = {name.removeprefix("blocks.0.") for name in halved if "blocks.1" not in name}
    assert first == {"embedding.weight", *weights}
    kept = {name.rpartition(".")[2] for name in plain.keys() - halved}
    assert kept >= {"fir", "residues", "log_decay", "angle", "skip", "A_log", "dt_bias", "conv_bias"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [*((n, Mixer) for n in registry.names(Mixer)), *((n, ChannelMixer) for n in registry.names(ChannelMixer))],
)
def test_what_is_written_to_the_residual_stream_shrinks_with_depth(name: str, kind: type[Layer]) -> None:
    """At the start a mixer's output is proportional to the scale its depth gives it (Radford et al. 2019, 2.3).

    mega's is not: it writes a gated update of the stream, phi (H - X), of which no projection sets the size.
    """
    if name in ("none", "mega"):
        return
    outputs = []
    for scale in (1.0, 0.25):
        torch.manual_seed(0)
        layer = registry.make(MixerTerm(name), kind, dataclasses.replace(SHAPE, out_scale=scale)).eval()
        outputs.append(layer(torch.randn(2, 40, 32, generator=torch.Generator().manual_seed(1))))
    assert outputs[0].abs().max() > 0
    torch.testing.assert_close(outputs[1], 0.25 * outputs[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@every_mixer
def test_bf16_is_float32_to_its_precision(layout: str, channel: str, device: str) -> None:
    """Weights in bfloat16, and float32 weights under autocast, forward and backward.

    Norms of nearly cancelling sums and choices of experts magnify rounding, so the yardstick is what rounding the
    weights alone does to the float32 model; arithmetic may add as much again, and half.
    """
    model = build(shape(layout, channel), 0).to(device)
    read = tokens(2, 130).to(device)
    exact = model(read).detach()
    with torch.autocast(device, torch.bfloat16):
        logits = model(read)
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), read.flatten())
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    narrow = build(shape(layout, channel), 0).to(device, torch.bfloat16)
    rounded = _error(build(shape(layout, channel), 0).to(device, torch.bfloat16).to(torch.float32)(read), exact)
    assert _error(logits, exact) < max(0.03, 2.5 * rounded)
    assert _error(narrow(read), exact) < max(0.03, 2.5 * rounded)


def _error(got: torch.Tensor, exact: torch.Tensor) -> float:
    """Root mean square, of that of the exact values."""
    assert got.isfinite().all()
    return float(((got.detach().float() - exact).square().mean() / exact.square().mean()).sqrt())


@every_mixer
def test_gradients_are_the_finite_differences(layout: str, channel: str) -> None:
    """One layer in training mode, its penalty included, in every parameter and the input, along random directions."""
    block = perturbed(layout, channel).layers()[1]
    x = torch.randn(1, 70, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    names, parameters = zip(*block.named_parameters(), strict=True)

    def run(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        y = torch.func.functional_call(block, dict(zip(names, values, strict=True)), x)
        penalties = [m.penalty for m in block.modules() if getattr(m, "penalty", None) is not None]
        return torch.cat([y.flatten(), *(p.flatten() for p in penalties)])

    inputs = (x, *(p.detach().clone() for p in parameters))
    inputs = tuple(value.requires_grad_() for value in inputs)
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True, eps=1e-6, atol=1e-5, rtol=1e-4)


@every_mixer
def test_a_checkpoint_round_trips(layout: str, channel: str, tmp_path: Path) -> None:
    model = perturb(build(shape(layout, channel), 0)).eval()
    optimizer = torch.optim.AdamW(model.parameters())
    model(tokens(1, 20)).sum().backward()
    optimizer.step()
    checkpoint.save(tmp_path / "c", "id", model, optimizer, checkpoint.Progress())
    other = build(shape(layout, channel), 1).eval()
    checkpoint.load(tmp_path / "c", "id", other, torch.optim.AdamW(other.parameters()))
    assert torch.equal(other(tokens(2, 70)), model(tokens(2, 70)))


@every_mixer
def test_traces_whole_for_the_compiler(layout: str, channel: str) -> None:
    """dynamo takes one layer in without a graph break, and what it traced computes the same."""
    torch._dynamo.reset()
    block = perturbed(layout, channel).float().layers()[0]
    x = torch.randn(2, 130, 32, generator=torch.Generator().manual_seed(8))
    got = torch.compile(block, backend="eager", fullgraph=True)(x)
    torch.testing.assert_close(got, block(x), rtol=1e-4, atol=1e-4)
