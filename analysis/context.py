"""What models gain from longer contexts: the table that `eutectic context` keeps, and means over its documents."""

import numpy as np
import pandas as pd

from eutectic.analysis.bootstrap import LEVEL, weights

RESAMPLES = 2000


def summary(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """A row for each model, number of targets and context: means over the documents that are long enough for it.

    documents: how many they are. nats, bits_per_byte: of them. change: of nats from those of the same documents after
    their shortest context; low, high: its 95% interval by a bootstrap of documents, NaN of a single one.
    """
    found = []
    for (model, targets), own in table.groupby(["model", "targets"], sort=False):
        losses = own.pivot(index="document", columns="context", values="nats")
        for context, bits in own.groupby("context")["bits_per_byte"]:
            pairs = losses[[losses.columns[0], context]].dropna().to_numpy(float)
            change = pairs[:, -1] - pairs[:, 0]
            low, high = _interval(change, seed)
            means = {"nats": pairs[:, -1].mean(), "bits_per_byte": bits.mean(), "change": change.mean()}
            told = {"model": model, "arch": own["arch"].iloc[0], "seq_len": own["seq_len"].iloc[0], "targets": targets}
            found.append(told | {"context": context, "documents": len(pairs), **means, "low": low, "high": high})
    return pd.DataFrame(found)


def _interval(values: "np.ndarray[tuple[int], np.dtype[np.float64]]", seed: int) -> tuple[float, float]:
    """Of their mean, by percentiles."""
    if len(values) < 2:
        return float("nan"), float("nan")
    means = weights(range(len(values)), RESAMPLES, seed) @ values / len(values)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
