"""Planted sweeps whose best learning rate and batch follow known laws, and tunings of their cells."""

import numpy as np
import pandas as pd
import sweep_table

BUDGETS = (1e15, 4e15, 1.6e16, 6.4e16)
STEEP = {"lr": 0.02, "batch": 0.01}  # nats for a squared e-folding from the best


def loss(n: float, d: float, share: float) -> float:
    return 1.7 + float(np.exp(0.8 * (share - 0.4) ** 2)) * (400 / n**0.34 + 410 / d**0.28)


def best_lr(n: float, d: float = 1e8, power: float = 0.0) -> float:
    return float(0.004 * (n / 1e6) ** -0.4 * (d / 1e8) ** power)


def best_batch(d: float) -> float:
    return float(4e5 * (d / 1e8) ** 0.35)


def planted(
    archs: dict[str, float], seed: int = 0, power: float = 0.0, budgets: tuple[float, ...] = BUDGETS
) -> pd.DataFrame:
    """A sweep without any noise of size or settings, each run at its best. power: of tokens in the learning rate."""
    frame = sweep_table.table(loss, archs, budgets, noise=0.001, seed=seed)
    batch = [round(best_batch(d)) for d in frame["tokens"]]
    lr = [best_lr(n, d, power) for n, d in zip(frame["params"], frame["tokens"], strict=True)]
    return frame.assign(lr=lr, batch_size=batch)


def middle(frame: pd.DataFrame, sizes: int = 1) -> pd.DataFrame:
    """So many sizes of each architecture and budget, about the middle one."""
    off = frame.groupby(["arch", "budget"]).cumcount() - sweep_table.SIZES // 2
    return frame[off.abs() <= sizes // 2]


def tuning(frame: pd.DataFrame, scatter: float = 0.0, noise: float = 0.002, seed: int = 1) -> pd.DataFrame:
    """Every run of the frame at five learning rates and four batches about the best of its cell, which differs from the
    planted law's by `scatter`, a standard deviation of ln; noise in nats."""
    random, rows = np.random.default_rng(seed), []
    for base in frame.to_dict("records"):
        lr, batch = (base[name] * np.exp(scatter * random.normal()) for name in ("lr", "batch_size"))
        for z in np.log([0.3, 0.6, 1.1, 2.0, 3.5]):
            for w in np.log([0.25, 0.6, 1.5, 4.0]):
                worse = STEEP["lr"] * z**2 + STEEP["batch"] * w**2 + noise * random.normal()
                own = {"lr": lr * np.exp(z), "batch_size": round(batch * np.exp(w)), "loss": base["loss"] + worse}
                rows.append(base | own | {"run_id": f"{len(rows):016x}"})
    return pd.DataFrame(rows)
