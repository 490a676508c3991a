"""A recipe of the tests' own, as from a user's file, for what is about sweeps: quick's five runs take longer to train.

On the words of `corpus` the middle size of the five is the best.
"""

import dataclasses

from eutectic.sweeps.grids.quick import RECIPE as QUICK
from eutectic.sweeps.recipe import LADDER, PowerRule

RECIPE = dataclasses.replace(
    QUICK,
    name="tiny",
    doc="five sizes of one layer of attention, 83 steps to 463",
    archs=("attn",),
    budgets=(2e9,),
    seq_len=32,
    valid_sequences=64,
    optimal_params=PowerRule(3e3, 2e9, 0.5),
    batch_tokens=PowerRule(512, 1.0, 0.0),
    lr=PowerRule(3e-2, 2e4, -0.25),
    ladder=tuple(dataclasses.replace(shape, n_layers=1) for shape in LADDER[:9]),
)
