"""The quick sweep by muP: one learning rate, that of width 16, for every size."""

import dataclasses

from eutectic.sweeps.grids import quick
from eutectic.sweeps.recipe import PowerRule

RECIPE = dataclasses.replace(
    quick.RECIPE,
    name="quick_mup",
    doc="the quick sweep with the learning rate of width 16 transferred to every width by muP",
    mup_base=16,
    lr=PowerRule(1.6e-2, 1.0, 0.0),
)
