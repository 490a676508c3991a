"""The campaign's main grid: homogeneous models, hybrids and sliding windows, of eight layers, at three budgets."""

import dataclasses

from eutectic.sweeps.grids import gpu
from eutectic.sweeps.recipe import PowerRule, Shape

# heads and key-value heads, by width
HEADS = {16: (1, 1), 24: (1, 1), 32: (2, 1), 48: (2, 1), 64: (2, 1), 96: (2, 1), 128: (4, 2), 192: (4, 2), 256: (4, 2)}
HEADS |= {384: (6, 3), 512: (8, 4), 640: (10, 5), 768: (12, 6), 1024: (16, 8)}
HOMOGENEOUS = ("attn", "swa(window=128)", "hyena", "multihyena", "hyena_mr", "mamba2", "gated_deltanet")
HYBRIDS: tuple[str, ...] = ("hyena*7+attn", "hyena*3+attn", "hyena+attn", "hyena+attn*3")
HYBRIDS += ("hyena*3+swa(window=128)", "mamba2*3+attn", "gated_deltanet*3+attn")

RECIPE = dataclasses.replace(
    gpu.RECIPE,
    name="campaign",
    doc="133 M tokens of the corpus, 3 budgets x 14 architectures x 5 sizes of depth 8, three hours on one H100",
    archs=(*HOMOGENEOUS, *HYBRIDS),
    budgets=(3e14, 1e15, 3e15),
    source="corpus/main",
    seq_len=1024,
    valid_sequences=2048,
    optimal_params=PowerRule(3.4e6, 1e15, 0.5),
    evals=2,
    max_epochs=4.0,
    tuned_like="hyena*3+attn",
    ladder=tuple(Shape(8, width, *heads) for width, heads in HEADS.items()),
)
