"""One GPU: five ratios of attention to gated convolution on BPE tokens, ten minutes on an H200."""

from eutectic.config import OptimConfig
from eutectic.sweeps.recipe import PowerRule, Recipe

RECIPE = Recipe(
    name="gpu",
    doc="BPE tokens of English, 2 budgets x 5 attention shares x 5 sizes, ten minutes on one H200",
    archs=("hyena", "hyena*3+attn", "hyena+attn", "hyena+attn*3", "attn"),
    budgets=(3e14, 1e15),
    sizes=5,
    source="sotu",
    tokenizer="bpe-4096",
    seq_len=512,
    valid_sequences=1024,
    optimal_params=PowerRule(2e6, 1e15, 0.5),
    batch_tokens=PowerRule(16384, 5e7, 0.5),
    lr=PowerRule(8e-3, 1e6, -0.25),
    micro_tokens=65536,
    device="cuda",
    workers=1,
    optim=OptimConfig(lr=0.0),
)
