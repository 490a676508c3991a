"""What is chosen where, told from the names of devices: of a GPU without one."""

from collections.abc import Callable

import pytest
import torch

from eutectic.errors import UserError
from eutectic.kernels import choice, dispatch

BF16, FP16, FP32, FP64 = torch.bfloat16, torch.float16, torch.float32, torch.float64
By = Callable[[str, torch.dtype], object]
OPS: dict[str, By] = {
    "gated modal convolution": lambda device, dtype: "triton" if dispatch.fuses_modal_conv(device, dtype) else "torch",
    "long FIR": lambda device, dtype: dispatch.fir_by(device, dtype, 128, 16, True),
    "short FIR": lambda device, dtype: dispatch.fir_by(device, dtype, 3, 1, False),
    "short FIR, compiled": lambda device, dtype: dispatch.fir_by(device, dtype, 3, 1, True),
    "short filter": lambda device, dtype: dispatch.long_conv_by(device, dtype, dispatch.DIRECT_TAPS),
    "long filter": lambda device, dtype: dispatch.long_conv_by(device, dtype, dispatch.DIRECT_TAPS + 1),
    "scalar decay": lambda device, dtype: dispatch.scalar_decay_by(device, dtype, True, 64),
    "cache": lambda device, dtype: dispatch.decode_attention_by(device, dtype),
    "loss": lambda device, dtype: dispatch.linear_cross_entropy_by(device, dtype),
}
ON_A_GPU = {
    "gated modal convolution": ["triton", "torch", "torch"],
    "long FIR": ["triton", "triton", "torch"],
    "short FIR": ["triton", "triton", "triton"],
    "short FIR, compiled": ["torch", "torch", "torch"],
    "short filter": ["triton", "triton", "torch"],
    "long filter": ["monarch", "torch", "torch"],
    "scalar decay": ["triton", "triton", "torch"],
    "cache": ["triton", "triton", "triton"],
    "loss": ["triton", "triton", "triton"],
}


@pytest.fixture(autouse=True)
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.delenv(choice.VARIABLE, raising=False)


@pytest.mark.parametrize("op", OPS)
def test_on_a_gpu_what_pays_is_chosen(op: str) -> None:
    assert [OPS[op]("cuda", dtype) for dtype in (BF16, FP16, FP32)] == ON_A_GPU[op]


@pytest.mark.parametrize("op", OPS)
def test_elsewhere_and_in_float64_it_is_torch(op: str) -> None:
    assert [OPS[op]("cpu", dtype) for dtype in (BF16, FP32, FP64)] == ["torch"] * 3
    assert OPS[op]("cuda", FP64) == "torch"


@pytest.mark.parametrize("op", OPS)
def test_forced_triton_is_refused_where_it_cannot_run(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.VARIABLE, "triton")
    assert OPS[op]("cpu", FP32) == "triton"  # by the interpreter, which tests have on
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(UserError, match="EUTECTIC_KERNELS=triton cannot be had on a CPU here; unset it, or"):
        OPS[op]("cpu", FP32)
    assert OPS[op]("cuda", BF16) == "triton"


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("forced", ["reference", "torch"])
def test_what_is_plain_is_forced_everywhere(op: str, forced: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.VARIABLE, forced)
    for device in ("cpu", "cuda"):
        assert OPS[op](device, BF16) == ("torch" if op.startswith("gated") else forced)
