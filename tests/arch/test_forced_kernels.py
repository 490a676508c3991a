"""EUTECTIC_KERNELS=reference has every layer computed by the formulas, and says so of each op once."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
import torch
import zoo
from gradients import by_paths
from torch import Tensor

from eutectic.arch import registry
from eutectic.arch.base import ChannelMixer, Layer, Mixer
from eutectic.kernels import choice, dispatch
from eutectic.kernels.reference.linear_cross_entropy import linear_cross_entropy

GROUPED, FIR = "grouped_matmul:grouped_matmul", "fir:grouped_fir"
MODAL = {"modal_conv:modal_filter", "modal_conv:causal_conv"}
# which attention is by in float64, whatever is forced
ATTENTION = {"attention:causal_attention", "attention:visible"}
SCALAR, DELTA, VECTOR = ("scalar_decay:recurrence", "delta_rule:recurrence", "vector_decay:vector_decay")
# of a layer's forward pass, and of its passes with a state where they are others
FORMULAS: dict[str, set[str]] = {
    "attn": set(),
    "swa": set(),
    "mega": MODAL,
    "s4d": MODAL,
    "hyena": MODAL | {FIR},
    "h3": MODAL | {FIR},
    "hyena_se": {FIR},
    "hyena_mr": {FIR},
    "hyena_implicit": {FIR, "modal_conv:causal_conv"},
    "monarch": {FIR, "modal_conv:causal_conv"},
    "rtf": {FIR, "modal_conv:causal_conv", "rational:difference_equation"},
    "multihyena": {FIR, "modal_conv:modal_filter", "multihead_conv:outer_product_conv"},
    "mamba": {FIR, "selective_scan:recurrence"},
    "mamba2": {FIR, SCALAR},
    "linear_attn": {SCALAR},
    "retention": {SCALAR},
    "mlstm": {SCALAR},
    "gla": {VECTOR},
    "rwkv6": {VECTOR},
    "rwkv7": {"dplr:recurrence"},
    "deltanet": {FIR, DELTA},
    "gated_deltanet": {FIR, DELTA},
    "moe": {GROUPED},
    "swiglu": set(),
    "mlp": set(),
    "rwkv_channel": set(),
    "monarch_mlp": set(),
    "none": set(),
}
PREFILLS = {
    "mega": {"modal_conv:recurrence"},
    "s4d": {"modal_conv:recurrence"},
    "hyena": {FIR, "modal_conv:recurrence"},
    "h3": {FIR, "modal_conv:recurrence"},
    "multihyena": {FIR, "multihead_conv:recurrence"},
    "rtf": {FIR, "rational:recurrence"},
}
LAYERS = [
    *((name, Mixer) for name in registry.names(Mixer)),
    *((name, ChannelMixer) for name in registry.names(ChannelMixer)),
]
every_layer = pytest.mark.parametrize(("name", "kind"), LAYERS, ids=[name for name, _ in LAYERS])


@contextmanager
def entered() -> Iterator[set[str]]:
    """The functions of kernels/reference/ that are called meanwhile, as `file:function`."""
    found: set[str] = set()

    def record(frame: FrameType, event: str, _: object) -> None:
        _, within, file = frame.f_code.co_filename.partition("/kernels/reference/")
        if event == "call" and within and not frame.f_code.co_name.startswith("<"):  # as comprehensions are
            found.add(f"{file.removesuffix('.py')}:{frame.f_code.co_name}")

    sys.setprofile(record)
    try:
        yield found
    finally:
        sys.setprofile(None)


def _layer(name: str, kind: type[Layer]) -> tuple[Layer, Tensor]:
    """Off its start, and an input; of lengths beyond a chunk."""
    block = zoo.perturbed(*((name, "none") if kind is Mixer else ("attn", name))).layers()[0]
    layer = block.mixer if kind is Mixer else block.channel
    return layer, torch.randn(2, 70, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@every_layer
def test_values_and_gradients_are_the_formulas(name: str, kind: type[Layer], monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = _layer(name, kind)
    torch.manual_seed(0)
    with entered() as formulas:
        by_torch = by_paths(layer.eval(), x, ["torch"], monkeypatch)[0]
    assert formulas <= ATTENTION
    torch.manual_seed(0)  # the same sum of outputs
    with entered() as formulas:
        by_formula = by_paths(layer, x, ["reference"], monkeypatch)[0]
    assert formulas - ATTENTION == FORMULAS[name]
    for a, b in zip(by_torch, by_formula, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9 * (1 + float(b.detach().abs().max())))


@every_layer
@torch.no_grad()
def test_so_are_parts_of_a_sequence(name: str, kind: type[Layer], monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = _layer(name, kind)
    outcomes = []
    for forced in ("torch", "reference"):
        monkeypatch.setenv(choice.VARIABLE, forced)
        state = layer.eval().init_state(2, 70)
        with entered() as formulas:
            first, state = layer.prefill(x[:, :33], state)
            second, _ = layer.prefill(x[:, 33:], state)
        outcomes.append(torch.cat([first, second], 1))
    assert formulas - ATTENTION == PREFILLS.get(name, FORMULAS[name])
    torch.testing.assert_close(*outcomes, rtol=1e-8, atol=1e-9)


@every_layer
@pytest.mark.parametrize("autocast", [True, False])
@torch.no_grad()
def test_in_bf16_too(name: str, kind: type[Layer], autocast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its dtype and near to torch's, whether the layer is narrow or computed so."""
    layer, x = _layer(name, kind)
    layer, x = layer.eval().to(torch.float32 if autocast else torch.bfloat16), x[:, :20].bfloat16()
    outcomes = []
    for forced in ("torch", "reference"):
        monkeypatch.setenv(choice.VARIABLE, forced)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            outcomes.append(layer(x))
    assert outcomes[0].dtype == outcomes[1].dtype
    a, b = (y.float() for y in outcomes)
    assert (a - b).norm() <= 0.05 * a.norm()


