"""Planted sweeps whose best learning rate and batch follow known laws, and tunings of their cells."""

import numpy as np
import pandas as pd
import sweep_table

BUDGETS = (1e15, 4e15, 1.6e16, 6.4e16)
STEEP = {"lr": 0.02, "batch": 0.01}  # nats for a squared e-folding from the best


def loss(n: float, d: float, share: float) -> float:
    return 1.7 + float(np.exp(0.8 * (share - 0.4) ** 2)) * (400 / n**0.34 + 410 / d**0.28)


def best_lr(n: float) -> float:
    return float(0.004 * (n / 1e6) ** -0.4)


def best_batch(d: float) -> float:
    return float(4e5 * (d / 1e8) ** 0.35)


def planted(archs: dict[str, float], seed: int = 0) -> pd.DataFrame:
    """A sweep without any noise of size or settings, each run at its best."""
    frame = sweep_table.table(loss, archs, BUDGETS, noise=0.001, seed=seed)
    batch = [round(best_batch(d)) for d in frame["tokens"]]
    return frame.assign(lr=[best_lr(n) for n in frame["params"]], batch_size=batch)


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
