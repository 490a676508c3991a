"""The campaign's main grid: homogeneous models, hybrids and sliding windows, of eight layers, at three budgets."""

from eutectic.config import OptimConfig
from eutectic.sweeps.recipe import PowerRule, Recipe, Shape

# heads and key-value heads, by width
HEADS = {16: (1, 1), 24: (1, 1), 32: (2, 1), 48: (2, 1), 64: (2, 1), 96: (2, 1), 128: (4, 2), 192: (4, 2), 256: (4, 2)}
HEADS |= {384: (6, 3), 512: (8, 4), 640: (10, 5), 768: (12, 6), 1024: (16, 8)}
HOMOGENEOUS = ("attn", "swa(window=128)", "hyena", "multihyena", "hyena_mr", "mamba2", "gated_deltanet")
HYBRIDS: tuple[str, ...] = ("hyena*7+attn", "hyena*3+attn", "hyena+attn", "hyena+attn*3")
HYBRIDS += ("hyena*3+swa(window=128)", "mamba2*3+attn", "gated_deltanet*3+attn")

RECIPE = Recipe(
    name="campaign",
    doc="133 M tokens of the corpus, 3 budgets x 14 architectures x 5 sizes of depth 8, three hours on one H100",
    archs=(*HOMOGENEOUS, *HYBRIDS),
    budgets=(3e14, 1e15, 3e15),
    sizes=5,
    source="corpus/main",
    tokenizer="bpe-4096",
    seq_len=1024,
    valid_sequences=2048,
    optimal_params=PowerRule(2e6, 1e15, 0.5),
    batch_tokens=PowerRule(16384, 5e7, 0.5),
    lr=PowerRule(8e-3, 1e6, -0.25),
    micro_tokens=65536,
    device="cuda",
    workers=1,
    optim=OptimConfig(lr=0.0),
    evals=2,
    max_epochs=4.0,
    ladder=tuple(Shape(8, width, *heads) for width, heads in HEADS.items()),
)
