"""Trained models of fewer modes: perplexity, and what decoding keeps and takes, against the modes that are left, and
how many a rise of perplexity leaves that is allowed."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from eutectic.analysis.figures import style
from eutectic.analysis.prune import BUDGETS, kept


def figure(rows: pd.DataFrame) -> Figure:
    """Rows of the `prune` table to four panels, with a line for each run on each device."""
    drawn, (perplexity, state, time, allowed) = style.panels(4)
    perplexity.axhline(1, color=style.NEUTRAL, linestyle="--", linewidth=0.8)
    for k, (_, own) in enumerate(rows.groupby(["run_id", "device"])):
        own = own.sort_values("modes")
        unpruned = own.iloc[-1]
        look: style.Look = {"color": style.HUES[k % len(style.HUES)], "markersize": 4}
        modes, over = own["modes"], own[~own["within_budget"]]
        label = f"{unpruned['arch']} ({unpruned['perplexity']:.3g} unpruned)"
        style.ratios(perplexity, modes, own, unpruned["perplexity"], look["color"], label)
        perplexity.plot(
            over["modes"], over["perplexity"] / unpruned["perplexity"], "o", markerfacecolor="white", **look
        )
        state.plot(modes, own["state_bytes"] / 1024, "o-", label=None if k else "all that is kept", **look)
        state.plot(modes, own["filter_bytes"] / 1024, "s:", label=None if k else "of modal filters", **look)
        time.plot(modes, own["decode_ms"], "o-", **look)
        budgets = kept(own)
        allowed.plot(BUDGETS, [one.row["modes"] for one in budgets], "o-", **look)
        beyond = [(one.budget, one.row["modes"]) for one in budgets if not one.fewest]
        allowed.plot([x for x, _ in beyond], [y for _, y in beyond], "o", markerfacecolor="white", **look)
    perplexity.set_ylabel("perplexity, over that of the unpruned model")
    state.set_ylabel("state of one sequence (KiB)")
    time.set_ylabel("decoding of one sequence (ms a token)")
    style.log_axis(state, "y")
    time.set_ylim(bottom=0)
    perplexity.legend(loc="upper right")
    style.headroom(perplexity)
    state.legend()
    for axes in (perplexity, state, time):
        axes.set_xlabel("modes of a filter")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    allowed.set_xscale("log")
    allowed.xaxis.set_major_locator(FixedLocator(list(BUDGETS)))
    allowed.xaxis.set_minor_locator(NullLocator())
    allowed.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"+{100 * value:g}%"))
    allowed.yaxis.set_major_locator(MaxNLocator(integer=True))
    allowed.set_xlabel("rise of perplexity that is allowed")
    allowed.set_ylabel("modes kept of each filter")
    allowed.set_ylim(0, rows["modes"].max() + 0.5)
    style.below(
        drawn,
        "Left, of the half of the held-out text by which nothing was decided, bars: 95%, by windows of text; hollow, "
        f"over the budget by the other half. Middle, of a sequence of {style.either(rows['length'])} tokens: caches in "
        f"bfloat16, states in float32; as `eutectic generate` decodes, on {style.either(rows['device'])}. Right, by "
        "the half that decides; hollow, fewer were not tried. "
        f"{style.runs(rows)}.",
    )
    return drawn