@every_layer
def test_it_compiles_in_one_graph(name: str, kind: type[Layer], monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = _layer(name, kind)
    monkeypatch.setenv(choice.VARIABLE, "reference")
    torch._dynamo.reset()
    compiled = torch.compile(layer.eval(), backend="eager", fullgraph=True, dynamic=False)
    torch.testing.assert_close(compiled(x[:, :5]), layer(x[:, :5]), rtol=1e-10, atol=1e-10)


def test_the_loss_is_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    g = torch.Generator().manual_seed(0)
    x, weight = torch.randn(7, 4, generator=g).requires_grad_(), torch.randn(11, 4, generator=g).requires_grad_()
    targets = torch.randint(11, (7,), generator=g)
    expected = torch.autograd.grad(linear_cross_entropy(x, weight, targets, 2.0), [x, weight])
    for forced in ("torch", "reference"):
        monkeypatch.setenv(choice.VARIABLE, forced)
        with entered() as formulas:
            loss = dispatch.linear_cross_entropy(x, weight, targets, 2.0, 3)
        assert bool(formulas) == (forced == "reference")
        torch.testing.assert_close(torch.autograd.grad(loss, [x, weight]), expected)


@pytest.mark.parametrize("forced", ["reference", "torch"])
def test_it_is_said_once_of_each_op(
    forced: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(choice, "_said", set())
    monkeypatch.setenv(choice.VARIABLE, forced)
    for name, kind in LAYERS:
        layer, x = _layer(name, kind)
        layer(x[:, :5])
    ops = [
        "gated modal convolution",
        "modal convolution",
        "short FIR",
        "FIR",
        "long convolution",
        "Monarch convolution",
    ]
    ops += ["multi-head convolution", "rational filter", "scalar decay", "vector decay", "delta rule"]
    ops += ["diagonal plus low rank", "selective scan", "grouped matmul"]
    said = capsys.readouterr().err.splitlines()
    assert sorted(said) == sorted(f"{op}: {forced}, by EUTECTIC_KERNELS" for op in ops)
