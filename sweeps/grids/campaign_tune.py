"""What the campaign's learning rates and batches are tuned by: attention, Hyena and a hybrid at small budgets."""

import dataclasses

from eutectic.sweeps.grids import campaign, gpu

RECIPE = dataclasses.replace(
    campaign.RECIPE,
    name="campaign_tune",
    doc="the campaign's text, 3 budgets x attention, Hyena and a quarter of attention, to tune",
    archs=("attn", "hyena", "hyena*3+attn"),
    budgets=(3e13, 1e14, 3e14),
    sizes=3,
    # its cells were tuned before the campaign's best sizes were known to be larger
    optimal_params=gpu.RECIPE.optimal_params,
)
