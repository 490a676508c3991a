"""The coordinate check (Yang et al. 2022, appendix D): how far a few steps move what a model computes, by its width."""

import numpy as np
import pytest
import torch
from torch import Tensor

from eutectic.arch.model import Model, build
from eutectic.config import ModelConfig, OptimConfig
from eutectic.sweeps.recipe import LADDER, Shape
from eutectic.train.optim import adamw

WIDTHS = (32, 64, 128, 256)
# heads of 16 channels, as many as the width has; and the rungs, of whose heads two share keys and grow from 16 to 64
EQUAL_HEADS = [Shape(4, width, width // 16, width // 16) for width in WIDTHS]
RUNGS = [shape for shape in LADDER if shape.n_layers == 4 and shape.d_model in WIDTHS]
BASE, STEPS, LR = 32, 5, 1e-2
ROWS = torch.randint(64, (4, 33), generator=torch.Generator().manual_seed(0))


def moved(layout: str, channel: str, shape: Shape, mup: bool) -> list[float]:
    """Root mean squares of the change of every block's output and of the logits, on the batch that was trained on."""
    sizes = (shape.n_layers, shape.d_model, shape.n_heads, shape.n_kv_heads, shape.d_ffn)
    config = ModelConfig(layout, *sizes, vocab_size=64, channel=channel, mup_base=BASE if mup else 0)
    found = []
    for seed in range(3):
        model = build(config, seed)
        optimizer = adamw(model, OptimConfig(LR))
        before = outputs(model)
        for _ in range(STEPS):
            loss = torch.nn.functional.cross_entropy(model(ROWS[:, :-1]).flatten(0, 1), ROWS[:, 1:].flatten())
            loss.backward()
            for group in optimizer.param_groups:
                group["lr"] = LR * group["lr_scale"]
            optimizer.step()
            optimizer.zero_grad()
        found.append([(b - a).square().mean().sqrt().item() for a, b in zip(before, outputs(model), strict=True)])
    return np.mean(found, 0).tolist()


@torch.no_grad()
def outputs(model: Model) -> list[Tensor]:
    x, found = model.embedding(ROWS[:, :-1]), []
    for block in model.layers():
        x = block(x)
        found.append(x)
    return [*found, model.logits(x)]


def exponents(layout: str, channel: str, shapes: list[Shape], mup: bool) -> list[float]:
    """Of the width, by which each output's change grows."""
    changes = np.log([moved(layout, channel, shape, mup) for shape in shapes])
    return [float(np.polyfit(np.log(WIDTHS), column, 1)[0]) for column in changes.T]


@pytest.mark.parametrize(
    ("layout", "channel", "shapes"),
    [("attn", "moe", EQUAL_HEADS), ("hyena+attn", "swiglu", EQUAL_HEADS), ("attn", "swiglu", RUNGS)],
)
def test_a_step_moves_every_width_alike(layout: str, channel: str, shapes: list[Shape]) -> None:
    """Exponents of 0 are those of infinite widths: these fall short of them, as biases of small widths do."""
    assert max(map(abs, exponents(layout, channel, shapes, mup=True))) < 0.3
    assert min(exponents(layout, channel, shapes, mup=False)) > 0.5


def test_what_sums_over_the_width_learns_more_slowly() -> None:
    model = build(ModelConfig("rwkv7+attn", 2, 128, 4, 4, 256, 64, channel="moe", mup_base=32), 0)
    scales = {name: getattr(p, "lr_scale", 1.0) for name, p in model.named_parameters()}
    assert {scales[name] for name in scales if name.endswith(("qkv.weight", "out.weight"))} == {0.25}
    assert scales["embedding.weight"] == scales["norm.weight"] == 1.0
    assert len(set(scales.values()) - {0.25, 1.0}) <= 1  # rates that mixers ask for of themselves
