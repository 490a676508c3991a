"""Every attention that this GPU has, in bfloat16, against the oracle in float64 on the same inputs; compiled, captured.

A library that is not installed is skipped; `pip install 'eutectic[gpu]'` has flash-attn-4.
"""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend
from torch.nn.functional import scaled_dot_product_attention

from eutectic.kernels import choice, dispatch, flash_attention, torch_attention
from eutectic.kernels.reference.attention import causal_attention, visible

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]

Attention = Callable[[Tensor, Tensor, Tensor, int | None], Tensor]
LIBRARIES = {library.name: library for library in flash_attention.LIBRARIES}
BACKENDS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "fa2": SDPBackend.FLASH_ATTENTION}
CAN_USE = {"cudnn": torch.backends.cuda.can_use_cudnn_attention, "fa2": torch.backends.cuda.can_use_flash_attention}
HEADS = [(8, 8), (8, 2)]
every_path = pytest.mark.parametrize("path", [*LIBRARIES, *BACKENDS, "torch", "dispatch"])
every_kind = pytest.mark.parametrize("ordered", [False, True])


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing forced, nothing ordered, and NaN in the memory that is allocated next."""
    monkeypatch.delenv(choice.VARIABLE, raising=False)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # which would fill what the fixture has filled
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)
    poison = torch.full((1 << 28,), float("nan"), device="cuda")
    del poison
    monkeypatch.setattr(torch_attention, "BACKENDS", [*torch_attention.BACKENDS])
    torch.compiler.reset()
    yield
    torch.use_deterministic_algorithms(False)


def attention(path: str, heads: tuple[int, int], dim: int, window: int | None, ordered: bool) -> Attention:
    """One of them as a function; skips where this GPU has it not, or not for such heads, windows or order."""
    torch.use_deterministic_algorithms(ordered)
    if path in LIBRARIES:
        library, grouped = LIBRARIES[path], heads[0] != heads[1]
        if not flash_attention.importable(library.name, library.module):
            pytest.skip(f"{path} is not installed")
        major, _ = torch.cuda.get_device_capability()
        refusal = library.refusal(major, torch.bfloat16, dim, grouped, ordered)
        if refusal:
            pytest.skip(f"{path} {refusal}")
        return lambda q, k, v, window: flash_attention.attend(path, q, k, v, window, ordered)
    if path in BACKENDS:
        q, k = (torch.empty(2, n, 256, dim, device="cuda", dtype=torch.bfloat16) for n in heads)
        params = torch.backends.cuda.SDPAParams(q, k, k, None, 0.0, True, heads[0] != heads[1])
        if window or not CAN_USE[path](params):
            pytest.skip(f"torch's {path} does not take it")
        torch_attention.BACKENDS[:] = [BACKENDS[path]]
        return torch_attention.attend
    return torch_attention.attend if path == "torch" else dispatch.attention


def draw(length: int, heads: tuple[int, int], dim: int, seed: int = 0) -> tuple[list[Tensor], Tensor]:
    """q, k, v, as a mixer has them, (batch, length, heads, dim) transposed, and a gradient of the output."""
    g = torch.Generator("cuda").manual_seed(seed)
    n_heads, n_kv_heads = heads

    def normal(n: int) -> Tensor:
        x = torch.randn(2, length, n, dim, generator=g, device="cuda", dtype=torch.bfloat16)
        return x.transpose(1, 2)

    qkv = [normal(n).requires_grad_() for n in (n_heads, n_kv_heads, n_kv_heads)]
    return qkv, normal(n_heads)


def passes(attend: Attention, inputs: list[Tensor], dout: Tensor, window: int | None) -> list[Tensor]:
    """The output and the gradients of q, k and v."""
    out = attend(*inputs, window)
    return [out.detach(), *torch.autograd.grad(out, inputs, dout)]


def oracle(inputs: list[Tensor], dout: Tensor, window: int | None) -> list[Tensor]:
    exact = [t.detach().double().requires_grad_() for t in inputs]
    return passes(causal_attention, exact, dout.double(), window)


def errors(got: list[Tensor], expected: list[Tensor]) -> list[float]:
    return [float((a.double() - b).norm() / b.norm()) for a, b in zip(got, expected, strict=True)]


def masked(q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
    """What torch itself makes of it in bfloat16, by whatever reads a mask."""
    seen = visible(q.shape[2], k.shape[2], window, q.device)
    return scaled_dot_product_attention(q, k, v, seen, enable_gqa=q.shape[1] != k.shape[1])


@pytest.mark.parametrize("length", [257, 1024])
@pytest.mark.parametrize("window", [None, 128])
@pytest.mark.parametrize("dim", [64, 128])
@pytest.mark.parametrize("heads", HEADS, ids=str)
@every_kind
@every_path
def test_values_and_gradients(
    path: str, ordered: bool, heads: tuple[int, int], dim: int, window: int | None, length: int
) -> None:
    attend = attention(path, heads, dim, window, ordered)
    inputs, dout = draw(length, heads, dim)
    got = passes(attend, inputs, dout, window)
    torch.use_deterministic_algorithms(False)
    expected = oracle(inputs, dout, window)
    assert [t.dtype for t in got] == [torch.bfloat16] * 4
    torchs = errors(passes(masked, inputs, dout, window), expected)
    for name, error, allowed in zip(("y", "dq", "dk", "dv"), errors(got, expected), torchs, strict=True):
        assert error <= max(5e-3, allowed), f"{name}: {error:.2e}, torch's own {allowed:.2e}"


@every_path
def test_the_gradient_may_lie_anyhow_in_memory(path: str) -> None:
    attend = attention(path, (8, 2), 64, None, False)
    inputs, dout = draw(256, (8, 2), 64)
    for laid_out in (dout, dout.contiguous(), dout):
        expected = oracle(inputs, laid_out, None)
        assert max(errors(passes(attend, inputs, laid_out, None), expected)) <= 5e-3


@pytest.mark.parametrize("queries", [1, 100])
@pytest.mark.parametrize("window", [None, 128])
@pytest.mark.parametrize("heads", HEADS, ids=str)
@pytest.mark.parametrize("path", [*LIBRARIES, "torch", "dispatch"])
def test_the_last_queries_of_longer_keys(path: str, heads: tuple[int, int], window: int | None, queries: int) -> None:
    attend = attention(path, heads, 64, window, False)
    (q, k, v), _ = draw(257, heads, 64)
    got = attend(q[:, :, -queries:], k, v, window).detach()
    expected = causal_attention(*(t.detach().double() for t in (q, k, v)), window)[:, :, -queries:]
    assert errors([got], [expected])[0] <= 5e-3


@pytest.mark.parametrize("window", [None, 128])
@every_path
def test_what_is_not_finite_stays_in_its_sequence(path: str, window: int | None) -> None:
    attend = attention(path, (8, 2), 64, window, False)
    inputs, dout = draw(257, (8, 2), 64)
    before = passes(attend, inputs, dout, window)
    with torch.no_grad():
        inputs[0][1, :, 5], inputs[2][1, :, 7] = float("nan"), float("inf")
    for a, b in zip(passes(attend, inputs, dout, window), before, strict=True):
        assert not b.isnan().any()
        assert a[1].isnan().any()
        torch.testing.assert_close(a[0], b[0], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("window", [None, 128])
@pytest.mark.parametrize("dim", [64, 128])
@pytest.mark.parametrize("heads", HEADS, ids=str)
@every_path
def test_in_order_twice_is_the_same_to_the_bit(path: str, heads: tuple[int, int], dim: int, window: int | None) -> None:
    attend = attention(path, heads, dim, window, True)
    inputs, dout = draw(2048, heads, dim)
    first = passes(attend, inputs, dout, window)
    for _ in range(5):
        for a, b in zip(passes(attend, inputs, dout, window), first, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("window", [None, 128])
@pytest.mark.parametrize("heads", HEADS, ids=str)
@every_path
def test_compiled_and_captured_it_is_the_same(path: str, heads: tuple[int, int], window: int | None) -> None:
    """As a step of training has it: compiled, warmed up and replayed with other inputs; in order, but for cuDNN."""
    attend = attention(path, heads, 64, window, path != "cudnn")
    inputs, dout = draw(1024, heads, 64)
    q, k, _ = inputs
    by = dispatch.attention_by(q.device, q.dtype, 64, q.shape != k.shape) if path == "dispatch" else path
    # whether the older libraries are ops is their own affair
    compiled = torch.compile(attend, dynamic=False, fullgraph=by not in ("flash-attn", "flash-attn-3"))
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            passes(compiled, inputs, dout, window)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = passes(compiled, inputs, dout, window)
    others, dout_other = draw(1024, heads, 64, seed=1)
    with torch.no_grad():
        for a, b in zip([*inputs, dout], [*others, dout_other], strict=True):
            a.copy_(b)
    graph.replay()
    torch.cuda.synchronize()
    eager, replayed = passes(attend, inputs, dout, window), [t.clone() for t in captured]
    if by == "cudnn" or (window and by == "torch"):  # no order; blocks, which a compiler may round apart
        assert max(errors(replayed, [t.double() for t in eager])) < 5e-3
    else:
        assert all(torch.equal(a, b) for a, b in zip(replayed, eager, strict=True))


def test_dispatch_takes_the_best_there_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(choice, "_said", set())
    major, _ = torch.cuda.get_device_capability()
    fit = [
        library.name
        for library in flash_attention.LIBRARIES
        if flash_attention.importable(library.name, library.module)
        and not library.refusal(major, torch.bfloat16, 64, False, False)
    ]
    expected = fit[0] if fit else "torch"
    assert dispatch.attention_by(torch.device("cuda", 0), torch.bfloat16, 64, False) == expected
    assert capsys.readouterr().err.startswith(f"attention: {expected}")
