"""Heads of the campaign's gated convolution, one to sixteen, and Hyena, which has as many as channels."""

import dataclasses

from eutectic.sweeps.grids import campaign

RECIPE = dataclasses.replace(
    campaign.RECIPE,
    name="campaign_heads",
    doc="the campaign's text, 2 budgets x 1 to 16 heads of multihyena x 3 sizes x 3 seeds",
    archs=("hyena", *(f"multihyena(n_heads={heads})" for heads in (1, 2, 4, 8, 16))),
    budgets=(3e14, 1e15),
    sizes=3,
    seeds=(0, 1, 2),
    micro_tokens=16384,
)
