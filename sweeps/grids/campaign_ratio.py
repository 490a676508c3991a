"""The campaign's shares of attention, of twelve layers at every size, so that all shares are exact."""

import dataclasses

from eutectic.sweeps.grids import campaign
from eutectic.sweeps.recipe import Shape

RECIPE = dataclasses.replace(
    campaign.RECIPE,
    name="campaign_ratio",
    doc="the campaign's text, 3 budgets x 8 shares of attention x 5 sizes of depth 12, an hour on one H100",
    archs=(
        "hyena",
        "hyena*11+attn",
        "hyena*5+attn",
        "hyena*3+attn",
        "hyena*2+attn",
        "hyena+attn",
        "hyena+attn*3",
        "attn",
    ),
    ladder=tuple(Shape(12, width, *heads) for width, heads in campaign.HEADS.items()),
)
