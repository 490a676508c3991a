"""The runs of a sweep whose losses follow a planted law: every column, shapes of the ladder, a recipe's power laws."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eutectic.analysis import schema
from eutectic.sweeps.recipe import LADDER, Shape

Array = NDArray[np.float64]
ARCHS = {"hyena": 0.0, "hyena*3+attn": 0.25, "hyena+attn": 0.5, "hyena+attn*3": 0.75, "attn": 1.0}
BUDGETS = (1e15, 3e15, 1e16, 3e16)
SIZES = 7


def params(shape: Shape) -> int:
    """Of a model of 12 width^2 parameters and 30 width a layer, and 1000 of vocabulary."""
    return shape.n_layers * (12 * shape.d_model**2 + 30 * shape.d_model) + 1000 * shape.d_model


def lr(n: float) -> float:
    return float(0.01 * (n / 1e6) ** -0.25)


def batch_tokens(d: float) -> float:
    return float(1e5 * (d / 1e8) ** 0.5)


def table(
    loss: Callable[..., Any],
    archs: Mapping[str, float] = ARCHS,
    budgets: tuple[float, ...] = BUDGETS,
    noise: float = 0.0,
    seed: int = 0,
) -> pd.DataFrame:
    """loss: of parameters, tokens and attention's share. noise: of ln loss. C = 6 N D."""
    kinds = {"string": "", "int64": 0, "double": 0.0}
    blank = {column.name: kinds[str(column.type)] for column in schema.RUNS}
    random, rows = np.random.default_rng(seed), list[dict[str, Any]]()
    for budget in budgets:
        centre = int(np.argmin([abs(np.log(params(s) / np.sqrt(budget / 120))) for s in LADDER]))
        for arch, share in archs.items():
            for shape in LADDER[centre - SIZES // 2 : centre + SIZES // 2 + 1]:
                n = params(shape)
                tokens = round(budget / (6 * n))
                run = {
                    "run_id": f"{len(rows):016x}",
                    "status": "done",
                    "arch": arch,
                    "attn_share": share,
                    "budget": budget,
                    "flops": 6.0 * n * tokens,
                    "convention": "6nd",
                    "tokenizer": "bytes",
                    "device": "an accelerator",
                    "seconds": 1.0,
                    "params": n,
                    "tokens": tokens,
                    "loss": loss(n, tokens, share) * np.exp(noise * random.normal()),
                    "bytes_per_token": 1.0,
                    "n_layers": shape.n_layers,
                    "d_model": shape.d_model,
                    "lr": lr(n),
                    "seq_len": 1,
                    "batch_size": round(batch_tokens(tokens)),
                }
                rows.append(blank | run)
    return pd.DataFrame(rows)
