"""Made-up trials of synthetic tasks, and ablations."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

ARCHS = (
    *(
        "attn",
        "hyena",
        "hyena+attn",
        "hyena*3+attn",
        "mamba2",
        "mamba2+attn",
        "gla",
        "gated_delta_net",
        "swa(window=32)",
    ),
    *("h3", "[mamba2|attn]", "rwkv7"),
)
TASKS = {
    "recall(vocab=16,length=128)": 0.125,
    "fuzzy_recall(vocab=16,length=128,motif=3)": 0.125,
    "noisy_recall(vocab=16,length=128,noise=0.2,noise_vocab=16)": 0.125,
    "selective_copy(vocab=16,length=256,copied=16)": 0.0625,
    "compression(vocab=16,length=32)": 0.0625,
    "memorization(vocab=256,length=32)": 0.0078125,
}
RATES = (1e-3, 3e-3)


def trials(
    archs: Sequence[str] = ARCHS,
    tasks: Mapping[str, float] = TASKS,
    seeds: int = 3,
    shared: float = 0.02,
    own: float = 0.03,
    level: Mapping[str, float] | None = None,
    **fixed: object,
) -> pd.DataFrame:
    """Accuracies about those of `level` (or, without, of the architecture's place), less on later tasks, with standard
    deviations `shared` by the architectures of a task's seed and of their `own`. The second rate is chosen."""
    random = np.random.default_rng(0)
    rows = []
    for k, (settings, chance) in enumerate(tasks.items()):
        common = shared * random.normal(size=seeds)
        for j, arch in enumerate(archs):
            mean = level[arch] if level else 0.95 - 0.05 * j
            for seed in range(seeds):
                accuracy = np.clip(mean - 0.04 * k + common[seed] + own * random.normal(), 0, 1)
                for rate in RATES:
                    told = {"trial": f"{arch} {settings}", "arch": arch, "layout": arch, "settings": settings}
                    told |= {"task": settings.partition("(")[0], "match": "state", "n_layers": 2, "d_model": 64}
                    told |= {"params": 50_000 + j, "state_dim": 4096, "tokens": 10**6, "examples": 12_800, "batch": 128}
                    told |= {"seed": seed, "lr": rate, "valid": accuracy if rate == RATES[1] else accuracy - 0.1}
                    told |= {"test": accuracy if rate == RATES[1] else np.nan, "chance": chance, "control": False}
                    told |= {"n_heads": 4, "n_modes": 8, "d_ffn": 128, "length": 128, "loss": 1.0, "seconds": 9.0}
                    told |= {
                        "device": "cpu",
                        "torch": "",
                        "eutectic": "",
                        "commit": "",
                        "finished": f"2030-01-0{1 + seed}",
                    }
                    rows.append(told | fixed)
    return pd.DataFrame(rows)


def ablation(archs: Sequence[str] = ARCHS, tasks: Mapping[str, float] = TASKS, seeds: int = 3) -> pd.DataFrame:
    """Of two layers that silence 0.1 and, of the second, 0.5 of an accuracy of 0.9, give or take 0.05 by seed."""
    rows = [
        {"trial": f"{arch} {settings}", "arch": arch, "task": settings.partition("(")[0], "settings": settings}
        | {"seed": seed, "lr": RATES[1], "layer": layer, "mixer": arch.partition("+")[0] if layer == 0 else "attn"}
        | {"valid": 0.9, "without": 0.8 - 0.4 * layer - 0.05 * (seed - 1) - 0.02 * k}
        for arch in archs
        for k, settings in enumerate(tasks)
        for seed in range(seeds)
        for layer in range(2)
    ]
    return pd.DataFrame(rows)
