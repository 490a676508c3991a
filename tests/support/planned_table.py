"""The rows that planned runs would log, were their losses to follow a planted law."""

from collections.abc import Callable, Iterable

import pandas as pd

from eutectic.analysis import schema
from eutectic.arch import flops, layout
from eutectic.config import RunConfig, canonical_json


def table(runs: Iterable[RunConfig], loss: Callable[[RunConfig, int], float]) -> pd.DataFrame:
    """loss: of a run and its model's parameters; NaN is a run that diverged."""
    kinds = {"string": "", "int64": 0, "double": 0.0}
    blank = {column.name: kinds[str(column.type)] for column in schema.RUNS}
    rows = []
    for run in runs:
        counts = flops.count(run.model, run.data.seq_len, run.conv_algorithm)
        seen = loss(run, counts.params)
        stack = layout.expand(layout.parse(run.model.layout), run.model.n_layers)
        fields = {**vars(run.data), **vars(run.model), **vars(run.optim), **vars(run)}
        logged = {name: value for name, value in fields.items() if name in blank and name != "mixers"}
        rows.append(
            blank
            | logged
            | {
                "run_id": run.run_id,
                "status": "done" if seen == seen else "diverged",
                "arch": run.model.layout,
                "attn_share": layout.attention_share(stack),
                "flops": float(counts.training_flops(run.convention, run.data.seq_len) * run.sequences),
                "params": counts.params,
                "tokens": run.tokens,
                "loss": seen,
                "config": canonical_json(run.to_dict()),
            }
        )
    return pd.DataFrame(rows)
