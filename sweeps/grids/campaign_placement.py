"""Where the attention of the campaign's quarter stands: the same mixers and sizes, in another order."""

import dataclasses

from eutectic.arch.layout import PLACEMENTS
from eutectic.sweeps.grids import campaign_ratio

RECIPE = dataclasses.replace(
    campaign_ratio.RECIPE,
    name="campaign_placement",
    doc="the campaign's text, 2 budgets x 5 placements of a quarter of attention x 3 sizes x 3 seeds",
    archs=tuple(f"hyena*3+attn@{placement}" for placement in PLACEMENTS),
    budgets=(3e14, 1e15),
    sizes=3,
    seeds=(0, 1, 2),
)
