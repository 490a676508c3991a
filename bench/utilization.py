"""Model-FLOP utilization of training steps: FLOPs by exact-causal over time, against the device's own matmul peak.

python bench/utilization.py > results/bench/utilization.md
"""

import argparse
import time

import torch

from eutectic.arch import flops
from eutectic.arch.model import build
from eutectic.config import DataConfig, ModelConfig, OptimConfig, RunConfig
from eutectic.train.step import Stepper

LENGTH, BATCH, VOCAB = 1024, 64, 4096
STEPS = 10
SHAPES = {
    "attn": ModelConfig("attn", 16, 1024, 8, 8, 2736, VOCAB),
    "hyena*3+attn": ModelConfig("hyena*3+attn", 16, 1024, 8, 8, 2736, VOCAB),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layouts", nargs="+", default=list(SHAPES))
    options = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    torch.cuda.set_stream(torch.cuda.Stream())
    peak = matmul_peak()
    print(f"{torch.cuda.get_device_name()}: bf16 matmul of 8192 cubed {peak / 1e12:.0f} TFLOP/s\n")
    print("| layout | parameters | tokens a step | k tokens/s | TFLOP/s | of the peak |\n|---|---|---|---|---|---|")
    for name in options.layouts:
        model = SHAPES[name]
        counts = flops.count(model, LENGTH, "chunked")
        rate = BATCH * LENGTH / seconds(model)
        speed = counts.training_flops("exact-causal", LENGTH) / LENGTH * rate
        cells = (
            name,
            f"{counts.params / 1e6:.0f} M",
            f"{BATCH} x {LENGTH}",
            f"{rate / 1e3:.0f}",
            f"{speed / 1e12:.0f}",
            f"{speed / peak:.0%}",
        )
        print(f"| {' | '.join(cells)} |", flush=True)


def matmul_peak() -> float:
    a, b = torch.randn(2, 8192, 8192, device="cuda", dtype=torch.bfloat16)
    return 2 * 8192**3 / timed(lambda: a @ b, 20)


def seconds(model: ModelConfig) -> float:
    """Of a training step."""
    data = DataConfig("", "", "", "", VOCAB, LENGTH, 1)
    config = RunConfig(
        "", 0, "exact-causal", "chunked", data, model, OptimConfig(1e-4), BATCH * 100, BATCH, BATCH, 1, "bf16", 0, 0
    )
    stepper = Stepper(build(model, 0), config, "cuda")
    rows = torch.randint(VOCAB, (BATCH, LENGTH + 1))
    return timed(lambda: stepper.step(rows, 1e-4), STEPS)


def timed(call: object, count: int) -> float:
    for _ in range(5):
        call()  # type: ignore[operator]
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(count):
        call()  # type: ignore[operator]
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / count


if __name__ == "__main__":
    main()
