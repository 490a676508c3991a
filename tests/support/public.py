"""Public implementations that the zoo is held to, as far as they run without a GPU."""

import importlib.metadata
import importlib.util
import os
from types import ModuleType

import pytest
import torch


def fla_naive(op: str, file: str = "naive") -> ModuleType:
    """flash-linear-attention's ops/OP/FILE.py alone: its package cannot be imported without triton."""
    pytest.importorskip("einops")
    try:
        found = importlib.metadata.files("fla-core") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("fla-core is not installed")
    path = next(f for f in found if str(f) == f"fla/ops/{op}/{file}.py").locate()
    spec = importlib.util.spec_from_file_location(f"fla_{op.replace('/', '_')}_{file}", str(path))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rwkv_package(seven: bool = False) -> ModuleType:
    """PyPI's rwkv.model on the CPU, for RWKV-7 or those before it; each is a copy of the module.

    Its import reads the environment, and sets TF32 and the compiler's autocast for all of torch, undone here.
    """
    os.environ |= {"RWKV_JIT_ON": "0", "RWKV_CUDA_ON": "0", "RWKV_V7_ON": str(int(seven))}
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    pytest.importorskip("rwkv")
    spec = importlib.util.find_spec("rwkv.model")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before
    torch._C._jit_set_autocast_mode(True)
    return module


def assert_same(got: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-4) -> None:
    """Largest difference within `tolerance` of the largest expected value."""
    assert got.shape == expected.shape
    worst = (got - expected).abs().max() / expected.abs().max()
    assert worst < tolerance, f"differs by {worst:.2e} of the largest value"
