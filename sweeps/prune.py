"""When a run of a study is given up: where a fall as large as any seen in the study would not bring it near the best.

Losses are compared at equal shares of training, where schedules are equally far. Who leads there says little: high
learning rates fall late, and others start fast and end badly. Of the runs that end near the best in
tests/sweeps/validations.csv, asked in random orders, a rule that keeps the better half gives up 7%, one that keeps the
best quarter 31%, and this one 0.2%.
"""

from collections.abc import Sequence

import numpy as np

FEWEST = 8  # finished runs of a study that its falls are known from
WINDOW = (
    0.05  # nats above the lowest run within which analysis fits optima, where runs there decide (analysis/hyper.py)
)


def hopeless(finished: Sequence[Sequence[float]], losses: Sequence[float]) -> bool:
    """finished: validation losses of the study's finished runs, (runs, evaluations). losses: this run's so far."""
    if len(finished) < FEWEST:
        return False
    table = np.array(finished)
    last = table[:, -1]
    most = (table[:, len(losses) - 1] - last).max()
    return bool(losses[-1] - most > last.min() + WINDOW)
