"""Small models on sequences of 131,072 tokens: they fit, and learn."""

from pathlib import Path

import pytest
import torch

import eutectic
from eutectic.arch.model import build
from eutectic.config import DataConfig, ModelConfig, OptimConfig, RunConfig
from eutectic.sweeps import cost
from eutectic.train.step import Stepper

pytestmark = pytest.mark.gpu
LENGTH, STEPS = 131_072, 20


@pytest.mark.parametrize("layout", ["attn", "hyena*3+attn", "mamba2*3+attn", "hyena_mr"])
def test_twenty_steps_of_long_sequences(layout: str) -> None:
    model = ModelConfig(layout, 8, 512, 8, 8, 1376, 4096)
    data, optim = DataConfig("", "", "", "", 4096, LENGTH, 1), OptimConfig(3e-3)
    config = RunConfig("", 0, "exact-causal", "chunked", data, model, optim, STEPS, 1, 1, 1, "bf16", 0, 0)
    torch.set_float32_matmul_precision("high")
    torch.cuda.set_stream(torch.cuda.Stream())
    torch.cuda.reset_peak_memory_stats()
    recompute = cost.estimate(config, "cuda", available=torch.cuda.mem_get_info()[0]).recompute
    stepper = Stepper(build(model, 0), config, "cuda", recompute=recompute)
    root = Path(eutectic.__path__[0])
    text = b"".join(path.read_bytes() for path in sorted(root.glob("*/*.py")))
    rows = torch.frombuffer(bytearray(text[: LENGTH + 1]), dtype=torch.uint8).long()[None]
    losses = [float(stepper.step(rows, 3e-3)[0]) for _ in range(STEPS)]
    print(f"{layout}: {losses[0]:.2f} to {losses[-1]:.2f} nats, {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
    assert all(torch.tensor(losses).isfinite())
    assert losses[-1] < losses[STEPS // 2] < losses[0] - 1
