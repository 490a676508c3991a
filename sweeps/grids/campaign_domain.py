"""The campaign's shares of attention at one budget, on code instead of text."""

import dataclasses

from eutectic.sweeps.grids import campaign_ratio

RECIPE = dataclasses.replace(
    campaign_ratio.RECIPE,
    name="campaign_domain",
    doc="code, 1 budget x 8 shares of attention x 5 sizes of depth 12",
    budgets=(1e15,),
    source="corpus/code",
)
