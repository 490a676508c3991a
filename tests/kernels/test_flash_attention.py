"""The flash-attn family: which is chosen and what is said of it, and what is asked of it, against the oracle.

On the CPU, by stand-ins (tests/support/fake_flash.py); tests/gpu/test_attention.py is of the libraries themselves.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import fake_flash
import pytest
import torch
from gradients import assert_equal
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from eutectic.kernels import choice, dispatch, flash_attention
from eutectic.kernels.reference.attention import causal_attention

CUDA = torch.device("cuda")
BF16 = torch.bfloat16
NAMES = [library.name for library in flash_attention.LIBRARIES]


@pytest.fixture
def hopper(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that has asked for nothing yet, on a Hopper GPU and without any library."""
    for name in [name for name in sys.modules if name.startswith("flash_attn")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(choice, "_said", set())
    monkeypatch.delenv(choice.VARIABLE, raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    flash_attention.importable.cache_clear()
    torch.compiler.reset()
    yield
    flash_attention.importable.cache_clear()
    for name in [name for name in sys.modules if name.startswith("flash_attn")]:
        sys.modules.pop(name)


@pytest.fixture
def in_order() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def _qkv(length: int, heads: int, kv_heads: int, dim: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """As a mixer has them: (batch, heads, length, dim), views of (batch, length, heads, dim)."""
    g = torch.Generator().manual_seed(length)
    each = (torch.randn(2, length, n, dim, generator=g, dtype=dtype) for n in (heads, kv_heads, kv_heads))
    return [t.transpose(1, 2).requires_grad_() for t in each]


def _package(folder: Path, module: str, code: str) -> None:
    path = folder.joinpath(*module.split("."))
    path.mkdir(parents=True, exist_ok=True)
    (path / "__init__.py").write_text(code)


@pytest.mark.parametrize("installed", [[], *([name] for name in NAMES), NAMES[1:], NAMES])
def test_the_first_that_is_installed_is_chosen(
    installed: list[str], hopper: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in installed:
        fake_flash.install(name, monkeypatch)
    expected = installed[0] if installed else "torch"
    for _ in range(2):
        assert dispatch.attention_by(CUDA, BF16, 64, False) == expected
    assert capsys.readouterr().err == f"attention: {expected}\n"


@pytest.mark.parametrize(
    ("dtype", "dim", "capability", "why"),
    [
        (torch.float32, 64, 9, "does not take torch.float32"),
        (BF16, 20, 9, "does not take heads of 20, but of multiples of 8 to 256"),
        (BF16, 264, 9, "does not take heads of 264, but of multiples of 8 to 256"),
        (BF16, 136, 10, "does not take heads of 136, but of multiples of 8 to 128"),
        (BF16, 64, 8, "is not for compute capability 8"),
    ],
)
def test_one_that_does_not_fit_is_passed_over_and_said_why(
    dtype: torch.dtype,
    dim: int,
    capability: int,
    why: str,
    hopper: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (capability, 0))
    fake_flash.install("flash-attn-4", monkeypatch)
    assert dispatch.attention_by(CUDA, dtype, dim, False) == "torch"
    assert capsys.readouterr().err == f"attention: torch; flash-attn-4 {why}\n"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert dispatch.attention_by(CUDA, torch.float16, 128, False) == "flash-attn-4"


def test_an_older_gpu_takes_the_older_library(hopper: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        fake_flash.install(name, monkeypatch)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    assert dispatch.attention_by(CUDA, BF16, 64, False) == "flash-attn"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert dispatch.attention_by(CUDA, torch.float16, 64, False) == "torch"


def test_one_without_a_fixed_order_is_passed_over_where_it_matters(
    hopper: None, in_order: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatch.attention_by(CUDA, BF16, 64, True) == "torch"
    assert capsys.readouterr().err == "attention: torch; torch's cuDNN does not add in a fixed order\n"
    flash_attention.importable.cache_clear()
    fake_flash.install("flash-attn-3", monkeypatch)
    assert dispatch.attention_by(CUDA, BF16, 64, False) == "flash-attn-3"
    assert dispatch.attention_by(CUDA, BF16, 64, True) == "torch"
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert dispatch.attention_by(CUDA, BF16, 64, True) == "flash-attn-3"


@pytest.mark.parametrize("kind", ["reference", "torch", "triton"])
def test_the_environment_forces(
    kind: str, hopper: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_flash.install("flash-attn-4", monkeypatch)
    monkeypatch.setenv(choice.VARIABLE, kind)
    expected = "flash-attn-4" if kind == "triton" else kind
    assert dispatch.attention_by(CUDA, BF16, 64, False) == expected
    said = "flash-attn-4" if kind == "triton" else f"{kind}, by EUTECTIC_KERNELS"
    assert capsys.readouterr().err == f"attention: {said}\n"
    assert dispatch.attention_by(torch.device("cpu"), BF16, 64, False) == ("torch" if kind == "triton" else kind)


def test_the_reference_is_computed_where_it_is_forced(hopper: None, monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = _qkv(30, 4, 2, 8, torch.float32)
    monkeypatch.setenv(choice.VARIABLE, "reference")
    assert torch.equal(dispatch.attention(q, k, v, 7), causal_attention(q, k, v, 7))
    assert not torch.equal(dispatch.torch_attention.attend(q, k, v, 7), causal_attention(q, k, v, 7))


def test_a_cpu_has_torchs_and_nothing_to_say(
    hopper: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in NAMES:
        fake_flash.install(name, monkeypatch)
    assert dispatch.attention_by(torch.device("cpu"), BF16, 64, False) == "torch"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("ImportError('libcudart.so.13: no such file')", "ImportError: libcudart.so.13: no such file"),
        ("OSError('undefined symbol\\nand more')", "OSError: undefined symbol"),
        ("RuntimeError()", "RuntimeError: "),
        ("ModuleNotFoundError('No module named x', name='x')", "ModuleNotFoundError: No module named x"),
        ("AttributeError('no such function')", "AttributeError: no such function"),
    ],
)
def test_one_that_cannot_be_imported_is_said_once_and_done_without(
    raised: str,
    said: str,
    hopper: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _package(tmp_path, "flash_attn.cute", f"raise {raised}")
    _package(tmp_path, "flash_attn_interface", "flash_attn_func = print")
    monkeypatch.syspath_prepend(tmp_path)
    for _ in range(2):
        assert dispatch.attention_by(CUDA, BF16, 64, False) == "flash-attn-3"
    assert capsys.readouterr().err == (
        f"flash-attn-4: cannot be imported ({said}); attention does without\nattention: flash-attn-3\n"
    )


def test_one_of_which_a_part_is_missing_is_done_without(
    hopper: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Found when it is chosen, and not by the first gradient."""
    _package(tmp_path, "flash_attn.cute", "flash_attn_func = print")
    _package(tmp_path, "flash_attn.cute.interface", "")
    monkeypatch.syspath_prepend(tmp_path)
    assert not flash_attention.importable("flash-attn-4", "flash_attn.cute")
    assert "flash-attn-4: cannot be imported (AttributeError: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "name"), [("flash_attn.cute", "flash-attn-4"), ("flash_attn.flash_attn_interface", "flash-attn")]
)
def test_the_two_that_share_a_package_are_told_apart(
    module: str,
    name: str,
    hopper: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """flash-attn-4 is a part of a package that only flash-attn has a head of."""
    _package(tmp_path, module, "flash_attn_func = print")
    _package(tmp_path, f"{module}.interface", "_flash_attn_bwd = print")
    if name == "flash-attn":
        _package(tmp_path, "flash_attn", "")
    monkeypatch.syspath_prepend(tmp_path)
    assert [x.name for x in flash_attention.LIBRARIES if flash_attention.importable(x.name, x.module)] == [name]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("library", NAMES)
@settings(max_examples=25, deadline=None)
@example(length=9, past=4, window=3, heads=(4, 2))
@example(length=9, past=0, window=3, heads=(4, 2))
@given(
    length=st.integers(1, 40),
    past=st.integers(0, 20),
    window=st.none() | st.integers(1, 50),
    heads=st.sampled_from([(2, 2), (4, 2), (3, 1)]),
)
def test_what_is_asked_of_a_library_is_the_oracles_attention(
    library: str, length: int, past: int, window: int | None, heads: tuple[int, int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        fake_flash.install(library, patch)
        inputs = _qkv(length + past, *heads, 8)
        q, k, v = inputs[0][:, :, past:], *inputs[1:]
        got = flash_attention.attend(library, q, k, v, window, False)
        assert got.transpose(1, 2).is_contiguous()  # so that the mixer makes no copy
        # float32 are the normalizers
        assert_equal([got], [causal_attention(q, k, v, window)], inputs, 1e-6)


@pytest.mark.parametrize("library", NAMES)
@pytest.mark.parametrize("strict", [False, True])
def test_a_fixed_order_is_asked_for_where_torch_must_have_it(
    library: str, strict: bool, hopper: None, in_order: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_flash.install(library, monkeypatch)
    monkeypatch.setattr(dispatch, "attention_by", lambda *_: library)
    torch.use_deterministic_algorithms(True, warn_only=not strict)
    dispatch.attention(*_qkv(20, 2, 2, 8, torch.float32)).sum().backward()
    assert fake_flash.asked == [{"library": library, "deterministic": strict}]


def test_autocast_reaches_a_library(hopper: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries and keys that a norm left in float32 beside values in bfloat16."""
    fake_flash.install("flash-attn-4", monkeypatch)
    monkeypatch.setattr(dispatch, "attention_by", choice.constant(lambda *_: "flash-attn-4"))
    q, k, v = (t.detach().to(torch.float32) for t in _qkv(20, 4, 2, 8))
    compiled = torch.compile(dispatch.attention, dynamic=False, fullgraph=True, backend="aot_eager")
    assert compiled(q, k, v).dtype == torch.float32
    with torch.autocast("cpu", BF16):
        got = dispatch.attention(q, k, v.to(BF16))
        assert torch.equal(compiled(q, k, v), got)
    assert got.dtype == BF16
    torch.testing.assert_close(got.float(), causal_attention(q, k, v), rtol=0.02, atol=0.02)


def test_the_ops_are_what_a_compiler_takes_them_for(hopper: None, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_flash.install("flash-attn-4", monkeypatch)
    # rotated queries and keys are contiguous as (batch, heads, length, dim), which these are not
    q, k, v = (t.detach().contiguous().transpose(1, 2).requires_grad_() for t in _qkv(20, 4, 2, 8, torch.float32))
    torch.library.opcheck(flash_attention.attention_4, (q, k, v, 3, True))
    plain = [t.detach() for t in (q, k, v)]
    out, lse = flash_attention.attention_4(*plain, None, True)
    torch.library.opcheck(flash_attention.backward_4, (torch.randn_like(out), *plain, out, lse, None, True))


@pytest.mark.parametrize("library", [*NAMES, "torch"])
@pytest.mark.parametrize("window", [None, 5])
def test_compiled_in_one_graph_it_is_the_same(
    library: str, window: int | None, hopper: None, in_order: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library != "torch":
        fake_flash.install(library, monkeypatch)
    asked: list[tuple[object, ...]] = []

    @choice.constant
    def attention_by(*attention: object) -> str:
        asked.append(attention)
        return library

    monkeypatch.setattr(dispatch, "attention_by", attention_by)
    inputs = _qkv(20, 4, 2, 8, torch.float32)
    compiled = torch.compile(dispatch.attention, dynamic=False, fullgraph=True, backend="aot_eager")
    eager = dispatch.attention(*inputs, window)
    assert_equal([compiled(*inputs, window)], [eager], inputs, 1e-6)
    assert asked == [(torch.device("cpu"), torch.float32, 8, True)] * 2
    # and compiled again when the order of sums matters no more
    torch.use_deterministic_algorithms(False)
    fake_flash.asked.clear()
    compiled(*inputs, window).sum().backward()
    assert library == "torch" or {call["deterministic"] for call in fake_flash.asked} == {False}
