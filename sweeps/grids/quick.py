"""The default: five ratios of attention to gated convolution on bytes of English, minutes on two CPU cores."""

from eutectic.config import OptimConfig
from eutectic.sweeps.recipe import PowerRule, Recipe

RECIPE = Recipe(
    name="quick",
    doc="bytes of English, 3 budgets x 5 attention shares x 5 sizes, minutes on 2 CPU cores",
    archs=("hyena", "hyena*3+attn", "hyena+attn", "hyena+attn*3", "attn"),
    budgets=(1e10, 3e10, 1e11),
    sizes=5,
    source="sotu",
    tokenizer="bytes",
    seq_len=128,
    valid_sequences=512,
    optimal_params=PowerRule(2e4, 1e11, 0.5),
    batch_tokens=PowerRule(640, 4e5, 0.5),
    lr=PowerRule(1.6e-2, 2e4, -0.25),
    micro_tokens=8192,
    device="cpu",
    workers=2,
    optim=OptimConfig(lr=0.0, warmup_fraction=0.15),
)
