"""The hours of devices that runs have taken, as far as their rows tell."""

import numpy as np
import pandas as pd

HOUR = 3600.0  # seconds


def busy_hours(frame: pd.DataFrame) -> float:
    """In which at least one run was in training, by device name; runs that share a device are counted once, and so are
    those of several devices of one name. A run that was interrupted is taken for one that ended when it did and never
    paused."""
    ends = pd.to_datetime(frame["finished"]).map(pd.Timestamp.timestamp)
    spans = pd.DataFrame({"device": frame["device"], "begin": ends - frame["seconds"], "end": ends})
    total = 0.0
    for _, own in spans.sort_values("begin").groupby("device"):
        reached = np.maximum.accumulate(own["end"].to_numpy())
        before = np.concatenate([[-np.inf], reached[:-1]])
        total += float(np.clip(own["end"] - np.maximum(own["begin"], before), 0, None).sum())
    return total / HOUR
